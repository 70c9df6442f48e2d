package pki

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// ClusterName is the name of the cluster in kubeconfig files.
const ClusterName = "kubernetes"

// Kubeconfig is a client configuration with embedded certificates for one user.
func Kubeconfig(server string, ca []byte, client *Pair) *clientcmdapi.Config {
	user := client.Certificate.Subject.CommonName
	context := user + "@" + ClusterName
	c := clientcmdapi.NewConfig()
	c.Clusters[ClusterName] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	c.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: client.CertPEM, ClientKeyData: client.KeyPEM}
	c.Contexts[context] = &clientcmdapi.Context{Cluster: ClusterName, AuthInfo: user}
	c.CurrentContext = context
	return c
}

// WriteKubeconfig writes a client configuration that only its owner may read.
func WriteKubeconfig(path, server string, ca []byte, client *Pair) error {
	data, err := clientcmd.Write(*Kubeconfig(server, ca, client))
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	if err := durable.MakeFolder(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	if err := durable.Replace(path, data, 0o600); err != nil {
		return fmt.Errorf("pki: writing the kubeconfig: %w", err)
	}
	return nil
}

// EnsureAdminKubeconfig writes the administrator's client configuration, unless the file already holds one for
// this authority and server whose certificate is not about to expire.
func (a *Authority) EnsureAdminKubeconfig(path, server string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pki: %w", err)
	}
	if err == nil && a.usable(data, server, a.options.Now()) {
		return nil
	}
	admin, err := a.Admin()
	if err != nil {
		return err
	}
	return WriteKubeconfig(path, server, a.CA().CertPEM, admin)
}

func (a *Authority) usable(data []byte, server string, now time.Time) bool {
	c, err := clientcmd.Load(data)
	if err != nil {
		return false
	}
	context := c.Contexts[c.CurrentContext]
	if context == nil {
		return false
	}
	cluster, user := c.Clusters[context.Cluster], c.AuthInfos[context.AuthInfo]
	if cluster == nil || user == nil || cluster.Server != server || !bytes.Equal(cluster.CertificateAuthorityData, a.CA().CertPEM) {
		return false
	}
	all, err := parseCertificates(user.ClientCertificateData)
	if err != nil {
		return false
	}
	ca := a.CA()
	_, current := ca.issued(all[0])
	return current && !due(all[0], ca.Certificate, now)
}

// FromKubeconfig is the client certificate of a kubeconfig's present context, with its key, if it is one of this
// authority's.
func (a *Authority) FromKubeconfig(path string) (*Pair, error) {
	c, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	context := c.Contexts[c.CurrentContext]
	if context == nil || c.AuthInfos[context.AuthInfo] == nil {
		return nil, fmt.Errorf("pki: %s has no current user", path)
	}
	user := c.AuthInfos[context.AuthInfo]
	b := &builder{dir: path, files: map[string][]byte{"client.crt": user.ClientCertificateData, "client.key": user.ClientKeyData}}
	p, _, err := b.pair("client")
	if err != nil {
		return nil, err
	}
	if p.Certificate == nil || p.Key == nil {
		return nil, fmt.Errorf("pki: %s holds no client certificate with its key", path)
	}
	if trusted, _ := a.CA().issued(p.Certificate); !trusted {
		return nil, fmt.Errorf("pki: the certificate in %s is not of this authority", path)
	}
	return p, nil
}
