package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

func statusCommand() *cobra.Command {
	var f adminFlags
	var output string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how the masters are",
		Long: `Show how the masters are: who lives, votes and leads, their revisions, databases and alarms, the
certificates' days left, and the last backup. The exit code is 0 if all is well, and 1 if not.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			var s membership.Status
			if err := client.Get(c.Context(), "status", &s); err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(c.OutOrStdout(), s)
			} else {
				err = printStatus(c.OutOrStdout(), &s, time.Now())
			}
			if err == nil && !s.Healthy {
				err = errors.New("not all is well")
			}
			return err
		},
	}
	f.add(c.Flags())
	addOutput(c, &output)
	return c
}

func printStatus(to io.Writer, s *membership.Status, now time.Time) error {
	w := tabwriter.NewWriter(to, 0, 4, 3, ' ', 0)
	fmt.Fprintln(w, "MASTER\tLIVE\tROLE\tURL\tVERSION\tTERM\tINDEX\tREVISION\tSIZE\tUNUSED\tCERTIFICATES")
	for _, m := range s.Masters {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s", dash(m.Name), yesNo(m.Live), dash(m.Role), dash(m.URL), dash(m.Version))
		if !m.Live || m.Role == "" {
			fmt.Fprint(w, "\t-\t-\t-\t-\t-")
		} else {
			fmt.Fprintf(w, "\t%d\t%d\t%d\t%s\t%.0f %%", m.Term, m.Index, m.Revision, mebibytes(m.Size), 100*m.Fragmented())
		}
		fmt.Fprintf(w, "\t%s\n", shortest(m.Certificates))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := printServers(to, s.Servers); err != nil {
		return err
	}
	fmt.Fprintf(to, "\nstore: %s", s.Store)
	if s.Cluster != "" {
		fmt.Fprintf(to, " (cluster %s)", s.Cluster)
	}
	fmt.Fprintln(to)
	if s.Identity != nil {
		fmt.Fprintf(to, "identity: %s, kube-system %s\n", s.Identity.Describe(), dash(s.System))
	}
	for i := range s.Foreign {
		met := &s.Foreign[i]
		fmt.Fprintf(to, "met %s ago: %s: %s\n", now.Sub(met.Last).Round(time.Second), dash(met.Master), met.Describe())
	}
	for _, lease := range slices.Sorted(maps.Keys(s.Leaders)) {
		fmt.Fprintf(to, "%s: %s\n", lease, dash(s.Leaders[lease]))
	}
	fmt.Fprintf(to, "encryption at rest: %s\n", dash(s.Encryption))
	backup := "none"
	if s.LastBackup != nil && !s.LastBackup.At.IsZero() {
		backup = fmt.Sprintf("%s, %s ago", s.LastBackup.Name, now.Sub(s.LastBackup.At).Round(time.Second))
	}
	fmt.Fprintf(to, "last backup: %s\n", backup)
	if s.Healthy {
		fmt.Fprintln(to, "all is well")
	}
	for _, problem := range s.Problems {
		fmt.Fprintf(to, "problem: %s\n", problem)
	}
	return nil
}

// printServers shows the servers of an external etcd.
func printServers(to io.Writer, servers []membership.ServerStatus) error {
	if len(servers) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(to, 0, 4, 3, ' ', 0)
	fmt.Fprintln(w, "\nETCD SERVER\tLIVE\tROLE\tVERSION\tTERM\tINDEX\tREVISION\tSIZE\tUNUSED")
	for _, s := range servers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s", s.URL, yesNo(s.Live), dash(s.Role), dash(s.Version))
		if !s.Live || s.Size == 0 {
			fmt.Fprintln(w, "\t-\t-\t-\t-\t-")
			continue
		}
		fmt.Fprintf(w, "\t%d\t%d\t%d\t%s\t%.0f %%\n", s.Term, s.Index, s.Revision, mebibytes(s.Size), 100*(1-float64(s.InUse)/float64(s.Size)))
	}
	return w.Flush()
}

// shortest tells how long the certificates last, by the one that ends first.
func shortest(all []membership.Certificate) string {
	if len(all) == 0 {
		return "-"
	}
	first := slices.MinFunc(all, func(a, b membership.Certificate) int { return a.Expires.Compare(b.Expires) })
	return fmt.Sprintf("%d days", first.Days)
}

func defragmentCommand() *cobra.Command {
	var f adminFlags
	c := &cobra.Command{
		Use:   "defragment",
		Short: "Give unused space of the masters' databases back to their disks, one after another",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			var done struct {
				Members []struct {
					Name   string
					Before int64 `json:"beforeBytes"`
					After  int64 `json:"afterBytes"`
				}
			}
			if err := client.Post(c.Context(), "defragment", nil, &done); err != nil {
				return err
			}
			for _, m := range done.Members {
				fmt.Fprintf(c.OutOrStdout(), "%s: %s, was %s\n", m.Name, mebibytes(m.After), mebibytes(m.Before))
			}
			return nil
		},
	}
	f.add(c.Flags())
	return c
}
