// Package ttl tells kubelets, by an annotation of their node, how long they may keep ConfigMaps and Secrets without asking
// again: the larger the cluster, the longer.
package ttl

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// steps are the sizes between which a time to live holds. They overlap, so that a cluster whose size is close to a
// bound does not change back and forth.
var steps = []struct{ min, max, seconds int }{
	{0, 100, 0},
	{90, 500, 15},
	{450, 1000, 30},
	{900, 2000, 60},
	{1800, math.MaxInt, 300},
}

// step is the index of the step for a cluster of that many nodes that was at step before.
func step(before, nodes int) int {
	for before < len(steps)-1 && nodes > steps[before].max {
		before++
	}
	for before > 0 && nodes < steps[before].min {
		before--
	}
	return before
}

type controller struct {
	nodes reconcile.Objects[*corev1.Node]

	mu sync.Mutex
	at int // guarded by mu; index of the step in force
}

// New declares the TTL controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{}
	c.nodes = reconcile.Watch[*corev1.Node](b, c.nodeChanged, reconcile.Writes(kind.Patch))
	return &reconcile.Controller{Reconcile: c.reconcile}
}

// nodeChanged looks at a node that does not have the annotation of the step in force. Nodes that have another are
// brought up to date as they change, not all at once.
func (c *controller) nodeChanged(d client.Delta, enqueue func(reconcile.Key)) {
	if d.New == nil || d.Old == nil {
		c.mu.Lock()
		c.at = step(c.at, c.nodes.Live.Len())
		c.mu.Unlock()
	}
	if d.New != nil && d.New.GetAnnotations()[corev1.ObjectTTLAnnotationKey] != c.wanted() {
		enqueue(reconcile.KeyOf(d.New))
	}
}

func (c *controller) wanted() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strconv.Itoa(steps[c.at].seconds)
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	node, ok := c.nodes.Live.Get("", key.Name)
	want := c.wanted()
	if !ok || node.Annotations[corev1.ObjectTTLAnnotationKey] == want {
		return reconcile.Result{}, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{corev1.ObjectTTLAnnotationKey: want}}})
	if err != nil {
		return reconcile.Result{}, err
	}
	_, err = c.nodes.Patch(ctx, "", node.Name, types.StrategicMergePatchType, patch)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return reconcile.Result{}, err
}
