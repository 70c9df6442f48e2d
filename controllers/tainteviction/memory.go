package tainteviction

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// memory is what the controller has seen in its term and no object tells.
type memory struct {
	mu sync.Mutex // guards all below
	// taints tells, by node and taint, when a taint was first seen that does not say when it was added.
	taints map[string]map[taintID]time.Time
	// waiting are the pods that are to be evicted at a later time.
	waiting map[reconcile.Key]*corev1.ObjectReference
}

// taintID is what makes two taints of a node the same one.
type taintID struct {
	node       types.UID
	key, value string
	effect     corev1.TaintEffect
}

func identify(node *corev1.Node, t *corev1.Taint) taintID {
	return taintID{node.UID, t.Key, t.Value, t.Effect}
}

func newMemory() *memory {
	return &memory{taints: map[string]map[taintID]time.Time{}, waiting: map[reconcile.Key]*corev1.ObjectReference{}}
}

// note takes in which taints a node has now. Those that were there stay as old as they are.
func (m *memory) note(node *corev1.Node, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.taints[node.Name]
	var seen map[taintID]time.Time
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectNoExecute || t.TimeAdded != nil {
			continue
		}
		if seen == nil {
			seen = map[taintID]time.Time{}
		}
		id := identify(node, t)
		if seen[id] = now; !before[id].IsZero() {
			seen[id] = before[id]
		}
	}
	if seen == nil {
		delete(m.taints, node.Name)
		return
	}
	m.taints[node.Name] = seen
}

func (m *memory) forgetNode(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.taints, name)
}

// seen is when a taint was first seen: now, if the view knows it before its delivery has come.
func (m *memory) seen(node *corev1.Node, t *corev1.Taint, now time.Time) time.Time {
	m.mu.Lock()
	at := m.taints[node.Name][identify(node, t)]
	m.mu.Unlock()
	if at.IsZero() {
		return now
	}
	return at
}

// wait notes that a pod is to be evicted later.
func (m *memory) wait(key reconcile.Key, pod *corev1.ObjectReference) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting[key] = pod
}

// waits is the pod of that name that is to be evicted later, nil if there is none.
func (m *memory) waits(key reconcile.Key) *corev1.ObjectReference {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waiting[key]
}

// end forgets that a pod was to be evicted, and returns it if it was.
func (m *memory) end(key reconcile.Key) *corev1.ObjectReference {
	m.mu.Lock()
	defer m.mu.Unlock()
	pod := m.waiting[key]
	delete(m.waiting, key)
	return pod
}
