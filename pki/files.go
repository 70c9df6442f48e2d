package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// writer reads a folder's files and collects those to write; flush makes all of them durable at once.
type writer struct {
	dir   string
	files []pendingFile
}

type pendingFile struct {
	name string
	data []byte
	mode os.FileMode
}

func (w *writer) read(file string) ([]byte, error) {
	if w.dir == "" {
		return nil, nil
	}
	data, err := os.ReadFile(filepath.Join(w.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	return data, nil
}

// load reads NAME.crt and NAME.key; what is missing is nil.
func (w *writer) load(name string) (*Pair, error) {
	p := &Pair{}
	var err error
	if p.CertPEM, err = w.read(name + ".crt"); err != nil {
		return nil, err
	}
	if p.KeyPEM, err = w.read(name + ".key"); err != nil {
		return nil, err
	}
	if p.KeyPEM != nil {
		if p.Key, err = parseKey(p.KeyPEM); err != nil {
			return nil, fmt.Errorf("pki: %s: %w", filepath.Join(w.dir, name+".key"), err)
		}
	}
	if p.CertPEM == nil {
		return p, nil
	}
	if p.Certificate, err = parseCertificate(p.CertPEM); err != nil {
		return nil, fmt.Errorf("pki: %s: %w", filepath.Join(w.dir, name+".crt"), err)
	}
	if p.Key != nil && !samePublic(p.Certificate.PublicKey, p.Key.Public()) {
		return nil, fmt.Errorf("pki: %s and %s do not belong together", filepath.Join(w.dir, name+".crt"), filepath.Join(w.dir, name+".key"))
	}
	return p.complete(), nil
}

func (w *writer) loadTokenKey() (crypto.Signer, []crypto.PublicKey, error) {
	data, err := w.read("sa.key")
	if err != nil {
		return nil, nil, err
	}
	var key crypto.Signer
	if data != nil {
		if key, err = parseKey(data); err != nil {
			return nil, nil, fmt.Errorf("pki: %s: %w", filepath.Join(w.dir, "sa.key"), err)
		}
	}
	if data, err = w.read("sa.pub"); err != nil || data == nil {
		return key, nil, err
	}
	public, err := ParsePublicKeys(data)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: %s: %w", filepath.Join(w.dir, "sa.pub"), err)
	}
	return key, public, nil
}

// add queues a pair. Keys come first, so that a crash never leaves a certificate without its key.
func (w *writer) add(name string, p *Pair) {
	w.files = append(w.files,
		pendingFile{name + ".key", p.KeyPEM, 0o600},
		pendingFile{name + ".crt", p.CertPEM, 0o644})
}

func (w *writer) addTokenKey(key crypto.Signer) error {
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	w.files = append(w.files, pendingFile{"sa.key", private, 0o600}, pendingFile{"sa.pub", public, 0o644})
	return nil
}

// flush writes the queued files beside their places, makes them durable in parallel, and then puts them into place in order.
func (w *writer) flush() error {
	if w.dir == "" || len(w.files) == 0 {
		return nil
	}
	temporary := make([]string, len(w.files))
	failed := make([]error, len(w.files))
	var wait sync.WaitGroup
	for n, f := range w.files {
		wait.Go(func() {
			temporary[n], failed[n] = writeTemporary(w.dir, f.data, f.mode)
		})
	}
	wait.Wait()
	err := errors.Join(failed...)
	for n, f := range w.files {
		if err == nil {
			err = os.Rename(temporary[n], filepath.Join(w.dir, f.name))
		}
		if err != nil && temporary[n] != "" {
			os.Remove(temporary[n])
		}
	}
	if err == nil {
		err = syncDir(w.dir)
	}
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	return nil
}

// writeFile replaces one file atomically and durably.
func writeFile(path string, data []byte, mode os.FileMode) error {
	temporary, err := writeTemporary(filepath.Dir(path), data, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		os.Remove(temporary)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// TemporaryPrefix begins the names of files that are being written; a crash may leave them behind.
const TemporaryPrefix = ".new-"

func writeTemporary(dir string, data []byte, mode os.FileMode) (name string, err error) {
	f, err := os.CreateTemp(dir, TemporaryPrefix+"*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			name = ""
		}
	}()
	if err = f.Chmod(mode); err != nil {
		return "", err
	}
	if _, err = f.Write(data); err != nil {
		return "", err
	}
	if err = f.Sync(); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func parseCertificate(data []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("holds no PEM certificate")
}

// parseKey reads an EC, RSA or PKCS#8 private key.
func parseKey(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
			return nil, fmt.Errorf("%T cannot sign", key)
		}
	}
	return nil, errors.New("holds no PEM private key")
}

// ParsePublicKeys reads all public keys of a PEM file; certificates and private keys count with their public part.
func ParsePublicKeys(data []byte) ([]crypto.PublicKey, error) {
	var keys []crypto.PublicKey
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var key crypto.PublicKey
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = c.PublicKey
			}
		default:
			var signer crypto.Signer
			if signer, err = parseKey(pem.EncodeToMemory(block)); err == nil {
				key = signer.Public()
			}
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no PEM public key")
	}
	return keys, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
	case *rsa.PrivateKey:
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}), nil
	default:
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	}
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
