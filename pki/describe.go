package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// Description tells about one certificate.
type Description struct {
	// Name of its file without the ending; certificates that are trusted beside an authority have its name.
	Name string `json:"name"`
	// Kind is authority, trusted (an authority that does not sign), serving, client, or peer (both).
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	Serial  string `json:"serial"`
	// Names under which the holder is reached.
	Names     []string  `json:"names,omitempty"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// Renews is when the certificate is due for renewal; nil if nobody renews it here.
	Renews *time.Time `json:"renews,omitempty"`
}

// Left is the time until the certificate ends; negative when it has.
func (d Description) Left(now time.Time) time.Duration { return d.NotAfter.Sub(now) }

// List describes all certificates that are kept.
func (a *Authority) List() []Description {
	all, err := describe(a.folder.dir, a.now.Load().files)
	if err != nil {
		return nil // a state holds only what could be parsed
	}
	return all
}

// List describes the certificates of a folder and changes nothing there, also if they are expired or incomplete.
func List(dir string) ([]Description, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("pki: there is no folder %s", dir)
	}
	d := folder{dir: dir}
	files, err := d.read(fileNames())
	if err != nil {
		return nil, err
	}
	return describe(dir, files)
}

func describe(dir string, files map[string][]byte) ([]Description, error) {
	b := &builder{dir: dir, files: files}
	var all []Description
	keys := map[string]bool{}
	for _, t := range trusts {
		p, certificates, err := b.pair(t.name)
		if err != nil {
			return nil, err
		}
		keys[t.name] = p.Key != nil
		for _, c := range certificates {
			kind := "authority"
			if c != p.Certificate {
				kind = "trusted"
			}
			all = append(all, Describe(t.name, kind, c))
		}
	}
	for _, l := range leaves {
		p, _, err := b.pair(l.name)
		if err != nil {
			return nil, err
		}
		if p.Certificate == nil {
			continue
		}
		d := Describe(l.name, kindOf(p.Certificate), p.Certificate)
		if keys[l.issuer] {
			at := renewalOf(p.Certificate)
			d.Renews = &at
		}
		all = append(all, d)
	}
	return all, nil
}

func kindOf(c *x509.Certificate) string {
	var serves, calls bool
	for _, usage := range c.ExtKeyUsage {
		serves = serves || usage == x509.ExtKeyUsageServerAuth
		calls = calls || usage == x509.ExtKeyUsageClientAuth
	}
	switch {
	case serves && calls:
		return "peer"
	case serves:
		return "serving"
	}
	return "client"
}

// Describe tells about a certificate under a name.
func Describe(name, kind string, c *x509.Certificate) Description {
	d := Description{
		Name: name, Kind: kind, Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: fmt.Sprintf("%x", c.SerialNumber),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter,
	}
	if kind != "authority" && kind != "trusted" {
		d.Names = append(d.Names, c.DNSNames...)
		for _, ip := range c.IPAddresses {
			d.Names = append(d.Names, ip.String())
		}
	}
	return d
}

// DescribeKubeconfig tells about the client certificate of a kubeconfig's present context.
func DescribeKubeconfig(name, path string) (Description, error) {
	c, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return Description{}, fmt.Errorf("pki: %w", err)
	}
	if context := c.Contexts[c.CurrentContext]; context != nil {
		if user := c.AuthInfos[context.AuthInfo]; user != nil && len(user.ClientCertificateData) > 0 {
			all, err := parseCertificates(user.ClientCertificateData)
			if err != nil {
				return Description{}, fmt.Errorf("pki: %s: %w", path, err)
			}
			d := Describe(name, kindOf(all[0]), all[0])
			at := renewalOf(all[0])
			d.Renews = &at
			return d, nil
		}
	}
	return Description{}, fmt.Errorf("pki: %s holds no client certificate", path)
}
