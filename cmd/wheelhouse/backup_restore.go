package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

// restoreFlags say what is restored, and onto what.
type restoreFlags struct {
	backupFlags
	dataDir, pkiDir, encryptionConfig string
	replace, unhashed                 bool
}

func backupRestoreCommand() *cobra.Command {
	f := &restoreFlags{}
	c := &cobra.Command{
		Use:   "restore [NAME|latest|FILE.db]",
		Short: "Make a master's data folder from a backup, or from a snapshot of any Kubernetes cluster's etcd",
		Long: `Make a master's data folder from a backup, or from a snapshot of any Kubernetes cluster's etcd.

No master may run on the folder. The master that is started on it afterwards is a cluster's only one,
with a new identity and any address; others can then join it. Revisions grow by a thousand million, so
that every client lists anew instead of taking the past for the present.

With a file (FILE.db, as etcdctl snapshot save makes it) the cluster's authority is taken from --pki-dir,
in kubeadm's layout, and its encryption from --encryption-provider-config if it has any.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			return interruptible(c, func(ctx context.Context) error { return restoreBackup(ctx, c, f, nameOrLatest(args)) })
		},
	}
	s := c.Flags()
	s.StringVar(&f.dataDir, "data-dir", master.DefaultDataDir(), "Data folder to make.")
	s.BoolVar(&f.replace, "replace", false, "Move what is in the data folder aside, into a folder beside it (inside it, if it is a file system of its own).")
	s.StringVar(&f.pkiDir, "pki-dir", "", "Authority and keys in kubeadm's layout to use instead of those in the backup; they are copied.")
	s.StringVar(&f.encryptionConfig, "encryption-provider-config", "", "Encryption configuration to use instead of that in the backup; it is copied.")
	s.BoolVar(&f.unhashed, "skip-hash-check", false, "Accept a FILE.db without a hash at its end, such as a copy of a stopped etcd member's member/snap/db.")
	f.vaults(s)
	f.locks(s)
	f.without(s, "without-keys")
	s.Lookup("without-keys").Usage = "Restore the objects alone: a new authority is made, and what was issued by the old one is no longer trusted."
	return c
}

func restoreBackup(ctx context.Context, c *cobra.Command, f *restoreFlags, name string) error {
	begun := time.Now()
	shown := newProgress(c.ErrOrStderr())
	file, keys, release, err := f.find(ctx, name, shown)
	if err != nil {
		shown.end()
		return err
	}
	defer release()
	if err := f.override(keys); err != nil {
		return err
	}
	if len(keys) == 0 && !f.withoutKeys {
		return usageError{errors.New("the authority is missing: give --pki-dir with the cluster's, or --without-keys to make a new one, which no node and no client of the old cluster trusts")}
	}
	done, err := master.Restore(ctx, master.RestoreOptions{
		Snapshot: file, Unhashed: f.unhashed, Checked: !isFile(name), Keys: keys, DataDir: f.dataDir, Replace: f.replace,
		Tell: func(step string) { shown.tell(step, 0, 0) },
	})
	shown.end()
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	fmt.Fprintf(out, "restored %s into %s in %.1f s; the cluster continues at revision %d\n", name, f.dataDir, time.Since(begun).Seconds(), done.Revision)
	if done.Moved != "" {
		fmt.Fprintf(out, "the old data is in %s\n", done.Moved)
	}
	more := ""
	if keys[master.OperatorEncryptionFile] != nil {
		more = " --encryption-provider-config " + filepath.Join(f.dataDir, master.OperatorEncryptionFile)
	}
	fmt.Fprintf(out, "start the master with: wheelhouse server --data-dir %s%s\n", f.dataDir, more)
	return nil
}

// isFile tells a file from the name of a backup.
func isFile(name string) bool {
	return strings.HasSuffix(name, ".db") || strings.ContainsRune(name, filepath.Separator)
}

// find gives the snapshot and the keys that go with it.
func (f *restoreFlags) find(ctx context.Context, name string, shown *progress) (file string, keys map[string][]byte, release func(), err error) {
	keys = map[string][]byte{}
	if isFile(name) {
		if _, err := os.Stat(name); err != nil {
			return "", nil, nil, err
		}
		return name, keys, func() {}, nil
	}
	if f.unhashed {
		return "", nil, nil, usageError{errors.New("--skip-hash-check is for a FILE.db: a backup has its hashes")}
	}
	v, err := f.place()
	if err != nil {
		return "", nil, nil, err
	}
	b, err := backup.Find(ctx, v, name)
	if err != nil {
		return "", nil, nil, err
	}
	if b.State != backup.Good {
		return "", nil, nil, fmt.Errorf("backup %s is %s (%s): choose another", b.Name, b.State, b.Reason)
	}
	if b.Manifest.Prefix != master.KeyPrefix {
		return "", nil, nil, fmt.Errorf("backup %s was made of a shared etcd, in which the cluster's keys begin with %s: take it apart with wheelhouse backup export, restore it with etcdutl, and start with --etcd-servers and --etcd-prefix", b.Name, b.Manifest.Prefix)
	}
	if b.Manifest.HasKeys() && !f.withoutKeys {
		lock, err := f.lock()
		if err != nil {
			return "", nil, nil, err
		}
		if lock != nil || f.pkiDir == "" { // with --pki-dir only the encryption keys may be wanted
			if keys, err = backup.OpenKeys(ctx, v, b, lock); err != nil {
				return "", nil, nil, err
			}
		}
	}
	if !b.Manifest.HasKeys() && !f.withoutKeys && f.pkiDir == "" {
		return "", nil, nil, fmt.Errorf("backup %s was made without keys: the authority is not inside; give --pki-dir, or --without-keys to make a new authority", b.Name)
	}
	// A copy from a bucket lies where the data will be: there must be room for it anyhow.
	place := filepath.Dir(f.dataDir)
	if err := os.MkdirAll(place, 0o755); err != nil {
		return "", nil, nil, err
	}
	file, release, err = backup.Fetch(ctx, v, b, place, shown.tell)
	if err != nil {
		return "", nil, nil, fmt.Errorf("backup %s: %w", b.Name, err)
	}
	return file, keys, release, nil
}

// sharedPairs are the files of kubeadm's layout that all masters have alike; the others belong to one and are made anew.
var sharedPairs = []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub"}

// override takes the authority and the encryption configuration that the flags name.
func (f *restoreFlags) override(keys map[string][]byte) error {
	if f.pkiDir != "" {
		for _, name := range sharedPairs {
			data, err := os.ReadFile(filepath.Join(f.pkiDir, name))
			if errors.Is(err, fs.ErrNotExist) {
				delete(keys, "pki/"+name)
				continue
			}
			if err != nil {
				return fmt.Errorf("--pki-dir: %w", err)
			}
			keys["pki/"+name] = data
		}
		for _, name := range []string{"ca.crt", "ca.key", "sa.key"} {
			if keys["pki/"+name] == nil {
				return fmt.Errorf("--pki-dir: %s holds no %s: give the folder that a master of the cluster has, such as /etc/kubernetes/pki", f.pkiDir, name)
			}
		}
	}
	if f.encryptionConfig != "" {
		data, err := os.ReadFile(f.encryptionConfig)
		if err != nil {
			return fmt.Errorf("--encryption-provider-config: %w", err)
		}
		if _, err := master.BackupReader("", map[string][]byte{master.OperatorEncryptionFile: data}); err != nil {
			return fmt.Errorf("--encryption-provider-config: %w", err)
		}
		delete(keys, master.EncryptionFile)
		keys[master.OperatorEncryptionFile] = data
	}
	return nil
}

func backupExportCommand() *cobra.Command {
	var f backupFlags
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
			return interruptible(c, func(ctx context.Context) error { return exportBackup(ctx, c, &f, nameOrLatest(args), to) })
		},
	}
	f.vaults(c.Flags())
	f.locks(c.Flags())
	f.without(c.Flags(), "without-keys")
	c.Flags().Lookup("without-keys").Usage = "Write the snapshot alone."
	c.Flags().StringVar(&to, "to", "", "Folder to write; it is made and must not exist.")
	return c
}

func exportBackup(ctx context.Context, c *cobra.Command, f *backupFlags, name, to string) (err error) {
	v, err := f.place()
	if err != nil {
		return err
	}
	lock, err := f.lock()
	if err != nil {
		return err
	}
	b, err := backup.Find(ctx, v, name)
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
	if err := writeCopy(file, filepath.Join(to, backup.SnapshotFile)); err != nil {
		return err
	}
	for name, data := range keys {
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
	for _, name := range []string{master.EncryptionFile, master.OperatorEncryptionFile} {
		if keys[name] != nil && m.Encrypted > 0 {
			fmt.Fprintf(out, "%d objects are encrypted: an API server reads them with --encryption-provider-config=%s\n", m.Encrypted, filepath.Join(to, name))
		}
	}
	return nil
}

func writeCopy(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Sync(), w.Close())
}
