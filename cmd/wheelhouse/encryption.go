package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
)

func encryptionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "encryption",
		Short: "Look at the encryption of what is stored, and change its keys",
		Long: `Look at the encryption of what is stored, and change its keys.

Masters encrypt secrets in the cluster store with a key that they made at the first start and keep in
encryption.yaml in their data folders, or as the EncryptionConfiguration says that they were given with
--encryption-provider-config.`,
		Args: unknownSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(encryptionStatusCommand(),
		keyWorkCommand("rotate-key", "Encrypt secrets with a new key, and drop the old",
			`Encrypt secrets with a new key, and drop the old.

All masters get the new key; then all write with it; then every secret is written anew; then the old key
is dropped. If that is broken off, by whatever, the same command goes on with it.`, "encryption/rotate"),
		keyWorkCommand("rewrite", "Store everything in the form that the present configuration asks for",
			`Store everything in the form that the present configuration asks for: after a change of
--encryption-provider-config, and after a plugin has got a new key. It may be broken off and run again.`, "encryption/rewrite"),
		decryptCommand())
	return c
}

func encryptionStatusCommand() *cobra.Command {
	var f adminFlags
	var output string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how objects are stored, and under which keys",
		Long: `Show how objects are stored, and under which keys. Every stored object of the encrypted resources
is read for that. The exit code is 1 if a master does not answer.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("--output %q: only json is known", output)}
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			var s keys.Status
			if err := client.Get(c.Context(), "encryption", &s); err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(c.OutOrStdout(), s)
			} else {
				err = printEncryption(c.OutOrStdout(), &s)
			}
			if err != nil {
				return err
			}
			return doubtful(&s)
		},
	}
	f.add(c.Flags())
	c.Flags().StringVarP(&output, "output", "o", "", "json for all details")
	return c
}

// doubtful is an error if the answer does not hold for the whole cluster.
func doubtful(s *keys.Status) error {
	for _, m := range s.Masters {
		if m.Error != "" {
			return fmt.Errorf("master %s does not answer, and it is unknown which keys it uses: %s", m.Name, m.Error)
		}
	}
	return nil
}

func printEncryption(to io.Writer, s *keys.Status) error {
	switch {
	case s.File == "":
		fmt.Fprintln(to, "Nothing is encrypted: this master keeps everything in memory.")
	case s.Managed:
		fmt.Fprintf(to, "The masters keep the keys, in %s.\n", s.File)
	default:
		fmt.Fprintf(to, "The keys are yours, in %s.\n", s.File)
	}
	w := tabwriter.NewWriter(to, 0, 4, 3, ' ', 0)
	fmt.Fprintln(w, "\nRESOURCE\tWRITTEN AS\tSTORED AS\tTO REWRITE\tUNREADABLE")
	for _, r := range s.Resources {
		var stored []string
		for _, form := range slices.Sorted(maps.Keys(r.Stored)) {
			stored = append(stored, fmt.Sprintf("%s (%d)", form, r.Stored[form]))
		}
		if len(stored) == 0 {
			stored = []string{"-"}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\n", r.Resource, r.Writes, strings.Join(stored, ", "), r.Stale, r.Unreadable)
	}
	fmt.Fprintln(w, "\nMASTER\tCONFIGURATION")
	for _, m := range s.Masters {
		state := "the same"
		switch {
		case m.Error != "":
			state = "unknown: " + m.Error
		case !m.Same:
			state = "another"
		}
		fmt.Fprintf(w, "%s\t%s\n", m.Name, state)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range s.Resources {
		if r.Error != "" {
			fmt.Fprintf(to, "\n%s: %s\n", r.Resource, r.Error)
		}
	}
	switch work := s.Work; {
	case work != nil && work.Ended == nil:
		fmt.Fprintf(to, "\n%s is running: %s\n", work.Name, stepOf(work))
	case s.Unfinished != "":
		fmt.Fprintf(to, "\nUnfinished: %s.\n", s.Unfinished)
	case s.RewriteNeeded:
		fmt.Fprintln(to, "\nSome objects are stored in a former form: wheelhouse encryption rewrite changes that.")
	}
	return nil
}

// stepOf is where a work is.
func stepOf(w *keys.Work) string {
	if p := w.Progress; p != (encryption.Progress{}) {
		return fmt.Sprintf("%s: %d of %d, %d rewritten", w.Step, p.Seen, p.Total, p.Rewritten)
	}
	return w.Step
}

func keyWorkCommand(name, short, long, path string) *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use: name, Short: short, Long: long, Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return doKeyWork(c, &f, path, nil) },
	}
	f.add(c.Flags())
	return c
}

func decryptCommand() *cobra.Command {
	var f adminFlags
	in := map[string]bool{"confirmed": false}
	confirmed := false
	c := &cobra.Command{
		Use:   "decrypt",
		Short: "Store secrets in plain, to give the data to others",
		Long: `Store secrets in plain and drop the keys, so that a Kubernetes API server without an encryption
configuration can read the store. rotate-key encrypts them again.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			in["confirmed"] = confirmed
			return doKeyWork(c, &f, "encryption/decrypt", in)
		},
	}
	f.add(c.Flags())
	c.Flags().BoolVar(&confirmed, "yes-store-secrets-in-plain", false, "Confirm that whoever has the database or a backup of it may read the secrets.")
	return c
}

// workLook is how often a master is asked how far its work has come.
const workLook = 100 * time.Millisecond

// doKeyWork lets a master do something, and tells each step until it has ended.
func doKeyWork(c *cobra.Command, f *adminFlags, path string, in any) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	ctx := c.Context()
	var work keys.Work
	if err := client.Post(ctx, path, in, &work); err != nil {
		return err
	}
	return followKeyWork(ctx, client, &work, c.ErrOrStderr(), c.OutOrStdout())
}

func followKeyWork(ctx context.Context, client *admin.Client, work *keys.Work, steps, to io.Writer) error {
	begun, told := work.Started, ""
	for work.Ended == nil {
		if work.Step != told && work.Step != "" {
			told = work.Step
			fmt.Fprintln(steps, told)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(workLook):
		}
		*work = keys.Work{}
		if err := client.Get(ctx, "encryption/work", work); err != nil {
			return fmt.Errorf("the master no longer answers: %w: look at wheelhouse encryption status, and run the command again to go on", err)
		}
		if !work.Started.Equal(begun) {
			return errors.New("the master was restarted meanwhile: run the command again to go on")
		}
	}
	if work.Error != "" {
		return fmt.Errorf("%s: the same command goes on from here", work.Error)
	}
	fmt.Fprintf(to, "%s: done, %d objects were rewritten\n", work.Name, work.Rewritten)
	return nil
}
