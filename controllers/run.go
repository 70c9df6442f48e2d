package controllers

import (
	"context"
	"log/slog"
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// User is the user name of a service account in kube-system.
func User(account string) string { return "system:serviceaccount:kube-system:" + account }

// Run runs the controllers that the options choose until ctx ends, and returns when all have stopped. as gives the
// transport of a user; kinds are all that the server keeps. It is the whole work of one term of leadership.
func Run(ctx context.Context, as func(user string) client.Transport, kinds []*kind.Info, o Options) error {
	chosen, err := o.Select()
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	for _, e := range chosen {
		transport := as(User(e.Account))
		guarded := reconcile.Guard(transport)
		events := client.NewRecorder(transport, e.source())
		c := e.New(Builder{Transport: guarded, Events: events, Kinds: kinds, Options: o})
		if c == nil {
			continue
		}
		guarded.Bind(c)
		running.Go(func() { events.Run(ctx) })
		running.Go(func() {
			if err := reconcile.Run(ctx, guarded, c); err != nil {
				slog.Error("controller stopped", "controller", e.Name, "error", err)
			}
		})
	}
	running.Wait()
	return nil
}
