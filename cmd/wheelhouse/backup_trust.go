package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

// trustFlags say who may have written what a command takes from a vault.
type trustFlags struct {
	signers   []string
	untrusted bool
}

func (f *trustFlags) named(s *pflag.FlagSet) {
	s.StringSliceVar(&f.signers, "trust", nil, "Signer (ed25519:…) of the cluster's backups, as wheelhouse backup create prints it. Not needed where a master's pki is, with the passphrase, or with the key file with which the backup was made.")
}

func (f *trustFlags) any(s *pflag.FlagSet, what string) {
	s.BoolVar(&f.untrusted, "untrusted", false, what)
}

// known are the signers that the flags name, and those of the authorities in some folders.
func (f *trustFlags) known(pki ...string) ([]string, error) {
	for _, name := range f.signers {
		if err := backup.CheckSigner(name); err != nil {
			return nil, usageError{err}
		}
	}
	all := f.signers
	for _, dir := range pki {
		if dir == "" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "sa.key"))
		if err != nil {
			continue
		}
		if name, err := backups.SignerOf(map[string][]byte{"pki/sa.key": data}); err == nil {
			all = append(all, name)
		}
	}
	return all, nil
}

// trust is what is known: by the flags, by the lock, and by the authorities in some folders.
func (f *trustFlags) trust(lock *backup.Lock, pki ...string) (*backup.Trust, error) {
	signers, err := f.known(pki...)
	return &backup.Trust{Signers: signers, Lock: lock, SignerOf: backups.SignerOf, Any: f.untrusted}, err
}

// pkiOf is where a data folder has its authority.
func pkiOf(dataDir string) string { return filepath.Join(dataDir, "pki") }
