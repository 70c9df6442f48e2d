package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

// restoreFlags say what is restored, and onto what.
type restoreFlags struct {
	backupFlags
	trustFlags
	dataDir, pkiDir, encryptionConfig string
	replace, unhashed, newAuthority   bool
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
in kubeadm's layout, and its encryption from --encryption-provider-config if it has any.

Only what the cluster's masters have signed is restored. They are known by the authority that is in the
data folder or in --pki-dir, by the passphrase, by the key file if the backup was made with it, or by
--trust. Nothing proves who wrote anything else, such as a FILE.db: it needs --untrusted.`,
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
	s.BoolVar(&f.newAuthority, "new-authority", false, "Make a new authority instead of restoring one: no node and no client of the old cluster trusts it.")
	s.BoolVar(&f.unhashed, "skip-hash-check", false, "Accept a FILE.db without a hash at its end, such as a copy of a stopped etcd member's member/snap/db.")
	f.vaults(s)
	f.locks(s)
	f.named(s)
	f.any(s, "Restore what nothing proves to be written by this cluster's masters: a FILE.db, a backup from before they were signed, or another cluster's.")
	f.without(s, "without-keys")
	s.Lookup("without-keys").Usage = "Restore the objects alone: a new authority is made, and what was issued by the old one is no longer trusted."
	return c
}

func restoreBackup(ctx context.Context, c *cobra.Command, f *restoreFlags, name string) error {
	begun := time.Now()
	shown := newProgress(c.ErrOrStderr())
	if f.newAuthority && f.pkiDir != "" {
		return usageError{errors.New("--new-authority contradicts --pki-dir")}
	}
	from, err := f.find(ctx, c, name, shown)
	if err != nil {
		shown.end()
		return err
	}
	defer from.release()
	if err := f.override(from.keys); err != nil {
		return err
	}
	if f.newAuthority {
		maps.DeleteFunc(from.keys, func(name string, _ []byte) bool { return strings.HasPrefix(name, "pki/") })
	} else if from.keys["pki/ca.crt"] == nil && (isFile(name) || !f.withoutKeys) {
		return usageError{errors.New("the authority is missing: give --pki-dir with the cluster's, or --new-authority to make a new one, which no node and no client of the old cluster trusts")}
	}
	done, err := backups.Restore(ctx, backups.RestoreOptions{
		Snapshot: from.file, Unhashed: f.unhashed, Checked: !isFile(name), Keys: from.keys, DataDir: f.dataDir, Replace: f.replace,
		Tell: func(step string) { shown.tell(step, 0, 0) },
	})
	shown.end()
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	fmt.Fprintf(out, "restored %s into %s in %.1f s; the cluster continues at revision %d\n", from.name, f.dataDir, time.Since(begun).Seconds(), done.Revision)
	if done.Moved != "" {
		fmt.Fprintf(out, "the old data is in %s\n", done.Moved)
	}
	more := ""
	if from.keys[datafolder.OperatorEncryptionFile] != nil {
		more = " --encryption-provider-config " + filepath.Join(f.dataDir, datafolder.OperatorEncryptionFile)
	}
	fmt.Fprintf(out, "start the master with: wheelhouse server --data-dir %s%s\n", f.dataDir, more)
	return nil
}

// isFile tells a file from the name of a backup.
func isFile(name string) bool {
	return strings.HasSuffix(name, ".db") || strings.ContainsRune(name, filepath.Separator)
}

// origin is what is restored: a snapshot, and the keys that go with it.
type origin struct {
	name, file string
	keys       map[string][]byte
	release    func()
}

// find gives the snapshot and the keys that go with it.
func (f *restoreFlags) find(ctx context.Context, c *cobra.Command, name string, shown *progress) (*origin, error) {
	if isFile(name) {
		return f.file(name)
	}
	if f.unhashed {
		return nil, usageError{errors.New("--skip-hash-check is for a FILE.db: a backup has its hashes")}
	}
	v, err := f.openVault()
	if err != nil {
		return nil, err
	}
	lock, err := f.lock()
	if err != nil {
		return nil, err
	}
	trust, err := f.trust(lock, pkiOf(f.dataDir), f.pkiDir)
	if err != nil {
		return nil, err
	}
	// With --pki-dir only the encryption keys may be wanted.
	open := !f.withoutKeys && (lock != nil || f.pkiDir == "")
	tried := map[string]error{}
	usable := func(b *backup.Backup) error {
		if err := tried[b.Name]; err != nil {
			return err
		}
		if err := b.Restorable(!open); err != nil {
			return err
		}
		return trust.Check(ctx, v, b)
	}
	for {
		b, passed, err := backup.FindUsable(ctx, v, name, usable)
		if err == nil {
			if err = usable(b); err != nil {
				if err = withName(b.Name, err); !errors.Is(err, backup.ErrUntrusted) {
					err = fmt.Errorf("%w; %s", err, backup.NewestGood(ctx, v))
				}
			}
		}
		var from *origin
		if err == nil {
			from, err = f.take(ctx, v, b, lock, open, shown)
		}
		if err != nil && name == "latest" && b != nil && tried[b.Name] == nil && (errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrNotFound)) {
			tried[b.Name] = err
			continue
		}
		shown.end()
		tellPassed(c, passed)
		if err == nil && name == "latest" {
			fmt.Fprintf(c.ErrOrStderr(), "wheelhouse: the newest backup that can be restored is %s, of %s\n", b.Name, b.Time.Format(time.DateTime))
		}
		return from, err
	}
}

// file is a snapshot that is named as a file of its own.
func (f *restoreFlags) file(name string) (*origin, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, usageError{fmt.Errorf("%s is a folder, not a FILE.db: a backup is named as backup list shows it: backup restore %s --backup-dir %s", name, filepath.Base(name), filepath.Dir(filepath.Clean(name)))}
	}
	if !f.untrusted {
		return nil, usageError{fmt.Errorf("nothing proves who made %s: if you know where it comes from, give --untrusted", name)}
	}
	return &origin{name, name, map[string][]byte{}, func() {}}, nil
}

// withName makes an error name its backup.
func withName(name string, err error) error {
	if strings.Contains(err.Error(), name) {
		return err
	}
	return fmt.Errorf("backup %s: %w", name, err)
}

// take reads a backup that is to be trusted.
func (f *restoreFlags) take(ctx context.Context, v backup.Vault, b *backup.Backup, lock *backup.Lock, open bool, shown *progress) (*origin, error) {
	if b.Manifest.Prefix != backups.KeyPrefix {
		return nil, fmt.Errorf("backup %s was made of a shared etcd, in which the cluster's keys begin with %s: take it apart with wheelhouse backup export, restore it with etcdutl, and start with --etcd-servers and --etcd-prefix", b.Name, b.Manifest.Prefix)
	}
	from := &origin{name: b.Name, keys: map[string][]byte{}}
	var err error
	if b.Manifest.HasKeys() && open {
		if from.keys, err = backup.OpenKeys(ctx, v, b, lock); err != nil {
			return nil, withName(b.Name, err)
		}
	}
	if !b.Manifest.HasKeys() && !f.withoutKeys && f.pkiDir == "" {
		return nil, fmt.Errorf("backup %s was made without keys: the authority is not inside; give --pki-dir, or --without-keys to make a new authority", b.Name)
	}
	// The copy lies where the data will be: there must be room for it anyhow.
	parent := filepath.Dir(f.dataDir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	from.file, from.release, err = backup.Fetch(ctx, v, b, parent, shown.tell)
	if err != nil {
		return nil, withName(b.Name, err)
	}
	return from, nil
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
		if _, err := backups.Reader("", map[string][]byte{datafolder.OperatorEncryptionFile: data}); err != nil {
			return fmt.Errorf("--encryption-provider-config: %w", err)
		}
		delete(keys, datafolder.EncryptionFile)
		keys[datafolder.OperatorEncryptionFile] = data
	}
	return nil
}
