// Package reconciletest is a set of kinds for tests: kinds come and go in it as the test says.
package reconciletest

import (
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Kinds is a reconcile.KindSet. The zero Kinds is empty.
type Kinds struct {
	mu      sync.Mutex
	now     []*kind.Kind  // guarded by mu
	changed chan struct{} // guarded by mu; closed by Set
}

// Kinds implements reconcile.KindSet.
func (s *Kinds) Kinds() ([]*kind.Kind, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.now, s.changed
}

// Set makes these the kinds.
func (s *Kinds) Set(kinds ...*kind.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = kinds
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
