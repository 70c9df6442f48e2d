package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
)

func doctorCommand() *cobra.Command {
	var output, pkiDir string
	c := &cobra.Command{
		Use:   "doctor [DATA-DIR]",
		Short: "Read the data folder of a master that does not run, and say what is wrong with it",
		Long: `Read the data folder of a master that does not run (the default one, if none is named): whose it is, which cluster and
member, which certificates and keys it holds, whether the store is whole or where it is damaged, and what to do next.
All of the store is read. Nothing is changed. The exit code is 0 if all is well, and 1 if not.`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			dir := master.DefaultDataDir()
			if len(args) == 1 {
				dir = args[0]
			}
			d, err := datafolder.Diagnose(dir, pkiDir, time.Now())
			if err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(c.OutOrStdout(), d)
			} else {
				err = printDiagnosis(c.OutOrStdout(), d)
			}
			if err == nil && len(d.Problems) > 0 {
				err = errors.New("not all is well")
			}
			return err
		},
	}
	addOutput(c, &output)
	c.Flags().StringVar(&pkiDir, "pki-dir", "", "Folder of the authority, if not pki in the data folder.")
	return c
}

func printDiagnosis(to io.Writer, d *datafolder.Diagnosis) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s:\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("folder", "%s", d.Folder)
	line("master", "%s", dash(d.Identity))
	if s := d.Store; s != nil {
		line("store", "%s, incarnation %d, %s on %s", s.ID, s.Incarnation, s.Origin, s.Made.UTC().Format(time.RFC3339))
	}
	if d.External != "" {
		line("etcd", "by itself: %s", strings.Join(strings.Fields(d.External), " "))
	}
	if m := d.Member; m != nil {
		line("etcd", "member %s of cluster %s", m.ID, m.Cluster)
		var names []string
		for _, one := range m.Members {
			names = append(names, dash(one.Name)+" "+one.PeerURL)
		}
		line("members", "%s", dash(strings.Join(names, ", ")))
		line("data", "%d keys at revision %d, %s", m.Keys, m.Revision, mebibytes(m.Size))
		switch {
		case !m.Whole:
			line("state", "damaged")
		case m.Checked:
			line("state", "whole: all values up to revision %d are as they were written", m.CheckedTo)
		default:
			line("state", "whole in form")
		}
	}
	if len(d.Keys) > 0 {
		line("keys of secrets", "%s", strings.Join(d.Keys, ", "))
	}
	if len(d.Strays) > 0 {
		line("not a master's", "%s", strings.Join(d.Strays, ", "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(d.Certificates) > 0 {
		fmt.Fprintln(to)
		if err := printCertificates(to, []certificates.OfMaster{{Certificates: d.Certificates}}, false, time.Now()); err != nil {
			return err
		}
	}
	fmt.Fprintln(to)
	for _, remark := range d.Remarks {
		fmt.Fprintf(to, "remark: %s\n", remark)
	}
	for _, problem := range d.Problems {
		fmt.Fprintf(to, "problem: %s\n", problem)
	}
	if len(d.Problems) == 0 {
		fmt.Fprintln(to, "all is well: start it with wheelhouse server --data-dir", d.Folder)
	}
	return nil
}
