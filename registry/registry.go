// Package registry keeps objects: it gives them uid, revision, generation, finalizers and cascade on their way
// to the store, and holds an in-memory mirror of the store that answers every read.
package registry

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Options of a Registry.
type Options struct {
	Store store.Store
	Kinds []*kind.Info
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Reservers take what an object needs before it is written (service addresses and ports).
	Reservers map[schema.GroupResource]Reserver
}

// Reserver takes scarce values for an object that is about to be written.
type Reserver interface {
	// Reserve may change new (old is nil on create; new is nil on delete). settle is called exactly once, with
	// true if the write was stored and false if it was not. On a dry run nothing may be taken for good.
	Reserve(ctx context.Context, new, old kind.Object, dryRun bool) (settle func(stored bool), err error)
}

// Registry holds all resources.
type Registry struct{}

// New makes a Registry; nothing is read before Run.
func New(o Options) (*Registry, error) { panic("skeleton") }

// Run loads the mirror and keeps it up to date by one watch over all keys, until ctx ends.
func (r *Registry) Run(ctx context.Context) error { panic("skeleton") }

// Ready is closed when the mirror has been loaded for the first time.
func (r *Registry) Ready() <-chan struct{} { panic("skeleton") }

// Applied is the revision that the mirror has reached.
func (r *Registry) Applied() int64 { panic("skeleton") }

// WaitFor waits until the mirror has reached the revision.
func (r *Registry) WaitFor(ctx context.Context, revision int64) error { panic("skeleton") }

// Fresh waits until the mirror holds every write that was acknowledged before the call (a consistent read).
func (r *Registry) Fresh(ctx context.Context) (int64, error) { panic("skeleton") }

// Resource gives one resource's objects; a kind with Via has a Resource that converts.
func (r *Registry) Resource(gr schema.GroupResource) (*Resource, bool) { panic("skeleton") }
