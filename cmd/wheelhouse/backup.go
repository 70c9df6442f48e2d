package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

func backupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "backup",
		Short: "Make, check and restore backups of the cluster",
		Long: `Make, check and restore backups of the cluster.

A backup holds the cluster store as etcd's own tools read it, the authority and keys sealed with a
passphrase or key file, and a manifest. It is kept in a folder or in an S3-compatible bucket, and is
read back and decoded before it counts.`,
		Args: unknownSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(backupCreateCommand(), backupListCommand(), backupVerifyCommand(), backupRestoreCommand(),
		backupExportCommand(), backupPruneCommand(), backupKeygenCommand())
	return c
}

// interruptible ends a command's context with the signals that stop it, so that nothing half done is left.
func interruptible(c *cobra.Command, f func(ctx context.Context) error) error {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal does not wait
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	return err
}

func backupCreateCommand() *cobra.Command {
	var masters adminFlags
	var f backupFlags
	c := &cobra.Command{
		Use:   "create",
		Short: "Back up a running cluster",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return interruptible(c, func(ctx context.Context) error { return createBackup(ctx, c, &masters, &f) })
		},
	}
	masters.add(c.Flags())
	f.vaults(c.Flags())
	f.locks(c.Flags())
	f.without(c.Flags(), "without-keys")
	f.keep(c.Flags())
	return c
}

func createBackup(ctx context.Context, c *cobra.Command, masters *adminFlags, f *backupFlags) error {
	retention, err := backup.ParseRetention(f.retention)
	if err != nil {
		return usageError{fmt.Errorf("--backup-retention: %w", err)}
	}
	vaults, err := f.openVaults(master.DefaultDataDir())
	if err != nil {
		return usageError{err}
	}
	lock, err := f.lock()
	if err != nil {
		return err
	}
	to, err := masters.client()
	if err != nil {
		return err
	}
	begun, shown := time.Now(), newProgress(c.ErrOrStderr())
	m, have, err := backup.CreateIn(ctx, &remoteSource{client: to}, vaults, backup.CreateOptions{
		Lock: lock, WithoutKeys: f.withoutKeys, Reader: backups.Reader, Progress: shown.tell,
	})
	shown.end()
	if errors.Is(err, backup.ErrNoLock) {
		return usageError{err}
	}
	if m == nil {
		return err
	}
	var names []string
	for _, v := range have {
		names = append(names, v.String())
		fmt.Fprintf(c.OutOrStdout(), "%s: revision %d, %d objects, %s, in %s\n", m.Name, m.Revision, m.Objects, mebibytes(m.Size()), v)
	}
	fmt.Fprintf(c.OutOrStdout(), "signed by %s\n", m.Signer)
	outcome := backup.Succeeded(m, names, begun, time.Now(), "")
	if err := to.Post(ctx, "backup/outcome", outcome, nil); err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "wheelhouse: the master could not note the backup: %s\n", oneLine(err))
	}
	for _, v := range have {
		if retention.None() {
			break
		}
		removed, failed := backup.Prune(ctx, v, backup.PruneOptions{Retention: retention, Cluster: m.Cluster, Signers: []string{m.Signer}, Trusted: m.Name})
		tellRemoved(c, v, removed, false)
		err = errors.Join(err, failed)
	}
	return err
}

// remoteSource is a master, reached through its commands, as the source of a backup.
type remoteSource struct {
	client *admin.Client
	size   int64
}

func (s *remoteSource) Origin(ctx context.Context) (backup.Origin, error) {
	var a backups.Answer
	err := s.client.Get(ctx, "backup", &a)
	s.size = a.Size
	return a.Origin, err
}

func (s *remoteSource) Snapshot(ctx context.Context) (io.ReadCloser, int64, error) {
	r, err := s.client.Open(ctx, http.MethodPost, "backup/snapshot", nil)
	return r, s.size, err
}

func (s *remoteSource) Keys(ctx context.Context) (keys map[string][]byte, err error) {
	return keys, s.client.Post(ctx, "backup/keys", nil, &keys)
}

func (s *remoteSource) Count(ctx context.Context, census backup.Census) (counted backup.Counted, err error) {
	return counted, s.client.Post(ctx, "backup/count", census, &counted)
}

func (s *remoteSource) Sign(ctx context.Context, manifest []byte) (string, error) {
	var a struct {
		Signature string `json:"signature"`
	}
	err := s.client.Post(ctx, "backup/sign", json.RawMessage(manifest), &a)
	return a.Signature, err
}

func backupListCommand() *cobra.Command {
	var f backupFlags
	var output string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the backups of a folder or bucket",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("--output %q: only json is known", output)}
			}
			return interruptible(c, func(ctx context.Context) error {
				v, err := f.openVault()
				if err != nil {
					return err
				}
				all, err := backup.List(ctx, v)
				if err != nil {
					return err
				}
				return writeBackups(c.OutOrStdout(), v, all, output)
			})
		},
	}
	f.vaults(c.Flags())
	c.Flags().StringVarP(&output, "output", "o", "", "json for all details")
	return c
}

func writeBackups(to io.Writer, v backup.Vault, all []backup.Backup, output string) error {
	if output == "json" {
		if all == nil {
			all = []backup.Backup{}
		}
		encoder := json.NewEncoder(to)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			Vault   string          `json:"vault"`
			Backups []backup.Backup `json:"backups"`
		}{v.String(), all})
	}
	if len(all) == 0 {
		fmt.Fprintf(to, "no backups in %s\n", v)
		return nil
	}
	t := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tTIME\tREVISION\tOBJECTS\tSIZE\tKEYS\tCLUSTER")
	for _, b := range all {
		if b.Manifest == nil {
			fmt.Fprintf(t, "%s\t%s\t%s\t\t\t\t\t%s\n", b.Name, b.State, b.Time.Format(time.DateTime), b.Reason)
			continue
		}
		m, keys, cluster := b.Manifest, "sealed", b.Manifest.Cluster
		if !m.HasKeys() {
			keys = "none"
		}
		if b.State != backup.Good {
			cluster += ": " + b.Reason
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", b.Name, b.State, b.Time.Format(time.DateTime), m.Revision, m.Objects, mebibytes(m.Size()), keys, cluster)
	}
	return t.Flush()
}

// nameOrLatest is the argument of commands about one backup.
func nameOrLatest(args []string) string {
	if len(args) == 0 {
		return "latest"
	}
	return args[0]
}

func atMostOne(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError{fmt.Errorf("%s takes the name of one backup: %q is one too many", c.CommandPath(), args[1])}
	}
	return nil
}

func backupKeygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key file for backups",
		Long: `Make a key file for backups. It seals and opens; keep a copy away from the cluster, since a backup
cannot be restored without it. The recipient that is printed can stand in a file of its own on the
masters: it only seals.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("keygen needs the name of the file to write")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			data, recipient, err := backup.NewKey(time.Now())
			if err != nil {
				return err
			}
			if err := durable.Create(args[0], data, 0o600); err != nil {
				return fmt.Errorf("the key file cannot be made: %w", err)
			}
			fmt.Fprintln(c.OutOrStdout(), recipient)
			return nil
		},
	}
}
