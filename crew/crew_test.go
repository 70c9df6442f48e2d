package crew

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestFailureEndsAll(t *testing.T) {
	failed := errors.New("failed")
	for name, f := range map[string]func() error{
		"failed": func() error { return failed },
		"panic: broken": func() error {
			panic("broken")
		},
	} {
		c, ctx := New(t.Context())
		c.Go(func() error { return nil })
		c.Go(func() error {
			<-ctx.Done()
			return ctx.Err() // not the first failure
		})
		c.Go(f)
		if err := c.Wait(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: Wait returned %v", name, err)
		}
	}
}

func TestDismiss(t *testing.T) {
	c, ctx := New(context.Background())
	c.Go(func() error { <-ctx.Done(); return nil })
	c.Dismiss()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}
