// Package registry keeps objects: it gives them uid, revision, generation, finalizers and cascade on their way
// to the store, and holds an in-memory mirror of the store that answers every read.
package registry

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Options of a Registry.
type Options struct {
	Store store.Store
	Kinds []*kind.Kind
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Reservers take what an object needs before it is written (service addresses and ports).
	Reservers map[schema.GroupResource]Reserver
	// Log tells of reloads and of stored values that cannot be read; nil means slog.Default.
	Log *slog.Logger
	// EventTTL is how long objects of the kinds that expire are kept; 0 leaves it to the kind.
	EventTTL time.Duration
	// Outage tells why the store cannot answer now, without asking it; nil if it may. nil never tells.
	Outage func() error
}

// Reserver takes scarce values for an object that is about to be written.
type Reserver interface {
	// Reserve may change next (old is nil on create; next is nil on delete). finish is called exactly once, with
	// true if the write was stored and false if it was not. On a dry run nothing may be taken for good.
	// It runs after the kind's PrepareCreate or PrepareUpdate and before its validation, which judges the object with
	// what was taken. An error is a StatusError.
	Reserve(ctx context.Context, next, old kind.Object, dryRun bool) (finish func(stored bool), err error)
}

// Registry holds all resources.
type Registry struct {
	store     store.Store
	now       func() time.Time
	log       *slog.Logger
	reservers map[schema.GroupResource]Reserver
	ttl       time.Duration
	outage    func() error
	// catchingUp holds a token for each watch that reads history.
	catchingUp chan struct{}

	// kinds are the resources there are now; only the goroutine of Run changes them, once it runs. errands is what it is asked to do.
	kinds   atomic.Pointer[kinds]
	errands chan func()
	over    chan struct{} // closed when Run has returned

	ready   chan struct{}
	applied atomic.Int64
	waiting waiting
	fresh   fresh
	horizon horizon
	// outstanding are the writes of this process whose events have not come back yet.
	outstanding outstanding
	// watch is the running watch of the store, to ask for its progress.
	watch atomic.Pointer[store.Watch]
	// strays are the keys below Root that belong to no table.
	strays *strays

	// life ends with Run. again asks Run to load everything anew, after cancelWatch.
	life        context.Context
	again       atomic.Bool
	cancelWatch atomic.Pointer[context.CancelFunc]
	unsealing   struct {
		running atomic.Bool
		kick    chan struct{}
	}
}

// Root is the prefix of all keys.
const Root = "/registry/"

// New makes a Registry; nothing is read before Run.
func New(o Options) (*Registry, error) {
	r := &Registry{
		store: o.Store, now: o.Now, log: o.Log, reservers: o.Reservers, ttl: o.EventTTL, outage: o.Outage, catchingUp: make(chan struct{}, catchingUpMax), ready: make(chan struct{}),
		errands: make(chan func()), over: make(chan struct{}), strays: newStrays(),
	}
	r.unsealing.kick = make(chan struct{}, 1)
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.Default()
	}
	all := newKinds()
	for _, info := range o.Kinds {
		if !info.Stored() {
			continue
		}
		if err := all.checkFree(info, false); err != nil {
			return nil, err
		}
		all.keep(r, r.newTable(info))
	}
	for _, info := range o.Kinds {
		if info.Via != nil {
			if err := all.convert(r, info); err != nil {
				return nil, err
			}
		}
	}
	all.conclude(nil)
	r.kinds.Store(all)
	return r, nil
}

func (r *Registry) newTable(info *kind.Kind) *table {
	t := newTable(info, r.Applied)
	if t.ttl > 0 && r.ttl > 0 {
		t.ttl = r.ttl
	}
	return t
}

// Ready is closed when the mirror has been loaded for the first time.
func (r *Registry) Ready() <-chan struct{} { return r.ready }

func (r *Registry) loaded() bool {
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// Resource gives one resource's objects; a kind with Via has a Resource that converts.
func (r *Registry) Resource(gr schema.GroupResource) (*Resource, bool) {
	res, ok := r.kinds.Load().byResource[gr]
	return res, ok
}

// ResourceFor is Resource for a kind of which several versions are served.
func (r *Registry) ResourceFor(info *kind.Kind) (*Resource, bool) {
	res, ok := r.kinds.Load().byVersion[info.GVR()]
	return res, ok
}

// Stats are counts for metrics.
type Stats struct {
	Applied int64
	// UnknownKeys belong to no kind.
	UnknownKeys int64
	// ConsistentReads asked for the store's present revision, which was read RevisionReads times for all of them.
	ConsistentReads, RevisionReads int64
	Resources                      []ResourceStats
}

// ResourceStats are one stored resource's counts.
type ResourceStats struct {
	Resource schema.GroupResource
	// Objects in the mirror and the Bytes of their stored values.
	Objects int
	Bytes   int64
	// Watchers that run, and changes in the Window.
	Watchers, Window int
	// Unreadable values there are now; ReadFailures counts those that there have been since the start.
	Unreadable   int
	ReadFailures int64
}

// Stats counts what the registry holds.
func (r *Registry) Stats() Stats {
	s := Stats{Applied: r.Applied(), UnknownKeys: r.strays.count(),
		ConsistentReads: r.fresh.reads.Load(), RevisionReads: r.fresh.questions.Load()}
	for _, t := range r.kinds.Load().tables {
		t.mu.RLock()
		s.Resources = append(s.Resources, ResourceStats{
			Resource: t.info.GR(), Objects: t.entries.Len(), Bytes: t.bytes, Watchers: t.watchers.count, Window: t.window.count,
			Unreadable: len(t.unreadable), ReadFailures: t.failures.Load(),
		})
		t.mu.RUnlock()
	}
	return s
}
