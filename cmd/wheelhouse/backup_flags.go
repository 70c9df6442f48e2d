package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

// The environment variables that stand for flags with secrets.
const (
	backupPassphraseVariable     = "WHEELHOUSE_BACKUP_PASSPHRASE"
	backupPassphraseFileVariable = "WHEELHOUSE_BACKUP_PASSPHRASE_FILE"
	backupKeyFileVariable        = "WHEELHOUSE_BACKUP_KEY_FILE"
)

// backupFlags say where backups are kept and how their keys are sealed. Master and commands have the same.
type backupFlags struct {
	dir                     string
	s3                      backup.S3Options
	passphraseFile, keyFile string
	withoutKeys             bool
	retention               string
}

func (f *backupFlags) vaults(s *pflag.FlagSet) {
	s.StringVar(&f.dir, "backup-dir", "", "Folder for backups (default backups in the data folder, unless there is a bucket).")
	s.StringVar(&f.s3.Endpoint, "backup-s3-endpoint", "", "Server of the bucket for backups: HOST[:PORT], or a URL. Any that speaks S3.")
	s.StringVar(&f.s3.Bucket, "backup-s3-bucket", "", "Bucket for backups; with --backup-dir too, both get each backup.")
	s.StringVar(&f.s3.Prefix, "backup-s3-prefix", "", "Prefix of the backups' objects in the bucket.")
	s.StringVar(&f.s3.Region, "backup-s3-region", "", "Region of the bucket (default: ask the server).")
	s.StringVar(&f.s3.CAFile, "backup-s3-ca-file", "", "Authorities that the bucket's server may be certified by (default: the system's).")
	s.StringVar(&f.s3.CredentialsFile, "backup-s3-credentials-file", "", "Credentials as the AWS command line keeps them (default: $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY, then ~/.aws/credentials).")
	s.StringVar(&f.s3.Profile, "backup-s3-profile", "", "Profile in the credentials file.")
	s.BoolVar(&f.s3.InstanceRole, "backup-s3-instance-role", false, "Take credentials from the cloud's metadata service if there are no others.")
}

func (f *backupFlags) locks(s *pflag.FlagSet) {
	s.StringVar(&f.passphraseFile, "backup-passphrase-file", "", "File with the passphrase that seals the authority and keys in backups ($"+backupPassphraseFileVariable+"; the passphrase itself: $"+backupPassphraseVariable+").")
	s.StringVar(&f.keyFile, "backup-key-file", "", "File with the key that seals them instead, as age-keygen or wheelhouse backup keygen makes it ($"+backupKeyFileVariable+").")
}

func (f *backupFlags) without(s *pflag.FlagSet, name string) {
	s.BoolVar(&f.withoutKeys, name, false, "Leave the authority and keys out of backups. What is encrypted in them is lost unless the keys are kept elsewhere.")
}

func (f *backupFlags) keep(s *pflag.FlagSet) {
	s.StringVar(&f.retention, "backup-retention", "", "Backups to keep: a number (7), an age (14d, 36h), or both (14d,3), then those that either wants. The newest good one always stays. (default: all)")
}

// server adds the flags of a master.
func (f *backupFlags) server(s *pflag.FlagSet, b *backups.Plan) {
	s.StringVar(&b.Schedule, "backup-schedule", "", "When the master that leads makes a backup, as in cron: five fields (0 3 * * *), @daily or @every 6h. All masters should have the same.")
	f.keep(s)
	f.vaults(s)
	f.locks(s)
	f.without(s, "backup-without-keys")
}

// openVaults gives those of the flags. dataDir is where the default folder lies.
func (f *backupFlags) openVaults(dataDir string) ([]backup.Vault, error) {
	var out []backup.Vault
	bucket := f.s3 != backup.S3Options{}
	if f.dir == "" && !bucket {
		if dataDir == "" {
			return nil, errors.New("no place for backups: give --backup-dir or --backup-s3-bucket")
		}
		f.dir = backups.DefaultDir(dataDir)
	}
	if f.dir != "" {
		v, err := backup.NewFolder(f.dir)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if bucket {
		v, err := backup.NewS3(f.s3)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// openVault gives the one of a command that reads.
func (f *backupFlags) openVault() (backup.Vault, error) {
	all, err := f.openVaults(master.DefaultDataDir())
	if err != nil {
		return nil, usageError{err}
	}
	if len(all) > 1 {
		return nil, usageError{errors.New("give either --backup-dir or a bucket, not both")}
	}
	return all[0], nil
}

// lock of the flags or the environment; nil if there is none. A flag goes before a variable that stands for the same, and a
// passphrase beside a key is an error, wherever the two come from: one of them is not what the operator means.
func (f *backupFlags) lock() (*backup.Lock, error) {
	passphraseFile, keyFile, passphrase := f.passphraseFile, f.keyFile, ""
	var givenPassphrase, givenKey string
	switch {
	case passphraseFile != "":
		givenPassphrase = "--backup-passphrase-file"
	case os.Getenv(backupPassphraseFileVariable) != "":
		passphraseFile, givenPassphrase = os.Getenv(backupPassphraseFileVariable), "$"+backupPassphraseFileVariable
	case os.Getenv(backupPassphraseVariable) != "":
		passphrase, givenPassphrase = os.Getenv(backupPassphraseVariable), "$"+backupPassphraseVariable
	}
	switch {
	case keyFile != "":
		givenKey = "--backup-key-file"
	case os.Getenv(backupKeyFileVariable) != "":
		keyFile, givenKey = os.Getenv(backupKeyFileVariable), "$"+backupKeyFileVariable
	}
	if givenPassphrase != "" && givenKey != "" {
		return nil, usageError{fmt.Errorf("both a passphrase (%s) and a key (%s) are given: leave one out", givenPassphrase, givenKey)}
	}
	if passphrase != "" {
		return backup.NewPassphrase(passphrase)
	}
	return backup.LockFrom(passphraseFile, keyFile)
}

// configure fills in what a master does by itself.
func (f *backupFlags) configure(c *master.Config) (err error) {
	b := &c.Backups
	if b.Retention, err = backup.ParseRetention(f.retention); err != nil {
		return fmt.Errorf("--backup-retention: %w", err)
	}
	if b.Schedule == "" {
		if f.dir != "" || f.s3 != (backup.S3Options{}) || f.passphraseFile != "" || f.keyFile != "" || f.withoutKeys || !b.Retention.None() {
			return errors.New("the flags for backups are without effect unless --backup-schedule says when to make them")
		}
		return nil
	}
	if b.Lock, err = f.lock(); err != nil {
		return err
	}
	b.WithoutKeys = f.withoutKeys
	b.Vaults, err = f.openVaults(c.DataDir)
	return err
}
