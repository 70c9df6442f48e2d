package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apiserver/pkg/server/flagz"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/term"

	"github.com/wheelhouse-k8s/wheelhouse/master"
)

func serverCommand() *cobra.Command {
	config := master.Default()
	f := &serverFlags{config: &config}
	sets := f.sections()
	c := &cobra.Command{
		Use:   "server",
		Short: "Run a master: API server, controllers, scheduler and cluster store",
		Long: `Run a master: API server, controller manager, scheduler and an embedded etcd.

At its first start it makes an authority, certificates and an administrator's kubeconfig in its
data folder; every later start continues with what is there. It stops cleanly on SIGINT or SIGTERM.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return usageError{err}
			}
			if err := f.log.start(os.Stderr); err != nil {
				return err
			}
			config.Flags = flagz.NamedFlagSetsReader{FlagSets: sets}.GetFlagz()
			return serve(c.Context(), config)
		},
	}
	for _, name := range sets.Order {
		c.Flags().AddFlagSet(sets.FlagSets[name])
	}
	width, _, _ := term.TerminalSize(c.OutOrStdout()) // 0, which wraps nothing, if the output is no terminal
	cliflag.SetUsageAndHelpFunc(c, sets, width)
	return c
}

// serve runs the master until a signal ends it; a second signal does not wait for a clean stop.
func serve(ctx context.Context, config master.Config) error {
	started := time.Now()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the first signal gives the next its usual effect back
	config.Log = func(format string, args ...any) { slog.Info(fmt.Sprintf(format, args...)) }
	config.Warn = func(format string, args ...any) { slog.Warn(fmt.Sprintf(format, args...)) }
	go tendMemory(ctx) // ends with the signal, or with the process
	m, err := master.New(config)
	if err != nil {
		return err
	}
	go func() {
		// A start that fails is never ready; its error is what Run returns.
		select {
		case <-m.Ready():
			config.Log("ready after %d ms at %s; kubeconfig: %s", time.Since(started).Milliseconds(), m.URL(), m.Kubeconfig())
		case <-ctx.Done():
		}
	}()
	// The service manager is told of the end, too: notify goes on until Run has returned, however it came to that, and the process
	// does not end before notify has.
	telling := make(chan struct{})
	running, ended := context.WithCancel(ctx)
	go func() {
		defer close(telling)
		notify(running, m)
	}()
	err = m.Run(ctx)
	ended()
	<-telling
	return err
}

// splitList reads a comma-separated list.
func splitList(values []string) []string {
	var out []string
	for _, v := range values {
		for _, part := range strings.Split(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}
