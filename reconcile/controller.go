// Package reconcile says what a controller is, and runs it: a queue of keys, workers, and a live view of what it reads.
//
// A controller is made with a Builder. Watch gives it the objects of a kind, and declares by that how their changes map to
// keys, and what it writes of them; WatchKinds does so for all kinds that have something in common. What it has not declared it
// can neither read nor write. Its Reconcile brings what one key stands for from what is to what should be, and may be
// repeated at any time. The engine never runs it twice at once for one key, repeats it with growing delays when it
// fails, and before running it again waits until the views show what the previous run wrote, and what has become of a
// write that nobody could tell the outcome of: no controller keeps expectations of its own.
package reconcile

import (
	"context"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// Key names what a controller reconciles: most often an object of its main kind, by namespace and name alone.
type Key struct {
	Namespace, Name string
	// Kind and UID are set by controllers that reconcile objects of many kinds, or one particular life of an object.
	Kind *kind.Kind
	UID  types.UID
}

func (k Key) String() string {
	s := k.Name
	if k.Namespace != "" {
		s = k.Namespace + "/" + s
	}
	if k.Kind != nil {
		s = k.Kind.Plural + " " + s
	}
	return s
}

// KeyOf is the key of an object by namespace and name.
func KeyOf(o kind.Object) Key { return Key{Namespace: o.GetNamespace(), Name: o.GetName()} }

// Controller is what a controller does. Builder.Make gives it its name and what it has declared.
type Controller struct {
	// Workers is how many keys are reconciled at once; 0 means 5.
	Workers int
	// Reconcile handles one key.
	Reconcile func(ctx context.Context, key Key) (Result, error)
	// Start runs when all views are complete and before the first key is handled; enqueue adds keys at any time
	// until ctx ends. It must return. It may be nil.
	Start func(ctx context.Context, enqueue func(Key, time.Duration))
	// Beside runs after Start, beside the workers, until ctx ends: a clock, for example. It may be nil.
	Beside func(ctx context.Context, enqueue func(Key, time.Duration))
	// Pace limits how often one key is reconciled because of changes that arrive in quick succession.
	// The zero Pace does not limit.
	Pace Pace

	// Declaration is set by Builder.Make.
	Declaration
	transport *guard
}

// Declaration is what a controller has declared while it was made.
type Declaration struct {
	// Name is upstream's name, by which --controllers knows the controller ("deployment-controller").
	Name string
	// Queue names the controller's queue in metrics, empty if its name follows from the controller's; see QueueName.
	Queue string
	// Reads are the kinds whose views must be complete before the first Reconcile. What their Keys have built must be,
	// too: each has been called for every object that was there.
	Reads []Read
	// AllReads are the same for kinds that come and go.
	AllReads []*Views
	// Writes are what Reconcile may write. Other writes are refused.
	Writes []Write
}

// QueueName names the controller's queue in metrics: "deployment" for "deployment-controller", unless it was given another name.
func (d *Declaration) QueueName() string {
	if d.Queue != "" {
		return d.Queue
	}
	return strings.ReplaceAll(strings.TrimSuffix(d.Name, "-controller"), "-", "_")
}

// Read is a kind that a controller watches.
type Read struct {
	Kind *kind.Kind
	Keys Keys
	view client.View
}

// Keys calls enqueue for each key that a change concerns; it is nil when changes of a kind call for nothing. It must be quick: it runs
// in the view's delivery.
type Keys func(d client.Delta, enqueue func(Key))

// Write is what a controller writes of a kind, perhaps a subresource of it, with the verbs of the API.
type Write struct {
	// Kind is nil for all kinds of All.
	Kind        *kind.Kind
	All         *Views
	Subresource string
	Verbs       []kind.Verb
}

// Writes declares that the objects themselves are written.
func Writes(verbs ...kind.Verb) Write { return Write{Verbs: verbs} }

// WritesPart declares that a subresource is written.
func WritesPart(subresource string, verbs ...kind.Verb) Write {
	return Write{Subresource: subresource, Verbs: verbs}
}

// Result tells when a key is to be handled again although nothing changed.
type Result struct {
	// Again asks for another run at once: there is more to do than one run does.
	Again bool
	// After asks for another run after that time; 0 asks for none.
	After time.Duration
}

// Pace is a budget of reconciles of one key: Burst at once, then one in each Interval. A key whose budget is used up is
// handled once when the interval has passed, however many changes came.
type Pace struct {
	Burst    int
	Interval time.Duration
}

// Subject is the object that a change is about: as it is now, or as it was before it went.
func Subject(d client.Delta) kind.Object {
	if d.New != nil {
		return d.New
	}
	return d.Old
}

// Own maps a change of an object to its own key.
func Own(d client.Delta, enqueue func(Key)) { enqueue(KeyOf(Subject(d))) }
