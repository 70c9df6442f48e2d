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
func (k *Kinds) Kinds() ([]*kind.Kind, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changed == nil {
		k.changed = make(chan struct{})
	}
	return k.now, k.changed
}

// Set makes these the kinds.
func (k *Kinds) Set(kinds ...*kind.Kind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = kinds
	for _, c := range append(k.untold, k.changed) {
		if c != nil {
			close(c)
		}
	}
	k.untold, k.changed = nil, nil
}

// Slip is Set before anybody has been told.
func (k *Kinds) Slip(kinds ...*kind.Kind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = kinds
	k.untold, k.changed = append(k.untold, k.changed), nil
}

// Strays implements reconcile.KindSet.
func (k *Kinds) Strays(namespace string, owner types.UID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.strays == nil {
		return nil
	}
	return k.strays(namespace, owner)
}

// SetStrays makes f the answer of Strays; nil says that there are none.
func (k *Kinds) SetStrays(f func(namespace string, owner types.UID) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.strays = f
}
