package reconcile

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// Builder is what a controller is made with: all that it needs of the world, under an identity of its own.
type Builder struct {
	// Events records for people to read what the controller does.
	Events *client.Recorder
	// Now is the clock.
	Now func() time.Time
	// Kinds are all that the server keeps.
	Kinds KindSet
	// Options are pointers to what the flags of all controllers have set; see Option.
	Options []any
	// Queue names the controller's queue in metrics where its name does not follow from the controller's.
	Queue string

	guard *guard
}

// NewBuilder is the builder of one controller, which reaches the server through the transport. Its clock is the world's; its
// recorder, the set of kinds and the options are to be filled in where the controller needs them.
func NewBuilder(name string, t client.Transport) *Builder {
	return &Builder{Now: time.Now, Kinds: FixedKinds(nil), guard: &guard{Transport: t, declared: Declaration{Name: name}}}
}

// Make makes a controller: what declare does while it runs is the declaration. Its result is nil if the options turn the controller
// off. Make fails if it takes the view of a kind that is not declared.
func (b *Builder) Make(declare func(*Builder) *Controller) (c *Controller, err error) {
	defer func() {
		if p := recover(); p != nil {
			if err, _ = p.(error); !errors.Is(err, errUndeclared) {
				panic(p)
			}
			c = nil
		}
	}()
	c = declare(b)
	b.guard.sealed = true
	if c != nil {
		c.Declaration, c.transport = b.guard.declared, b.guard
		c.Queue = b.Queue
	}
	return c, nil
}

// Transport is for requests that are not about one kind alone. It carries what the controller has declared and nothing else.
func (b *Builder) Transport() client.Transport { return b.guard }

// Option is the controller's own options: those of its type among the builder's.
func Option[T any](b *Builder) T {
	for _, o := range b.Options {
		if own, ok := o.(*T); ok {
			return *own
		}
	}
	panic(fmt.Sprintf("%s: there are no %s", b.guard.declared.Name, reflect.TypeFor[T]()))
}

// Objects are the objects of a kind that a controller has declared: through Live as a view shows them, and through the client,
// whose reads ask the server.
type Objects[T kind.Object] struct {
	client.Client[T]
	Live client.Live[T]

	transport client.Transport
}

// Fresh waits until the view shows whatever was in effect when the call began.
func (o Objects[T]) Fresh(ctx context.Context) error { return o.transport.Fresh(ctx, o.Kind()) }

// Watch declares that the controller reads a kind, which keys its changes concern, and what it writes of it.
func Watch[T kind.Object](b *Builder, keys Keys, writes ...Write) Objects[T] {
	k := api.Of[T]()
	view := b.guard.Transport.View(k)
	b.guard.declareRead(Read{Kind: k, Keys: keys, view: view})
	for _, w := range writes {
		w.Kind = k
		b.guard.declareWrite(w)
	}
	return Objects[T]{Client: client.For[T](b.guard), Live: client.Live[T]{View: view}, transport: b.guard}
}

// WatchKinds is Watch for all kinds of the server that match, as they come and go. keys gives the Keys of a kind when it comes.
func WatchKinds(b *Builder, m Matching, keys func(k *kind.Kind) Keys, writes ...Write) *Views {
	v := newViews(b.guard.Transport, b.Kinds, m, keys)
	b.guard.declareViews(v)
	for _, w := range writes {
		w.All = v
		b.guard.declareWrite(w)
	}
	return v
}
