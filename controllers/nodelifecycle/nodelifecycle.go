// Package nodelifecycle watches over the nodes' signs of life. A node that falls silent gets Unknown conditions; conditions
// become taints that keep new pods off; nodes that are not ready are tainted so that their pods are driven
// away, at a rate that depends on how their zone fares.
package nodelifecycle

import (
	"context"
	"maps"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/nodestate"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// recheck is how soon a node is looked at again that could not be tainted for now.
const recheck = 5 * time.Second

type controller struct {
	options Options
	nodes   reconcile.Objects[*corev1.Node]
	pods    reconcile.Objects[*corev1.Pod]
	leases  reconcile.Objects[*coordinationv1.Lease]
	events  *client.Recorder
	now     func() time.Time

	mu sync.Mutex // guards all below
	// health holds the nodes that exist.
	health map[string]health
	zones  map[string]*zone
	// allDisrupted: no zone has a ready node, and nothing is tainted.
	allDisrupted bool
	// unmarked are the pods, by node, that are to be marked not ready: all (nil) of a node that this controller has silenced, else
	// those that came to a node which is not ready. Each is marked once: a kubelet that says otherwise afterwards may know better.
	unmarked map[string]map[types.UID]struct{}
}

// New declares the node lifecycle controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{
		options: reconcile.Option[Options](b), events: b.Events, now: b.Now,
		health: map[string]health{}, zones: map[string]*zone{}, unmarked: map[string]map[types.UID]struct{}{},
	}
	c.nodes = reconcile.Watch[*corev1.Node](b, c.nodeChanged, reconcile.Writes(kind.Update), reconcile.WritesPart("status", kind.Update))
	c.pods = reconcile.Watch[*corev1.Pod](b, c.podChanged, reconcile.WritesPart("status", kind.Update))
	c.leases = reconcile.Watch[*coordinationv1.Lease](b, nil)
	return &reconcile.Controller{
		Workers: 8, Pace: reconcile.Pace{Burst: 10, Interval: 100 * time.Millisecond},
		Start:     func(_ context.Context, enqueue func(reconcile.Key, time.Duration)) { c.monitor(enqueue) },
		Beside:    c.watch,
		Reconcile: c.reconcile,
	}
}

// nodeChanged looks at a node again unless only its heartbeat came.
func (c *controller) nodeChanged(d client.Delta, enqueue func(reconcile.Key)) {
	node := client.Typed[*corev1.Node](d)
	if node.New == nil {
		c.mu.Lock()
		delete(c.health, node.Old.Name)
		delete(c.unmarked, node.Old.Name)
		c.mu.Unlock()
		c.events.Eventf(nodeReference(node.Old), corev1.EventTypeNormal, "RemovingNode", "Node %s event: Removing Node %s from Controller", node.Old.Name, node.Old.Name)
		return
	}
	if node.Old != nil && node.Old.UID == node.New.UID && !concerns(node.Old, node.New) {
		return
	}
	enqueue(reconcile.KeyOf(d.New))
}

func concerns(old, next *corev1.Node) bool {
	if old.Spec.Unschedulable != next.Spec.Unschedulable || !equality.Semantic.DeepEqual(old.Spec.Taints, next.Spec.Taints) ||
		len(old.Status.Conditions) != len(next.Status.Conditions) || !equality.Semantic.DeepEqual(old.Labels, next.Labels) {
		return true
	}
	for i := range next.Status.Conditions {
		if a, b := &old.Status.Conditions[i], &next.Status.Conditions[i]; a.Type != b.Type || a.Status != b.Status {
			return true
		}
	}
	return false
}

// podChanged looks at a node again that is not ready and that a pod comes to which says that it is.
func (c *controller) podChanged(d client.Delta, enqueue func(reconcile.Key)) {
	pod := client.Typed[*corev1.Pod](d)
	if pod.New == nil || pod.New.Spec.NodeName == "" || pod.Old != nil && pod.Old.UID == pod.New.UID && pod.Old.Spec.NodeName == pod.New.Spec.NodeName {
		return
	}
	node, ok := c.nodes.Live.Get("", pod.New.Spec.NodeName)
	if !ok || nodestate.Ready(node) == corev1.ConditionTrue || nodestate.Condition(node, corev1.NodeReady) == nil {
		return
	}
	if unreadyPod(pod.New, time.Time{}) != nil {
		c.mark(node.Name, map[types.UID]struct{}{pod.New.UID: {}})
		enqueue(reconcile.KeyOf(node))
	}
}

// mark notes pods of a node that are to be marked not ready, nil for all.
func (c *controller) mark(node string, pods map[types.UID]struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, any := c.unmarked[node]
	switch {
	case pods == nil || any && before == nil:
		c.unmarked[node] = nil
	case any:
		maps.Copy(before, pods)
	default:
		c.unmarked[node] = pods
	}
}

// watch looks at all nodes every monitor period until ctx ends.
func (c *controller) watch(ctx context.Context, enqueue func(reconcile.Key, time.Duration)) {
	ticker := time.NewTicker(c.options.MonitorPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.monitor(enqueue)
		case <-ctx.Done():
			return
		}
	}
}

// monitor takes in the signs of life of all nodes, and enqueues those that need something done.
func (c *controller) monitor(enqueue func(reconcile.Key, time.Duration)) {
	now := c.now()
	counted := map[string]*zone{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for node := range c.nodes.Live.All("") {
		key := zoneOf(node)
		z := counted[key]
		if z == nil {
			if z = c.zones[key]; z == nil {
				z = &zone{}
			}
			z.ready, z.unready = 0, 0
			counted[key] = z
		}
		switch _, excluded := node.Labels[labelExcluded]; {
		case excluded:
		case nodestate.Ready(node) == corev1.ConditionTrue:
			z.ready++
		default:
			z.unready++
		}
		before, known := c.health[node.Name]
		if !known {
			c.events.Eventf(nodeReference(node), corev1.EventTypeNormal, "RegisteredNode", "Node %s event: Registered Node %s in Controller", node.Name, node.Name)
		}
		lease, _ := c.leases.Live.Get(corev1.NamespaceNodeLease, node.Name)
		h := observe(before, node, lease, now)
		c.health[node.Name] = h
		_, retry := c.unmarked[node.Name]
		told := nodestate.Ready(node) == corev1.ConditionUnknown && h.hasReady
		if retry || !told && h.silent(now, c.options.MonitorGracePeriod, c.options.StartupGracePeriod) {
			enqueue(reconcile.KeyOf(node), 0)
		}
	}
	c.zones = counted
	c.judge(now, enqueue)
}

// judge sets the zones' rates. It is called with mu held.
func (c *controller) judge(now time.Time, enqueue func(reconcile.Key, time.Duration)) {
	before := c.allDisrupted
	c.allDisrupted = judgeZones(c.zones, rates{
		normal: c.options.EvictionRate, secondary: c.options.SecondaryEvictionRate,
		threshold: c.options.UnhealthyZoneThreshold, largeCluster: c.options.LargeClusterSizeThreshold,
	})
	if before == c.allDisrupted {
		return
	}
	if before {
		// Perhaps it was this process that was cut off: every node gets its grace period again.
		for name, h := range c.health {
			h.seen = now
			c.health[name] = h
		}
	}
	for node := range c.nodes.Live.All("") {
		enqueue(reconcile.KeyOf(node), 0)
	}
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	node, ok := c.nodes.Live.Get("", key.Name)
	if !ok {
		return reconcile.Result{}, nil
	}
	node, err := c.silence(ctx, node)
	if err != nil {
		return reconcile.Result{}, err
	}
	if err := c.markPods(ctx, node); err != nil {
		return reconcile.Result{}, err
	}
	changed := node.DeepCopy()
	changed.Spec.Taints = schedulingTaints(node, c.now())
	do, taint := judgeEviction(node)
	wait := c.permit(node, &do)
	switch do {
	case clearTaints, swapTaints, addTaint:
		changed.Spec.Taints = withEviction(changed.Spec.Taints, taint, c.now())
	}
	labelled := mirrorLabels(changed.Labels)
	if !labelled && equality.Semantic.DeepEqual(changed.Spec.Taints, node.Spec.Taints) {
		return reconcile.Result{After: wait}, nil
	}
	_, err = c.nodes.Update(ctx, changed)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return reconcile.Result{After: wait}, err
}

// permit holds a taint back that the rate of the node's zone does not allow yet; the result is when to ask again.
func (c *controller) permit(node *corev1.Node, do *eviction) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.allDisrupted && *do != clearTaints {
		*do = clearTaints
		return 0
	}
	if *do != addTaint {
		return 0
	}
	z := c.zones[zoneOf(node)]
	if z == nil {
		// Not counted yet: the next monitoring does.
		*do = leave
		return c.options.MonitorPeriod
	}
	wait := z.take(c.now())
	if wait > 0 {
		*do = leave
	}
	return wait
}

// silence writes Unknown conditions to a node that has given no sign of life for its grace period, and returns the node as
// it is then.
func (c *controller) silence(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	now := c.now()
	c.mu.Lock()
	h, known := c.health[node.Name]
	c.mu.Unlock()
	if !known || !h.silent(now, c.options.MonitorGracePeriod, c.options.StartupGracePeriod) {
		return node, nil
	}
	changed := silenced(node, now)
	if changed == nil {
		return node, nil
	}
	lease, err := c.lastLease(ctx, node.Name)
	if err != nil {
		return nil, err
	}
	if h = observe(h, node, lease, now); !h.silent(now, c.options.MonitorGracePeriod, c.options.StartupGracePeriod) {
		c.mu.Lock()
		c.health[node.Name] = h
		c.mu.Unlock()
		return node, nil
	}
	wasReady := nodestate.Ready(node) == corev1.ConditionTrue
	stored, err := c.nodes.UpdateStatus(ctx, changed)
	if err != nil {
		return nil, err
	}
	if wasReady {
		c.events.Eventf(nodeReference(node), corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
		c.mark(node.Name, nil)
	}
	return stored, nil
}

// lastLease is a node's Lease as the store has it, nil if there is none: before so grave a step as to silence a node the view,
// which may lag, is not enough. The controller's role lets it see Leases through its view alone, so that is brought up to date; a Lease
// that cannot be read does not tell that its node is silent.
func (c *controller) lastLease(ctx context.Context, node string) (*coordinationv1.Lease, error) {
	if err := c.leases.Fresh(ctx); err != nil {
		return nil, err
	}
	if err := c.leases.Live.Legible(corev1.NamespaceNodeLease, node); err != nil {
		return nil, err
	}
	lease, _ := c.leases.Live.Get(corev1.NamespaceNodeLease, node)
	return lease, nil
}

// markPods makes pods of a node that is not ready not ready, because nobody else will.
func (c *controller) markPods(ctx context.Context, node *corev1.Node) error {
	c.mu.Lock()
	which, marked := c.unmarked[node.Name]
	delete(c.unmarked, node.Name)
	c.mu.Unlock()
	if !marked || nodestate.Ready(node) == corev1.ConditionTrue {
		return nil
	}
	var pods []*corev1.Pod
	for p := range c.pods.Live.ByField("spec.nodeName", node.Name) {
		if _, meant := which[p.UID]; which != nil && !meant {
			continue
		}
		if changed := unreadyPod(p, c.now()); changed != nil {
			pods = append(pods, changed)
		}
	}
	_, err := reconcile.Batch(ctx, len(pods), func(ctx context.Context, i int) error {
		_, err := c.pods.UpdateStatus(ctx, pods[i])
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			c.events.Event(pods[i], corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
		}
		return err
	})
	if err != nil {
		c.mark(node.Name, which)
	}
	return err
}

// nodeReference is what events of nodes are about.
func nodeReference(node *corev1.Node) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
}
