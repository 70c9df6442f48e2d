package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
)

// External says where an etcd is that runs by itself, and how it is spoken to.
type External struct {
	// Servers are their URLs. All must be https, or all http; without a scheme it is https if there is any file below.
	Servers []string
	// CAFile holds the authorities that the servers' certificates are checked with; empty means the system's.
	// CertFile and KeyFile are what this client proves itself with. All are read again at every connection.
	CAFile, CertFile, KeyFile string
	// Prefix is where the keys stand in etcd that begin with Root in the program.
	Prefix, Root string
	// CompactionInterval is how long history is kept; 0 leaves its end to others.
	CompactionInterval time.Duration
	// Known tells that this etcd has served before: a start then waits for it without an end, as nobody has mistaken its address.
	Known bool
	// Warn is told what the operator should know; nil ignores it.
	Warn func(message string)
}

// Check finds what cannot work, without asking the servers.
func (x *External) Check() error {
	if len(x.Servers) == 0 {
		return errors.New("no etcd server is given: use https://HOST:2379")
	}
	if (x.CertFile == "") != (x.KeyFile == "") {
		return errors.New("the client's certificate and key for etcd must be given together")
	}
	plain, err := x.plain()
	if err != nil {
		return err
	}
	if plain {
		if x.files() {
			return fmt.Errorf("etcd is to be spoken to without encryption (%s), but certificates are given: use https://, or leave them out", x.Servers[0])
		}
		return nil
	}
	_, err = x.tls()
	return err
}

func (x *External) files() bool { return x.CAFile != "" || x.CertFile != "" || x.KeyFile != "" }

// plain tells whether the servers are spoken to without encryption.
func (x *External) plain() (bool, error) {
	schemes := map[string]string{}
	for _, server := range x.Servers {
		scheme, err := x.scheme(server)
		if err != nil {
			return false, err
		}
		schemes[scheme] = server
	}
	if len(schemes) > 1 {
		return false, fmt.Errorf("etcd servers must all be https or all http: %s, %s", schemes["https"], schemes["http"])
	}
	_, plain := schemes["http"]
	return plain, nil
}

func (x *External) scheme(server string) (string, error) {
	if !strings.Contains(server, "://") {
		if _, _, err := net.SplitHostPort(server); err != nil {
			return "", fmt.Errorf("etcd server %q is not an address such as https://10.0.0.1:2379", server)
		}
		if x.files() {
			return "https", nil
		}
		return "http", nil
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("etcd server %q is not a URL such as https://10.0.0.1:2379", server)
	}
	return u.Scheme, nil
}

// names give the translation of keys. As with upstream, a prefix is a path: it begins and ends with a slash.
func (x *External) names() names {
	prefix := path.Join("/", x.Prefix)
	if prefix != "/" {
		prefix += "/"
	}
	return names{root: x.Root, prefix: prefix}
}

// tls reads the files.
func (x *External) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if x.CAFile != "" {
		text, err := os.ReadFile(x.CAFile)
		if err != nil {
			return nil, fmt.Errorf("the authority of etcd: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("the authority of etcd: %s holds no certificate", x.CAFile)
		}
	}
	if x.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(x.CertFile, x.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("the client's certificate for etcd: %w", err)
		}
		// It is shown even to a server that names other authorities, so that the server's refusal says what is wrong.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return c, nil
}

// fromFiles are credentials of connections that read their files at every handshake, so that new certificates need no
// restart.
type fromFiles struct {
	credentials.TransportCredentials
	external *External
}

// ClientHandshake implements credentials.TransportCredentials.
func (f *fromFiles) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := f.external.tls()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(c).ClientHandshake(ctx, authority, raw)
}

// Clone implements credentials.TransportCredentials.
func (f *fromFiles) Clone() credentials.TransportCredentials {
	return &fromFiles{f.TransportCredentials.Clone(), f.external}
}
