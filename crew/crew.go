// Package crew runs goroutines that stand or fall together: when one of them fails, the context of all ends, and whoever
// waits for them learns why. A panic is such a failure, and not the end of the process.
package crew

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// Crew is a group of goroutines. Use New.
type Crew struct {
	running sync.WaitGroup
	cancel  context.CancelFunc
	once    sync.Once
	err     error // the first failure; set in once, read after running
}

// New makes a crew whose context ends with ctx, or when one of the crew fails.
func New(ctx context.Context) (*Crew, context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	return &Crew{cancel: cancel}, ctx
}

// Go starts one of the crew. One that returns nil leaves the others at work.
func (c *Crew) Go(f func() error) {
	c.running.Go(func() {
		if err := Try(f); err != nil {
			c.once.Do(func() {
				c.err = err
				c.cancel()
			})
		}
	})
}

// Dismiss ends the context of the crew.
func (c *Crew) Dismiss() { c.cancel() }

// Wait waits until all have returned, and returns the first failure.
func (c *Crew) Wait() error {
	c.running.Wait()
	c.cancel()
	return c.err
}

// Try calls f; a panic becomes an error with its stack.
func Try(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
