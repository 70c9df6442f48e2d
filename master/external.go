package master

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// External is the external etcd that masters use instead of a member of their own.
type External struct {
	// Servers are its URLs; none means that this master has a member of its own.
	Servers []string
	// CAFile checks the servers' certificates, CertFile and KeyFile prove this master to them.
	CAFile, CertFile, KeyFile string
	// Prefix of all keys; empty means DefaultPrefix.
	Prefix string
}

// DefaultPrefix is where upstream's API servers keep their keys unless told otherwise.
const DefaultPrefix = "/registry"

// external tells whether the data are in an external etcd.
func (c *Config) external() bool { return len(c.External.Servers) > 0 }

func (x *External) prefix() string { return path.Join("/", cmp.Or(x.Prefix, DefaultPrefix)) }

// checkExternal finds flags that do not go together.
func (c *Config) checkExternal() error {
	x := &c.External
	if !c.external() {
		for flag, value := range map[string]string{"--etcd-cafile": x.CAFile, "--etcd-certfile": x.CertFile, "--etcd-keyfile": x.KeyFile} {
			if value != "" {
				return fmt.Errorf("%s needs --etcd-servers: without it the master has a store of its own", flag)
			}
		}
		if x.prefix() != DefaultPrefix {
			return fmt.Errorf("--etcd-prefix %s needs --etcd-servers: a store of the master's own always has %s", x.Prefix, DefaultPrefix)
		}
		return nil
	}
	if (x.CertFile == "") != (x.KeyFile == "") {
		return errors.New("--etcd-certfile and --etcd-keyfile must be given together")
	}
	options := etcd.External{Servers: x.Servers, CAFile: x.CAFile, CertFile: x.CertFile, KeyFile: x.KeyFile}
	if err := options.Check(); err != nil {
		return fmt.Errorf("--etcd-servers: %w", err)
	}
	return nil
}

// checkDataDir refuses a folder whose data are elsewhere than the flags say: the master would begin with an empty cluster.
func (c *Config) checkDataDir() error {
	if c.DataDir == "" {
		return nil
	}
	if c.external() && datafolder.HoldsMember(c.DataDir) {
		return fmt.Errorf("the data folder %s holds a store of its own, which --etcd-servers would leave aside: choose an empty folder with --data-dir, or start without --etcd-servers", c.DataDir)
	}
	told, err := os.ReadFile(filepath.Join(c.DataDir, datafolder.ExternalFile))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // who takes the folder says what is wrong with it
		return nil
	case err != nil:
		return fmt.Errorf("the data folder cannot be read: %w", err)
	}
	servers, prefix, _ := strings.Cut(strings.TrimSpace(string(told)), " ")
	if !c.external() {
		return fmt.Errorf("the data of %s are in the etcd at %s: start it with --etcd-servers as before, or choose another --data-dir", c.DataDir, servers)
	}
	if prefix != c.External.prefix() {
		return fmt.Errorf("the data of %s are under the prefix %s: give --etcd-prefix %s, or choose another --data-dir", c.DataDir, prefix, prefix)
	}
	return nil
}

// clientAuthority is where every cluster publishes the authority of its clients.
const clientAuthority, clientAuthorityKey = "extension-apiserver-authentication", "client-ca-file"

// publicKeys of certificates.
func publicKeys(bundle []byte) map[string]bool {
	keys := map[string]bool{}
	for block, rest := pem.Decode(bytes.TrimSpace(bundle)); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			keys[string(c.RawSubjectPublicKeyInfo)] = true
		}
	}
	return keys
}

// checkTimeout bounds a check of the store unless the operator says otherwise, as upstream does.
const checkTimeout = 2 * time.Second

// options of the store's client.
func (c *Config) externalOptions() etcd.External {
	x := &c.External
	return etcd.External{
		Servers: x.Servers, CAFile: x.CAFile, CertFile: x.CertFile, KeyFile: x.KeyFile,
		Prefix: x.prefix(), Root: registry.Root, CompactionInterval: c.CompactionInterval,
		Warn: func(message string) { c.warn("store: %s", message) },
	}
}
