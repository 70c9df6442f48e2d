package controllers

import (
	"context"
	"fmt"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/crew"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// User is the user name of a service account in kube-system.
func User(account string) string { return "system:serviceaccount:kube-system:" + account }

// Run runs the controllers that the options choose until ctx ends, and returns when all have stopped. as gives the
// transport of a user; kinds are all that the server keeps. It is the whole work of one term of leadership: if any part
// of it fails, all of it ends.
func Run(ctx context.Context, as func(user string) client.Transport, kinds reconcile.KindSet, o Options) error {
	chosen, err := o.Select()
	if err != nil {
		return err
	}
	all, ctx := crew.New(ctx)
	all.Go(func() error {
		for _, e := range chosen {
			c, events, err := e.build(as(User(e.Account)), kinds, &o)
			if err != nil {
				return err
			}
			if c == nil {
				continue
			}
			all.Go(func() error { events.Run(ctx); return nil })
			all.Go(func() error {
				if err := c.Run(ctx); err != nil {
					return fmt.Errorf("controller %s: %w", e.Name, err)
				}
				return nil
			})
		}
		<-ctx.Done() // none may have been chosen
		return nil
	})
	return all.Wait()
}
