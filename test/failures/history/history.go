// Package history judges what clients of a cluster have experienced while masters failed: whether single objects behaved
// as if each operation had happened at one moment between its call and its return, and whether watches told each change
// once, in order and without a gap.
package history

import (
	"fmt"
	"sync"
	"time"
)

// Kind is what an operation does.
type Kind string

// The operations on a single object.
const (
	Get    Kind = "get" // a consistent read
	Create Kind = "create"
	Update Kind = "update"
	Delete Kind = "delete"
)

// Outcome is what a client was told.
type Outcome string

// The outcomes. Only Unknown leaves open whether the operation has happened, or will.
const (
	Done     Outcome = "done"
	Absent   Outcome = "not found"
	Exists   Outcome = "already exists"
	Conflict Outcome = "conflict"
	Unknown  Outcome = "unknown"
)

// Op is one operation of one client.
type Op struct {
	Client int
	Name   string // of the object
	Kind   Kind
	// Value that a creation or update writes, unique among all operations; for Get that was read.
	Value string
	// Expect is the revision at which the object must be for an update or a deletion; 0 takes any. It was learned from
	// an operation of the same history.
	Expect  int64
	Outcome Outcome
	// Revision that a write was given, or that was read; 0 for deletions.
	Revision int64
	// Call and Return are times since a common beginning. Return means nothing for Unknown.
	Call, Return time.Duration
	// At is the master that was asked.
	At string
}

func (o Op) String() string {
	s := fmt.Sprintf("%s…%s client %d at %s: %s %s", o.Call, o.Return, o.Client, o.At, o.Kind, o.Name)
	if o.Expect != 0 {
		s += fmt.Sprintf(" from revision %d", o.Expect)
	}
	if o.Value != "" {
		s += fmt.Sprintf(" value %s", o.Value)
	}
	s += ": " + string(o.Outcome)
	if o.Revision != 0 {
		s += fmt.Sprintf(" at revision %d", o.Revision)
	}
	return s
}

// writes tells whether the operation is a write that was acknowledged with a revision.
func (o Op) writes() bool {
	return o.Outcome == Done && (o.Kind == Create || o.Kind == Update)
}

// Recorder collects the operations of many clients.
type Recorder struct {
	begun time.Time

	mu     sync.Mutex // guards what follows
	ops    []Op
	counts map[Outcome]int
	acks   int
}

// NewRecorder begins a history now.
func NewRecorder() *Recorder { return &Recorder{begun: time.Now(), counts: map[Outcome]int{}} }

// Now is the time since the beginning.
func (r *Recorder) Now() time.Duration { return time.Since(r.begun) }

// Add enters an operation that has ended.
func (r *Recorder) Add(o Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, o)
	r.counts[o.Outcome]++
	if o.Outcome == Done && o.Kind != Get {
		r.acks++
	}
}

// Ops are all operations so far.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Op(nil), r.ops...)
}

// Acknowledged is the number of writes that were acknowledged.
func (r *Recorder) Acknowledged() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acks
}

// Count is the number of operations with an outcome.
func (r *Recorder) Count(o Outcome) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[o]
}
