package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
)

func versionCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of Wheelhouse and of the Kubernetes API that it serves",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			info := health.Version()
			switch output {
			case "":
				fmt.Fprintf(c.OutOrStdout(), "wheelhouse %s (Kubernetes v%s.%s, %s, %s)\n", info.GitVersion, info.Major, info.Minor, info.GoVersion, info.Platform)
				return nil
			case "json":
				encoder := json.NewEncoder(c.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(info)
			}
			return usageError{fmt.Errorf("--output %q: only json is known", output)}
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json for all details")
	return c
}
