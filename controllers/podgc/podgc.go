// Package podgc removes pods that nobody else will: finished ones beyond a limit, those of nodes that are gone, and those
// that wait for a kubelet that they never had or that is out of service.
package podgc

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/nodestate"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/podstate"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

const (
	period = 20 * time.Second
	// quarantine is how long a node must be missing before its pods are removed.
	quarantine = 40 * time.Second
)

type controller struct {
	nodes     reconcile.Objects[*corev1.Node]
	pods      reconcile.Objects[*corev1.Pod]
	threshold int
	now       func() time.Time

	mu sync.Mutex
	// missing is since when a node that pods name has not been there.
	missing map[string]time.Time // guarded by mu
	// sentenced are the pods that the last look condemned.
	sentenced map[reconcile.Key]sentence // guarded by mu
}

func newController(b *reconcile.Builder) *controller {
	return &controller{
		nodes:     reconcile.Watch[*corev1.Node](b, nil),
		pods:      reconcile.Watch[*corev1.Pod](b, nil, reconcile.Writes(kind.Delete), reconcile.WritesPart("status", kind.Patch)),
		threshold: reconcile.Option[Options](b).TerminatedThreshold, now: b.Now,
		missing: map[string]time.Time{}, sentenced: map[reconcile.Key]sentence{},
	}
}

// Options of the controller, with the meaning of kube-controller-manager's flags.
type Options struct {
	// TerminatedThreshold is how many finished pods may stay; 0 keeps all.
	TerminatedThreshold int
}

// AddFlags adds the flags, and sets the defaults.
func (o *Options) AddFlags(s *pflag.FlagSet) {
	s.IntVar(&o.TerminatedThreshold, "terminated-pod-gc-threshold", 12500, "Finished pods that are kept; 0 keeps all.")
}

// New declares the pod garbage collector.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := newController(b)
	return &reconcile.Controller{Workers: 8, Beside: c.watch, Reconcile: c.reconcile}
}

// nodeGone is the one sentence that rests on something that is not there.
const nodeGone = "PodGC: node no longer exists"

// sentence is why a pod is to go.
type sentence struct {
	uid types.UID
	// message of the DisruptionTarget condition; "" sets none.
	message string
}

// plan finds the pods to remove. missing says since when nodes that do not exist have been missed.
func plan(pods []*corev1.Pod, node func(string) *corev1.Node, missing map[string]time.Time, threshold int, now time.Time) map[*corev1.Pod]string {
	condemned := map[*corev1.Pod]string{}
	var finished []*corev1.Pod
	for _, p := range pods {
		n := node(p.Spec.NodeName)
		since, isMissing := missing[p.Spec.NodeName]
		switch {
		case p.Spec.NodeName == "":
			if p.DeletionTimestamp != nil {
				condemned[p] = ""
			}
		case n == nil && isMissing && now.Sub(since) >= quarantine:
			condemned[p] = nodeGone
		case n != nil && p.DeletionTimestamp != nil && outOfService(n):
			condemned[p] = "PodGC: node is out of service"
		}
		if podstate.Finished(p) {
			finished = append(finished, p)
		}
	}
	surplus := len(finished) - threshold
	if threshold <= 0 || surplus <= 0 {
		return condemned
	}
	slices.SortFunc(finished, func(a, b *corev1.Pod) int {
		return cmp.Or(-cmp.Compare(evicted(a), evicted(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range finished[:surplus] {
		if _, already := condemned[p]; !already {
			condemned[p] = ""
		}
	}
	return condemned
}

// evicted pods go before others: nobody looks for their result.
func evicted(p *corev1.Pod) int {
	if p.Status.Reason == "Evicted" {
		return 1
	}
	return 0
}

// outOfService tells of nodes that are not ready and that someone has declared to be shut down.
func outOfService(n *corev1.Node) bool {
	return nodestate.Ready(n) != corev1.ConditionTrue && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// watch looks every period until ctx ends.
func (c *controller) watch(ctx context.Context, enqueue func(reconcile.Key, time.Duration)) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		c.look(enqueue)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *controller) look(enqueue func(reconcile.Key, time.Duration)) {
	now := c.now()
	nodes := c.nodes.Live
	find := func(name string) *corev1.Node {
		if n, ok := nodes.Get("", name); ok {
			return n
		}
		return nil
	}
	pods := slices.Collect(c.pods.Live.All(""))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing = stillMissing(c.missing, pods, find, now)
	c.sentenced = map[reconcile.Key]sentence{}
	for p, message := range plan(pods, find, c.missing, c.threshold, now) {
		c.sentenced[reconcile.KeyOf(p)] = sentence{p.UID, message}
		enqueue(reconcile.KeyOf(p), 0)
	}
}

// stillMissing is since when each node is missing that a pod names.
func stillMissing(before map[string]time.Time, pods []*corev1.Pod, node func(string) *corev1.Node, now time.Time) map[string]time.Time {
	missing := map[string]time.Time{}
	for _, p := range pods {
		name := p.Spec.NodeName
		if name == "" || node(name) != nil {
			continue
		}
		if since, known := before[name]; known {
			missing[name] = since
		} else if _, noted := missing[name]; !noted {
			missing[name] = now
		}
	}
	return missing
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	c.mu.Lock()
	s, ok := c.sentenced[key]
	c.mu.Unlock()
	pod, exists := c.pods.Live.Get(key.Namespace, key.Name)
	if !ok || !exists || pod.UID != s.uid {
		return reconcile.Result{}, nil
	}
	if s.message == nodeGone {
		if gone, err := c.nodes.Look(ctx, "", pod.Spec.NodeName, "").Gone(); err != nil || !gone {
			return reconcile.Result{}, err
		}
	}
	err := c.remove(ctx, pod, s.message)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, err
}

// remove marks a pod failed that has not finished, and deletes it at once.
func (c *controller) remove(ctx context.Context, pod *corev1.Pod, message string) error {
	if !podstate.Finished(pod) && message != "" {
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": pod.UID},
			"status": map[string]any{"phase": corev1.PodFailed, "conditions": []corev1.PodCondition{{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation,
				LastTransitionTime: metav1.NewTime(c.now()), Reason: "DeletionByPodGC", Message: message,
			}}},
		})
		if err != nil {
			return err
		}
		if _, err := c.pods.PatchStatus(ctx, pod.Namespace, pod.Name, types.StrategicMergePatchType, patch); err != nil {
			return err
		}
	}
	uid, now := pod.UID, int64(0)
	return c.pods.Delete(ctx, pod.Namespace, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid}})
}
