package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// servingLook is how often, at most, the files of --tls-cert-file are looked at for changes: at a connection.
const servingLook = time.Second

// servingFiles is the certificate of --tls-cert-file, read anew when its files change. Files that cannot be used leave the
// last good certificate in use.
type servingFiles struct {
	cert, key string
	now       func() time.Time
	log       func(format string, args ...any)

	mu     sync.Mutex // guards all below
	pair   *tls.Certificate
	looked time.Time
	seen   [2]stamp
}

// stamp tells whether a file was replaced.
type stamp struct {
	modified time.Time
	size     int64
}

// openServing reads the files, and tells what is wrong with them.
func openServing(cert, key string, now func() time.Time, log func(string, ...any)) (*servingFiles, error) {
	f := &servingFiles{cert: cert, key: key, now: now, log: log, seen: stamps(cert, key)}
	pair, err := f.load()
	if err != nil {
		return nil, err
	}
	f.pair, f.looked = pair, time.Now()
	return f, nil
}

func stamps(files ...string) (all [2]stamp) {
	for n, name := range files {
		if info, err := os.Stat(name); err == nil {
			all[n] = stamp{info.ModTime(), info.Size()}
		}
	}
	return all
}

func (f *servingFiles) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert-file %s and --tls-private-key-file %s cannot be used: %w", f.cert, f.key, err)
	}
	switch leaf, now := pair.Leaf, f.now(); {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("--tls-cert-file %s: the certificate expired on %s: put a new one in its place", f.cert, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("--tls-cert-file %s: the certificate is not valid before %s: is the clock of this machine right?", f.cert, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return &pair, nil
}

// present is the certificate of the files as they are now.
func (f *servingFiles) present() *tls.Certificate {
	f.mu.Lock()
	recent := time.Since(f.looked) < servingLook
	pair := f.pair
	f.mu.Unlock()
	if recent {
		return pair
	}
	return f.look()
}

// look reads the files if they have changed.
func (f *servingFiles) look() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Now()
	seen := stamps(f.cert, f.key)
	if seen == f.seen {
		return f.pair
	}
	pair, err := f.load()
	f.seen = seen
	if err != nil {
		// Perhaps only one of the two files was replaced yet: the other one's change will be seen.
		f.log("still serving with the last good certificate: %v", err)
		return f.pair
	}
	f.log("serving with the new certificate of %s", f.cert)
	f.pair = pair
	return pair
}

// covers tells whether the certificate is for the name that a client asks for, or for the address that it came to.
func covers(c *x509.Certificate, hello *tls.ClientHelloInfo) bool {
	name := hello.ServerName
	if name == "" && hello.Conn != nil {
		host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
		if err != nil {
			return false
		}
		name = host
	}
	return c.VerifyHostname(name) == nil
}
