package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

func certsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "certs",
		Short: "List, renew and rotate certificates and keys",
		Long: `List, renew and rotate certificates and keys.

Masters renew their certificates by themselves. Authorities, and the key that signs service
account tokens, are rotated on an operator's command, in steps during which old and new are trusted.`,
		Args: unknownSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(certsListCommand(), certsRenewCommand(), certsRotateCommand(), certsTokenKeyCommand(), certsFetchCommand())
	return c
}

// unknownSubcommand is for commands that only hold others.
func unknownSubcommand(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command %q: see %s --help", args[0], c.CommandPath())}
	}
	return nil
}

// folderFlags name a data folder whose master does not run.
type folderFlags struct{ data, pki string }

func (f *folderFlags) given() bool { return f.data != "" || f.pki != "" }

// authority is the folder of the authority.
func (f *folderFlags) authority() string {
	if f.pki != "" {
		return f.pki
	}
	return filepath.Join(f.data, "pki")
}

func certsListCommand() *cobra.Command {
	var to adminFlags
	var folder folderFlags
	var output string
	c := &cobra.Command{
		Use:   "list",
		Short: "List certificates with the days that are left",
		Long: `List certificates with the days that are left: those of all masters that run, or those in a folder.

Without flags, and if no master answers, the default data folder is read.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"", "wide", "json"}, output) {
				return usageError{fmt.Errorf("-o %q: use wide or json", output)}
			}
			all, err := listCertificates(c, &to, folder)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(c.OutOrStdout(), all)
			}
			return printCertificates(c.OutOrStdout(), all, output == "wide", time.Now())
		},
	}
	to.add(c.Flags())
	c.Flags().StringVar(&folder.data, "data-dir", "", "Read this data folder instead of asking a master.")
	c.Flags().StringVar(&folder.pki, "pki-dir", "", "Read this folder in kubeadm's layout instead of asking a master.")
	c.Flags().StringVarP(&output, "output", "o", "", "wide adds issuers and names; json tells everything.")
	return c
}

func listCertificates(c *cobra.Command, to *adminFlags, folder folderFlags) ([]certificates.OfMaster, error) {
	if folder.given() {
		return readCertificates(folder)
	}
	client, err := to.client()
	var all []certificates.OfMaster
	if err == nil {
		err = client.Get(c.Context(), "certificates", &all)
	}
	if err == nil || to.kubeconfig != "" || to.server != "" {
		return all, err
	}
	folder.data = master.DefaultDataDir()
	found, unread := readCertificates(folder)
	if unread != nil {
		return nil, err
	}
	fmt.Fprintf(c.ErrOrStderr(), "no master answers (%s): reading %s\n", oneLine(err), folder.data)
	return found, nil
}

func readCertificates(folder folderFlags) ([]certificates.OfMaster, error) {
	found, err := pki.List(folder.authority())
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no certificates", folder.authority())
	}
	if folder.data != "" {
		file := datafolder.Kubeconfig(folder.data)
		d, err := pki.DescribeKubeconfig(filepath.Base(file), file)
		switch {
		case err == nil:
			found = append(found, d)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return []certificates.OfMaster{{Certificates: found}}, nil
}

func printCertificates(w io.Writer, all []certificates.OfMaster, wide bool, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	head, many := "NAME\tKIND\tSUBJECT\tISSUER\tEXPIRES\tDAYS LEFT", len(all) > 1
	if many {
		head = "MASTER\t" + head
	}
	if wide {
		head += "\tRENEWAL\tNAMES"
	}
	fmt.Fprintln(t, head)
	for _, one := range all {
		for _, d := range one.Certificates {
			if many {
				fmt.Fprint(t, one.Master+"\t")
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s", d.Name, d.Kind, d.Subject, d.Issuer, d.NotAfter.UTC().Format("2006-01-02 15:04"), daysLeft(d, now))
			if wide {
				renewal := "-"
				if d.Renews != nil {
					renewal = d.Renews.UTC().Format(time.DateOnly)
				}
				fmt.Fprintf(t, "\t%s\t%s", renewal, strings.Join(d.Names, ","))
			}
			fmt.Fprintln(t)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, one := range all {
		if one.Error != "" {
			return fmt.Errorf("master %s does not answer: %s", one.Master, one.Error)
		}
	}
	return nil
}

func daysLeft(d pki.Description, now time.Time) string {
	left := d.Left(now)
	if left < 0 {
		return "expired"
	}
	return fmt.Sprint(int(left.Hours() / 24))
}

func certsRenewCommand() *cobra.Command {
	var to adminFlags
	var folder folderFlags
	var all bool
	c := &cobra.Command{
		Use:   "renew [NAME...]",
		Short: "Issue certificates anew before they are due",
		Long: `Issue certificates anew before they are due: the named ones on the master that is asked (--server), or
with --all those of all masters, without a restart. With --data-dir (and --pki-dir if it was started so)
it is done in the folder of a master that does not run.

Names are those that wheelhouse certs list shows, admin.kubeconfig among them. Authorities are
not renewed but rotated: see wheelhouse certs rotate-ca.`,
		RunE: func(c *cobra.Command, names []string) error {
			if all == (len(names) > 0) {
				return usageError{errors.New("name the certificates to renew, or give --all")}
			}
			if folder.pki != "" && folder.data == "" {
				return usageError{errors.New("--pki-dir goes with --data-dir")}
			}
			renewed, err := renewCertificates(c.Context(), &to, folder, names)
			if err != nil {
				return err
			}
			for i := range renewed {
				one := &renewed[i]
				one.Certificates = slices.DeleteFunc(one.Certificates, func(d pki.Description) bool {
					return d.Kind == "authority" || d.Kind == "trusted" || len(names) > 0 && !slices.Contains(names, d.Name)
				})
				if one.Error == "" {
					fmt.Fprintf(c.OutOrStdout(), "certificates of %s were renewed\n", one.Master)
				}
			}
			return printCertificates(c.OutOrStdout(), renewed, false, time.Now())
		},
	}
	to.add(c.Flags())
	c.Flags().BoolVar(&all, "all", false, "Renew all certificates of all masters, or of the folder.")
	c.Flags().StringVar(&folder.data, "data-dir", "", "Renew in this data folder, whose master does not run.")
	c.Flags().StringVar(&folder.pki, "pki-dir", "", "Folder of the certificates, if not pki in the data folder.")
	return c
}

// renewCertificates asks the masters, or does it in a folder. Without names it renews all.
func renewCertificates(ctx context.Context, to *adminFlags, folder folderFlags, names []string) ([]certificates.OfMaster, error) {
	if folder.data != "" {
		found, err := certificates.RenewOffline(folder.data, folder.pki, names)
		return []certificates.OfMaster{{Master: folder.data, Certificates: found}}, err
	}
	client, err := to.client()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		var all []certificates.OfMaster
		err := client.Post(ctx, "certificates/renew-everywhere", nil, &all)
		return all, err
	}
	var one certificates.OfMaster
	err = client.Post(ctx, "certificates/renew", certificates.Renewal{Names: names}, &one)
	return []certificates.OfMaster{one}, err
}

func certsRotateCommand() *cobra.Command {
	var to adminFlags
	var step certificates.Step
	var output string
	c := &cobra.Command{
		Use:   "rotate-ca",
		Short: "Replace the authorities, in steps with old and new trusted",
		Long: `Replace the authorities, in steps with old and new trusted. Without --step it shows where the
rotation stands and what comes next.

  prepare  makes new authorities. All masters trust them beside the old ones, and so does
           everything that gets its trust from the cluster from now on.
  switch   issues all certificates of the masters anew. Clients with old kubeconfigs and old
           certificates are served as before.
  finish   drops the old authorities. It is refused while certificates of theirs are in use.
  cancel   takes prepare back.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if step.Step != "" && !slices.Contains([]string{"prepare", "switch", "finish", "cancel"}, step.Step) {
				return usageError{fmt.Errorf("--step %q: use prepare, switch, finish or cancel", step.Step)}
			}
			client, err := to.client()
			if err != nil {
				return err
			}
			var status certificates.RotationStatus
			if step.Step == "" {
				err = client.Get(c.Context(), "certificates/rotation", &status)
			} else {
				err = client.Post(c.Context(), "certificates/rotation", step, &status)
			}
			if err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(c.OutOrStdout(), status)
			} else {
				err = printRotation(c.OutOrStdout(), status)
			}
			if err != nil {
				return err
			}
			if step.Step != "" && len(status.Away) > 0 {
				return fmt.Errorf("the step was taken by all masters that run, but these could not be reached: %s: they catch up when they start; "+
					"repeat the command then, or remove those that are gone for good with wheelhouse member remove", strings.Join(status.Away, ", "))
			}
			return nil
		},
	}
	to.add(c.Flags())
	c.Flags().StringVar(&step.Step, "step", "", "The step to take: prepare, switch, finish or cancel.")
	c.Flags().StringSliceVar(&step.Authorities, "authority", nil, "Rotate only these: ca, front-proxy-ca, etcd-ca (default: all).")
	c.Flags().BoolVar(&step.Force, "force", false, "Finish although certificates of the old authority are in use or masters are away; they are locked out.")
	c.Flags().StringVarP(&output, "output", "o", "", "json tells everything.")
	return c
}

func printRotation(w io.Writer, status certificates.RotationStatus) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "AUTHORITY\tSTAGE\tSIGNS\tOTHER")
	stages := map[pki.Stage]bool{}
	for _, a := range status.Authorities {
		other := "-"
		if a.Other != nil {
			other = a.Other.Subject
		}
		stages[a.Stage] = true
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", a.Authority, a.Stage, a.Signs.Subject, other)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	next := "No rotation is under way. Begin one with: wheelhouse certs rotate-ca --step prepare"
	switch {
	case stages[pki.Switched]:
		next = `Give new certificates to whoever still uses one of the old authority, and new kubeconfigs to whoever knows only
the old one. Then: wheelhouse certs rotate-ca --step finish`
	case stages[pki.Prepared]:
		next = "Next: wheelhouse certs rotate-ca --step switch"
	}
	fmt.Fprintf(w, "\n%s\n", next)
	for _, one := range status.Uses {
		if one.Error != "" {
			fmt.Fprintf(w, "%s does not answer: %s\n", one.Master, one.Error)
		}
		for _, use := range one.Uses {
			fmt.Fprintf(w, "in use: %s, serial %s, from %s at %s, last at %s\n", use.Subject, use.Serial, dash(use.Address), one.Master, use.Last.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

func certsTokenKeyCommand() *cobra.Command {
	var to adminFlags
	var step certificates.TokenKeyStep
	c := &cobra.Command{
		Use:   "rotate-service-account-key",
		Short: "Sign service account tokens with a new key",
		Long: `Sign service account tokens with a new key. All masters learn the key first, and then sign with it.
Tokens of earlier keys stay good until --drop-old, which asks for a confirmation for as long as such tokens
may be in use.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := to.client()
			if err != nil {
				return err
			}
			var status certificates.TokenKeyStatus
			if err := client.Post(c.Context(), "certificates/service-account-key", step, &status); err != nil {
				return err
			}
			out := c.OutOrStdout()
			if step.DropOld {
				fmt.Fprintln(out, "Only tokens of the present key are good.")
				return nil
			}
			fmt.Fprintf(out, "A new key signs service account tokens; %d keys verify them.\n", status.Keys)
			fmt.Fprintln(out, "When all tokens of earlier keys have been replaced: wheelhouse certs rotate-service-account-key --drop-old")
			return nil
		},
	}
	to.add(c.Flags())
	c.Flags().BoolVar(&step.DropOld, "drop-old", false, "Refuse tokens of earlier keys from now on.")
	c.Flags().BoolVar(&step.Confirmed, "yes-refuse-old-tokens", false, "Confirm --drop-old while tokens of earlier keys may be good.")
	return c
}
