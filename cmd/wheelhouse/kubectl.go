package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/version"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// kubectl runs the embedded kubectl and returns its exit code.
//
// Without --kubeconfig and $KUBECONFIG it takes the administrator's kubeconfig of the default data folder if there is
// one: this kubectl belongs to the master on this machine.
func kubectl(args []string) int {
	if os.Getenv("KUBECONFIG") == "" {
		file := datafolder.Kubeconfig(master.DefaultDataDir())
		if _, err := os.Stat(file); err == nil {
			os.Setenv("KUBECONFIG", file)
		}
	}
	// kubectl finds its plugins and names itself by os.Args.
	os.Args = append([]string{"kubectl"}, args...)
	if strings.Contains(version.Get().GitVersion, "$") { // not set at link time: kubectl version would fail on it
		_ = version.SetDynamicVersion("v0.0.0-master")
	}
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err) // prints as kubectl does, and exits
	}
	return 0
}

// kubectlCommand stands in the help; main calls kubectl before cobra would parse its flags.
func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl [command]",
		Short:              "Use the cluster: the kubectl of this Kubernetes version",
		DisableFlagParsing: true,
		Run:                func(_ *cobra.Command, args []string) { os.Exit(kubectl(args)) },
	}
}
