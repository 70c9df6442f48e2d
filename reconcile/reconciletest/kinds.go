// Package reconciletest is a set of kinds for tests: kinds come and go in it as the test says.
package reconciletest

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Kinds is a reconcile.KindSet. The zero Kinds is empty.
type Kinds struct {
	mu      sync.Mutex
	now     []*kind.Kind                                  // guarded by mu
	changed chan struct{}                                 // guarded by mu; closed by Set
	untold  []chan struct{}                               // guarded by mu; those of former kinds, not closed yet
	strays  func(namespace string, owner types.UID) error // guarded by mu
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
	for _, c := range append(s.untold, s.changed) {
		if c != nil {
			close(c)
		}
	}
	s.untold, s.changed = nil, nil
}

// Slip is Set before anybody has been told.
func (s *Kinds) Slip(kinds ...*kind.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = kinds
	s.untold, s.changed = append(s.untold, s.changed), nil
}

// Strays implements reconcile.KindSet.
func (s *Kinds) Strays(namespace string, owner types.UID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strays == nil {
		return nil
	}
	return s.strays(namespace, owner)
}

// SetStrays makes f the answer of Strays; nil says that there are none.
func (s *Kinds) SetStrays(f func(namespace string, owner types.UID) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strays = f
}
