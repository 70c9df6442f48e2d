package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

// verifyFlags are those of verify.
type verifyFlags struct {
	backupFlags
	trustFlags
}

func backupVerifyCommand() *cobra.Command {
	var f verifyFlags
	c := &cobra.Command{
		Use:   "verify [NAME|latest]",
		Short: "Read a backup back and compare it with its manifest",
		Long: `Read a backup back, decode every object in it and compare counts and hashes with its manifest.

With the passphrase or key file the keys are opened too, and encrypted objects decoded with them. A
backup that is found damaged is marked, and no longer counts as good.

The exit code is 0 if all was looked at, 1 if something is wrong, and 3 if what was looked at is good and
something was left out: without the passphrase or key the sealed keys and what is encrypted, and
without proof of who wrote the backup everything but its hashes.`,
		Args: atMostOne,
		RunE: func(c *cobra.Command, args []string) error {
			return interruptible(c, func(ctx context.Context) error { return verifyBackup(ctx, c, &f, nameOrLatest(args)) })
		},
	}
	f.vaults(c.Flags())
	f.locks(c.Flags())
	f.named(c.Flags())
	f.any(c.Flags(), "Decode a backup although nothing proves that this cluster's masters wrote it.")
	return c
}

func verifyBackup(ctx context.Context, c *cobra.Command, f *verifyFlags, name string) error {
	v, err := f.openVault()
	if err != nil {
		return err
	}
	lock, err := f.lock()
	if err != nil {
		return err
	}
	trust, err := f.trust(lock, pkiOf(master.DefaultDataDir()))
	if err != nil {
		return err
	}
	b, err := backup.Find(ctx, v, name)
	if err != nil {
		return err
	}
	shown := newProgress(c.ErrOrStderr())
	done, err := backup.Verify(ctx, v, b, backup.VerifyOptions{Lock: lock, Trust: trust, Reader: backups.Reader, Progress: shown.tell})
	shown.end()
	if err != nil {
		return err
	}
	m, out := done.Manifest, c.OutOrStdout()
	if done.Untrusted != nil {
		fmt.Fprintf(out, "%s has the hashes that its manifest says\n", m.Name)
		return partialError{fmt.Errorf("it was verified in part: its objects were not looked at, since %w", done.Untrusted)}
	}
	fmt.Fprintf(out, "%s is good: revision %d, %d objects of %d kinds, %s\n", m.Name, m.Revision, m.Objects, len(m.Kinds), mebibytes(m.Size()))
	switch {
	case !m.HasKeys():
		fmt.Fprintf(out, "It was made without keys: the authority is not inside.\n")
	case !done.KeysOpened:
		return partialError{fmt.Errorf("it was verified in part: its keys were not opened, nor its %d encrypted objects decoded; give the passphrase or key file for that", m.Encrypted)}
	}
	return nil
}

// pruneFlags are those of prune.
type pruneFlags struct {
	backupFlags
	trustFlags
	dry        bool
	unfinished time.Duration
}

func backupPruneCommand() *cobra.Command {
	f := pruneFlags{unfinished: backup.UnfinishedAge}
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove the backups that are no longer wanted, and left-overs of interrupted ones",
		Long: `Remove the backups that are no longer wanted, and left-overs of interrupted ones.

Only backups that the cluster's masters have signed let older ones go, where their signer is known: on a
master, and with --trust. Elsewhere each signer's are judged by themselves, and unsigned ones stay.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return interruptible(c, func(ctx context.Context) error { return pruneBackups(ctx, c, &f) })
		},
	}
	f.vaults(c.Flags())
	f.keep(c.Flags())
	f.named(c.Flags())
	c.Flags().BoolVar(&f.dry, "dry-run", false, "Only say what would be removed.")
	c.Flags().DurationVar(&f.unfinished, "unfinished-after", f.unfinished, "How long nothing must have changed in an unfinished backup for it to be removed.")
	return c
}

func pruneBackups(ctx context.Context, c *cobra.Command, f *pruneFlags) error {
	retention, err := backup.ParseRetention(f.retention)
	if err != nil {
		return usageError{fmt.Errorf("--backup-retention: %w", err)}
	}
	signers, err := f.known(pkiOf(master.DefaultDataDir()))
	if err != nil {
		return err
	}
	v, err := f.openVault()
	if err != nil {
		return err
	}
	before, err := backup.List(ctx, v)
	if err != nil {
		return err
	}
	shown := newProgress(c.ErrOrStderr())
	removed, err := backup.Prune(ctx, v, backup.PruneOptions{Retention: retention, Signers: signers, DryRun: f.dry, Unfinished: max(f.unfinished, time.Nanosecond), Progress: shown.tell})
	shown.end()
	tellRemoved(c, v, removed, f.dry)
	rules := "all are kept unless --backup-retention says which"
	if !retention.None() {
		rules = "by --backup-retention " + f.retention
	}
	verb := "removed"
	if f.dry {
		verb = "would be removed"
	}
	kept := map[backup.State]int{}
	for _, b := range before {
		kept[b.State]++
	}
	for _, b := range removed {
		kept[b.State]--
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %d %s, %s kept (%s)\n", v, len(removed), verb, states(kept), rules)
	return err
}

// states counts backups by state.
func states(count map[backup.State]int) string {
	var all []string
	for _, state := range []backup.State{backup.Good, backup.Damaged, backup.Unfinished} {
		if count[state] > 0 {
			all = append(all, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

func tellRemoved(c *cobra.Command, v backup.Vault, removed []backup.Backup, dry bool) {
	verb := "removed"
	if dry {
		verb = "would be removed"
	}
	for _, b := range removed {
		fmt.Fprintf(c.OutOrStdout(), "%s %s from %s (%s)\n", b.Name, verb, v, b.State)
	}
}

// tellPassed says why newer backups were not taken.
func tellPassed(c *cobra.Command, passed []backup.Passed) {
	for _, p := range passed {
		why := p.Why.Error()
		if !strings.Contains(why, p.Backup.Name) {
			why = "backup " + p.Backup.Name + ": " + why
		}
		fmt.Fprintf(c.ErrOrStderr(), "wheelhouse: passed over %s\n", oneLine(errors.New(why)))
	}
}
