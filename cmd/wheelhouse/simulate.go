package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/simulate"
)

func simulateCommand() *cobra.Command {
	var kubeconfig, cpu, memory, pods string
	o := simulate.Options{NamePrefix: "node-"}
	var logging logFlags
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Simulate nodes against any Kubernetes API server",
		Long: `Simulate nodes against any Kubernetes API server, over its public API.

Simulated nodes register, renew their leases, report the pods that are bound to them as running,
and honour the grace of deletions. No container is ever started.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := logging.start(os.Stderr); err != nil {
				return err
			}
			if o.Nodes < 1 {
				return usageError{fmt.Errorf("--nodes %d: at least one node is needed", o.Nodes)}
			}
			o.Capacity = corev1.ResourceList{}
			for name, value := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory, corev1.ResourcePods: pods} {
				quantity, err := resource.ParseQuantity(value)
				if err != nil {
					return usageError{fmt.Errorf("--%s %q is not a quantity", name, value)}
				}
				o.Capacity[name] = quantity
			}
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return fmt.Errorf("%s: %w", kubeconfig, err)
			}
			config.UserAgent = "wheelhouse-simulate"
			o.Config = config
			o.Registered = func() { fmt.Fprintf(os.Stderr, "%d nodes are registered at %s\n", o.Nodes, config.Host) }
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return simulate.Run(ctx, o)
		},
	}
	f := c.Flags()
	logging.add(f)
	f.StringVar(&kubeconfig, "kubeconfig", kubeconfigDefault(), "Kubeconfig file with the rights to make nodes.")
	f.IntVar(&o.Nodes, "nodes", 1, "Number of nodes.")
	f.StringVar(&o.NamePrefix, "name-prefix", o.NamePrefix, "What the nodes' names begin with; a number follows.")
	f.StringVar(&cpu, "cpu", "32", "CPUs of each node.")
	f.StringVar(&memory, "memory", "128Gi", "Memory of each node.")
	f.StringVar(&pods, "pods", "110", "Pods that each node takes.")
	f.DurationVar(&o.StartDelay, "start-delay", 0, "Time from a pod's arrival on its node until its containers run.")
	return c
}

// kubeconfigDefault is $KUBECONFIG, or the administrator's kubeconfig of a master on this machine.
func kubeconfigDefault() string {
	if file := os.Getenv("KUBECONFIG"); file != "" {
		return file
	}
	return datafolder.Kubeconfig(master.DefaultDataDir())
}
