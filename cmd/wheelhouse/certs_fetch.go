package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
)

// certsFetchCommand takes the flags of the line that wheelhouse token create prints, and its data stay.
func certsFetchCommand() *cobra.Command {
	var f certificates.Fetch
	c := &cobra.Command{
		Use:   "fetch",
		Short: "Get the authority and keys that a stopped master has missed",
		Long: `Get the authority and keys that were replaced while this master was away, so that it can be started again
with its data. Give it the flags of the line that wheelhouse token create prints on a master that runs:

  wheelhouse certs fetch --join https://... --token ... --discovery-token-ca-cert-hash sha256:...`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			f.Log = func(format string, args ...any) { fmt.Fprintf(c.OutOrStdout(), format+"\n", args...) }
			return f.Run(c.Context())
		},
	}
	c.Flags().StringVar(&f.DataDir, "data-dir", master.DefaultDataDir(), "Data folder of the master, which does not run.")
	c.Flags().StringVar(&f.PKIDir, "pki-dir", "", "Folder of the certificates, if not pki in the data folder.")
	c.Flags().StringSliceVar(&f.Servers, "join", nil, "Masters of the cluster.")
	c.Flags().StringVar(&f.Token, "token", "", "Token for masters.")
	c.Flags().StringSliceVar(&f.Hashes, "discovery-token-ca-cert-hash", nil, "Hash of the cluster's present authority.")
	return c
}
