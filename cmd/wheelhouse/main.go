// Command wheelhouse is a Kubernetes control plane in one binary, and the kubectl to use it with.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" { // a link of that name
		os.Exit(kubectl(os.Args[1:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "kubectl" {
		os.Exit(kubectl(os.Args[2:]))
	}
	if err := rootCommand().ExecuteContext(context.Background()); err != nil {
		if journalled(os.Stderr) {
			fmt.Fprint(os.Stderr, journalLevel(slog.LevelError))
		}
		fmt.Fprintf(os.Stderr, "wheelhouse: %s\n", oneLine(err))
		os.Exit(exitCode(err))
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "wheelhouse",
		Short: "A Kubernetes control plane in one binary",
		Long: `Wheelhouse is a Kubernetes control plane: API server, controller manager, scheduler and
cluster store in one process.

Start a master with three simulated nodes, and use it from a second terminal:

  wheelhouse server --simulate-nodes 3
  wheelhouse kubectl get nodes`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q: see wheelhouse --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see %s --help", err, c.CommandPath())}
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(serverCommand(), simulateCommand(), kubectlCommand(), encryptionCommand(), versionCommand(), certsCommand(), backupCommand(),
		tokenCommand(), memberCommand(), statusCommand(), defragmentCommand(), installCommand(), uninstallCommand(), doctorCommand())
	return root
}

// noArguments is for commands that take only flags.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, only flags: %q", c.Name(), args[0])}
	}
	return nil
}

// arguments makes a wrong number of arguments a mistake on the command line.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w: see %s --help", err, c.CommandPath())}
		}
		return nil
	}
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// partialError is the end of a command that has done what it could, and left something out.
type partialError struct{ error }

func (p partialError) Unwrap() error { return p.error }

// exitCode is 2 for a command line that cannot be meant, 3 for what was done in part, 1 for everything else that fails.
func exitCode(err error) int {
	var p partialError
	if errors.As(err, &p) {
		return 3
	}
	var u usageError
	if errors.As(err, &u) {
		return 2
	}
	return 1
}

// oneLine keeps an error readable in a service's log.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
