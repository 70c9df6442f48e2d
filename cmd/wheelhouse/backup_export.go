package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

// exportFlags are those of export.
type exportFlags struct {
	backupFlags
	trustFlags
}

func backupExportCommand() *cobra.Command {
	f := &exportFlags{}
	var to string
	c := &cobra.Command{
		Use:   "export [NAME|latest] --to FOLDER",
		Short: "Take a backup apart for etcd's tools and other API servers",
		Long: `Take a backup apart for etcd's tools and other API servers.

Writes snapshot.db, which etcdutl restores; pki with the authority and keys in kubeadm's layout; and
the encryption configuration, which an API server that is to read the secrets needs.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" {
				return usageError{errors.New("export needs the folder to write: give --to")}
			}
			return interruptible(c, func(ctx context.Context) error { return exportBackup(ctx, c, f, nameOrLatest(args), to) })
		},
	}
	f.vaults(c.Flags())
	f.locks(c.Flags())
	f.named(c.Flags())
	f.any(c.Flags(), "Take apart what nothing proves to be written by this cluster's masters.")
	f.without(c.Flags(), "without-keys")
	c.Flags().Lookup("without-keys").Usage = "Write the snapshot alone."
	c.Flags().StringVar(&to, "to", "", "Folder to write; it is made and must not exist.")
	return c
}

// find gives a backup that is to be trusted, and what opens it.
func (f *exportFlags) find(ctx context.Context, c *cobra.Command, name string) (backup.Vault, *backup.Backup, *backup.Lock, error) {
	v, err := f.openVault()
	if err != nil {
		return nil, nil, nil, err
	}
	lock, err := f.lock()
	if err != nil {
		return nil, nil, nil, err
	}
	trust, err := f.trust(lock, pkiOf(master.DefaultDataDir()))
	if err != nil {
		return nil, nil, nil, err
	}
	usable := func(b *backup.Backup) error {
		if err := b.Restorable(f.withoutKeys); err != nil {
			return err
		}
		return trust.Check(ctx, v, b)
	}
	b, passed, err := backup.FindUsable(ctx, v, name, usable)
	tellPassed(c, passed)
	if err == nil {
		err = usable(b)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	return v, b, lock, nil
}

func exportBackup(ctx context.Context, c *cobra.Command, f *exportFlags, name, to string) (err error) {
	v, b, lock, err := f.find(ctx, c, name)
	if err != nil {
		return err
	}
	var keys map[string][]byte
	if !f.withoutKeys {
		if keys, err = backup.OpenKeys(ctx, v, b, lock); err != nil {
			return err
		}
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(to))
		}
	}()
	shown := newProgress(c.ErrOrStderr())
	file, release, err := backup.Fetch(ctx, v, b, to, shown.tell)
	shown.end()
	if err != nil {
		return err
	}
	defer release()
	if err := os.Rename(file, filepath.Join(to, backup.SnapshotFile)); err != nil {
		return err
	}
	for name, data := range keys {
		if err := backups.CheckKeyName(name); err != nil {
			return err
		}
		path := filepath.Join(to, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	m, out := b.Manifest, c.OutOrStdout()
	fmt.Fprintf(out, "%s: revision %d, %d objects, in %s\n", m.Name, m.Revision, m.Objects, filepath.Join(to, backup.SnapshotFile))
	for _, name := range []string{datafolder.EncryptionFile, datafolder.OperatorEncryptionFile} {
		if keys[name] != nil && m.Encrypted > 0 {
			fmt.Fprintf(out, "%d objects are encrypted: an API server reads them with --encryption-provider-config=%s\n", m.Encrypted, filepath.Join(to, name))
		}
	}
	return nil
}
