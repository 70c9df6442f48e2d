// Package clienttest is a client.Transport for tests: its views hold what a test puts there, and tell of it when the test lets
// them; its answers are the test's. It keeps to no clock and starts no goroutine.
package clienttest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// Server is the transport. Set Answer and Catch before it is used.
type Server struct {
	// Answer answers requests; nil refuses them.
	Answer func(ctx context.Context, r client.Request) (runtime.Object, error)
	// Catch is asked when the views are to catch up with the store; nil says that they have.
	Catch func(ctx context.Context) error

	mu    sync.Mutex // guards views
	views map[*kind.Kind]*view
}

// Do implements client.Transport.
func (s *Server) Do(ctx context.Context, r client.Request) (runtime.Object, error) {
	if s.Answer == nil {
		return nil, fmt.Errorf("unexpected %s of %s", r.Verb, r.Kind.Plural)
	}
	return s.Answer(ctx, r)
}

// View implements client.Transport.
func (s *Server) View(k *kind.Kind) client.View { return s.view(k) }

// Applied implements client.Transport.
func (s *Server) Applied() int64 { return 0 }

// WaitFor implements client.Transport.
func (s *Server) WaitFor(ctx context.Context, _ int64) error { return ctx.Err() }

// Fresh implements client.Transport.
func (s *Server) Fresh(ctx context.Context, _ ...*kind.Kind) error {
	if s.Catch != nil {
		return s.Catch(ctx)
	}
	return ctx.Err()
}

func (s *Server) view(k *kind.Kind) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[k]
	if v == nil {
		if s.views == nil {
			s.views = map[*kind.Kind]*view{}
		}
		v = &view{changed: make(chan struct{}), synced: make(chan struct{})}
		close(v.synced)
		s.views[k] = v
	}
	return v
}

// Put adds objects of a kind, or replaces those of the same name.
func (s *Server) Put(k *kind.Kind, list ...kind.Object) {
	v := s.view(k)
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, o := range list {
		d := client.Delta{New: o, Revision: client.Revision(o)}
		if at := v.find(o.GetNamespace(), o.GetName()); at >= 0 {
			d.Old, v.objects[at] = v.objects[at], o
		} else {
			v.objects = append(v.objects, o)
		}
		v.log = append(v.log, d)
	}
	v.wake()
}

// Remove takes one object out.
func (s *Server) Remove(k *kind.Kind, namespace, name string) {
	v := s.view(k)
	v.mu.Lock()
	defer v.mu.Unlock()
	if at := v.find(namespace, name); at >= 0 {
		v.log = append(v.log, client.Delta{Old: v.objects[at]})
		v.objects = slices.Delete(v.objects, at, at+1)
		v.wake()
	}
}

// Hold keeps the view of a kind from telling its subscribers anything, Release lets it go on. The view itself shows everything.
func (s *Server) Hold(k *kind.Kind) { s.hold(k, true) }

// Release ends Hold.
func (s *Server) Release(k *kind.Kind) { s.hold(k, false) }

func (s *Server) hold(k *kind.Kind, held bool) {
	v := s.view(k)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = held
	v.wake()
}

// Restart makes the view of a kind begin anew, as after an answer that history is gone: a subscriber is told what differs from what it was
// told last, and never of what came and went in between.
func (s *Server) Restart(k *kind.Kind) {
	v := s.view(k)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.restarts++
	v.wake()
}

// Blur makes the view of a kind one that may lack objects, because the server cannot read some; nil ends it.
func (s *Server) Blur(k *kind.Kind, err error) {
	v := s.view(k)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trouble = err
}

type view struct {
	synced chan struct{}

	mu      sync.Mutex // guards all below
	objects []kind.Object
	log     []client.Delta
	held    bool
	// restarts counts how often the view began anew.
	restarts int
	trouble  error
	changed  chan struct{} // closed and replaced by wake
}

// wake is called with mu held.
func (v *view) wake() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// find is called with mu held.
func (v *view) find(namespace, name string) int {
	return slices.IndexFunc(v.objects, func(o kind.Object) bool { return o.GetNamespace() == namespace && o.GetName() == name })
}

func (v *view) Get(namespace, name string) (kind.Object, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at := v.find(namespace, name); at >= 0 {
		return v.objects[at], true
	}
	return nil, false
}

func (v *view) matching(is func(kind.Object) bool) iter.Seq[kind.Object] {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []kind.Object
	for _, o := range v.objects {
		if is(o) {
			found = append(found, o)
		}
	}
	return slices.Values(found)
}

func (v *view) All(namespace string) iter.Seq[kind.Object] {
	return v.matching(func(o kind.Object) bool { return namespace == "" || o.GetNamespace() == namespace })
}

func (v *view) OwnedBy(uid types.UID) iter.Seq[kind.Object] {
	return v.matching(func(o kind.Object) bool {
		for _, ref := range o.GetOwnerReferences() {
			if ref.UID == uid {
				return true
			}
		}
		return false
	})
}

// ByField knows one field, the node of a pod.
func (v *view) ByField(name, value string) iter.Seq[kind.Object] {
	return v.matching(func(o kind.Object) bool {
		p, ok := o.(*corev1.Pod)
		return ok && name == "spec.nodeName" && p.Spec.NodeName == value
	})
}

func (v *view) Len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.objects)
}

func (v *view) Whole(string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.trouble
}

func (v *view) Legible(namespace, name string) error {
	if err := v.Whole(namespace); err != nil && client.MayConcern(err, namespace, name) {
		return err
	}
	return nil
}

func (v *view) Synced() <-chan struct{} { return v.synced }

func (v *view) Subscribe(ctx context.Context, f func([]client.Delta)) {
	told := teller{at: -1}
	for ctx.Err() == nil {
		v.mu.Lock()
		changed := v.changed
		var deltas []client.Delta
		tell := false
		if !v.held {
			deltas, tell = told.next(v)
		}
		v.mu.Unlock()
		if tell {
			f(deltas)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// teller is what one subscriber has been told.
type teller struct {
	at       int // in the log; -1 before anything was told, even that there is nothing
	restarts int
	known    []kind.Object
}

// next is what is to be told now. It is called with the view's mu held.
func (t *teller) next(v *view) (deltas []client.Delta, tell bool) {
	first := t.at < 0
	if first || t.restarts != v.restarts {
		deltas = differences(t.known, v.objects)
	} else {
		deltas = slices.Clone(v.log[t.at:])
	}
	t.at, t.restarts, t.known = len(v.log), v.restarts, slices.Clone(v.objects)
	return deltas, first || len(deltas) > 0
}

// differences are the changes that lead from some objects to others.
func differences(from, to []kind.Object) (deltas []client.Delta) {
	at := func(list []kind.Object, o kind.Object) kind.Object {
		n := slices.IndexFunc(list, func(other kind.Object) bool {
			return other.GetNamespace() == o.GetNamespace() && other.GetName() == o.GetName()
		})
		if n < 0 {
			return nil
		}
		return list[n]
	}
	for _, old := range from {
		if at(to, old) == nil {
			deltas = append(deltas, client.Delta{Old: old})
		}
	}
	for _, o := range to {
		if old := at(from, o); old != o {
			deltas = append(deltas, client.Delta{Old: old, New: o, Revision: client.Revision(o)})
		}
	}
	return deltas
}
