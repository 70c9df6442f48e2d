package controllers

import (
	"context"
	"fmt"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/crew"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// User is the user name of a service account in kube-system.
func User(account string) string { return "system:serviceaccount:kube-system:" + account }

// Run runs the controllers that the options choose until ctx ends, and returns when all have stopped. as gives the
// transport of a user; kinds are all that the server keeps. It is the whole work of one term of leadership: if any part
// of it fails, all of it ends.
func Run(ctx context.Context, as func(user string) client.Transport, kinds []*kind.Info, o Options) error {
	chosen, err := o.Select()
	if err != nil {
		return err
	}
	all, ctx := crew.New(ctx)
	for _, e := range chosen {
		transport := as(User(e.Account))
		guarded := reconcile.Guard(transport)
		events := client.NewRecorder(transport, e.source())
		c := e.New(Builder{Transport: guarded, Events: events, Kinds: kinds, Options: o})
		if c == nil {
			continue
		}
		guarded.Bind(c)
		all.Go(func() error { events.Run(ctx); return nil })
		all.Go(func() error {
			if err := reconcile.Run(ctx, guarded, c); err != nil {
				return fmt.Errorf("controller %s: %w", e.Name, err)
			}
			return nil
		})
	}
	all.Go(func() error { <-ctx.Done(); return nil }) // none may have been chosen
	return all.Wait()
}
