// Package replicaset keeps as many pods as each ReplicaSet asks for.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/ownership"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/podstate"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

var gvk = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// maxGenerated is how much of a prefix is left in the name that is made of it.
const maxGenerated = 58

// errOvertaken ends a batch of creations that a newer ReplicaSet no longer asks for.
var errOvertaken = errors.New("the ReplicaSet has changed")

type controller struct {
	sets    reconcile.Objects[*appsv1.ReplicaSet]
	pods    reconcile.Objects[*corev1.Pod]
	orphans ownership.Orphans
	events  *client.Recorder
	now     func() time.Time
}

// Options of the controller, with the meaning of kube-controller-manager's flags.
type Options struct {
	ConcurrentSyncs int
}

// AddFlags adds the flags, and sets the defaults.
func (o *Options) AddFlags(s *pflag.FlagSet) {
	s.IntVar(&o.ConcurrentSyncs, "concurrent-replicaset-syncs", 5, "ReplicaSets worked on at once.")
}

// New declares the ReplicaSet controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{events: b.Events, now: b.Now}
	c.sets = reconcile.Watch[*appsv1.ReplicaSet](b, reconcile.Own, reconcile.WritesPart("status", kind.Update))
	c.pods = reconcile.Watch[*corev1.Pod](b, c.podChanged, reconcile.Writes(kind.Create, kind.Patch, kind.Delete))
	return &reconcile.Controller{
		Workers: reconcile.Option[Options](b).ConcurrentSyncs, Pace: reconcile.Pace{Burst: 10, Interval: 50 * time.Millisecond}, Reconcile: c.reconcile,
	}
}

// podChanged maps a pod to the ReplicaSet that controls it, or to those that might adopt it. Most changes of a pod do not
// concern its ReplicaSet at all.
func (c *controller) podChanged(d client.Delta, enqueue func(reconcile.Key)) {
	c.orphans.Note(d)
	pod := client.Typed[*corev1.Pod](d)
	if pod.Old != nil && pod.New != nil && !concerns(pod.Old, pod.New) {
		return
	}
	var before, after *metav1.OwnerReference
	if pod.Old != nil {
		if before = metav1.GetControllerOfNoCopy(pod.Old); before != nil && isSet(before) {
			enqueue(reconcile.Key{Namespace: pod.Old.Namespace, Name: before.Name})
		}
	}
	if pod.New == nil {
		return
	}
	after = metav1.GetControllerOfNoCopy(pod.New)
	switch {
	case after == nil && pod.New.DeletionTimestamp == nil:
		for rs := range c.sets.Live.All(pod.New.Namespace) {
			if ownership.Matches(rs.Spec.Selector, pod.New.Labels) {
				enqueue(reconcile.KeyOf(rs))
			}
		}
	case after != nil && isSet(after) && (before == nil || before.UID != after.UID):
		enqueue(reconcile.Key{Namespace: pod.New.Namespace, Name: after.Name})
	}
}

func isSet(ref *metav1.OwnerReference) bool { return ownership.Names(ref, gvk) }

// concerns tells whether a pod's change can change anything about its ReplicaSet.
func concerns(old, next *corev1.Pod) bool {
	if old.UID != next.UID || old.Status.Phase != next.Status.Phase || (old.DeletionTimestamp == nil) != (next.DeletionTimestamp == nil) {
		return true
	}
	ready, readyBefore := podstate.Ready(next), podstate.Ready(old)
	if (ready == nil) != (readyBefore == nil) || ready != nil && !ready.LastTransitionTime.Equal(&readyBefore.LastTransitionTime) {
		return true
	}
	return !equality.Semantic.DeepEqual(old.Labels, next.Labels) || !equality.Semantic.DeepEqual(old.OwnerReferences, next.OwnerReferences)
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	rs, ok := c.sets.Live.Get(key.Namespace, key.Name)
	if !ok {
		return reconcile.Result{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		// Validation lets none of these in: there is nothing to wait for.
		return reconcile.Result{}, nil
	}
	// Only active pods are adopted or released. Of those that are on their way out, the ReplicaSet's own are counted.
	var candidates, terminating []*corev1.Pod
	for _, p := range ownership.Candidates(c.pods.Live, &c.orphans, rs) {
		switch {
		case podstate.Active(p):
			candidates = append(candidates, p)
		case podstate.Terminating(p) && metav1.IsControlledBy(p, rs):
			terminating = append(terminating, p)
		}
	}
	claim := ownership.Decide(rs, selector, candidates)
	owned, err := claim.AdoptAndRelease(ctx, c.pods.Client, rs, gvk, func(ctx context.Context) (kind.Object, error) {
		return c.sets.Get(ctx, rs.Namespace, rs.Name)
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	active := slices.DeleteFunc(owned, func(p *corev1.Pod) bool { return !podstate.Active(p) }) // adopted in a state that was news
	p := planReplicas(rs, active, func() []*corev1.Pod { return c.related(rs) }, c.now())
	failed := c.act(ctx, rs, p)
	status, next := planStatus(rs, active, terminating, failed, p.Create > 0, c.now())
	if err := c.writeStatus(ctx, rs, status); err != nil {
		return reconcile.Result{}, errors.Join(failed, err)
	}
	if failed != nil {
		return reconcile.Result{}, failed
	}
	return reconcile.Result{Again: p.More, After: next}, nil
}

// related are the pods of all ReplicaSets with the same controller as rs (the pods of one Deployment).
func (c *controller) related(rs *appsv1.ReplicaSet) []*corev1.Pod {
	var pods []*corev1.Pod
	collect := func(of *appsv1.ReplicaSet) {
		for p := range c.pods.Live.OwnedBy(of.UID) {
			if metav1.IsControlledBy(p, of) {
				pods = append(pods, p)
			}
		}
	}
	ref := metav1.GetControllerOfNoCopy(rs)
	if ref == nil {
		collect(rs)
		return pods
	}
	for sibling := range c.sets.Live.OwnedBy(ref.UID) {
		if of := metav1.GetControllerOfNoCopy(sibling); of != nil && of.UID == ref.UID {
			collect(sibling)
		}
	}
	return pods
}

func (c *controller) act(ctx context.Context, rs *appsv1.ReplicaSet, p plan) error {
	if p.Create > 0 {
		if err := c.unseen(rs); err != nil {
			return err
		}
		template := podTemplate(rs)
		_, err := reconcile.Batch(ctx, p.Create, func(ctx context.Context, _ int) error { return c.createPod(ctx, rs, template) })
		if errors.Is(err, errOvertaken) || reconcile.NamespaceTerminating(err) {
			return nil
		}
		return err
	}
	if len(p.Delete) > 0 {
		return c.deletePods(ctx, rs, p.Delete)
	}
	return nil
}

// unseen is an error if pods that cannot be read, and are not shown as they were, may be the ReplicaSet's by their names: they may be
// running.
func (c *controller) unseen(rs *appsv1.ReplicaSet) error {
	err := c.pods.Live.Whole(rs.Namespace)
	if err == nil {
		return nil
	}
	prefix := podPrefix(rs)
	prefix = prefix[:min(len(prefix), maxGenerated)]
	mayBeOwn := func(name string) bool {
		_, shown := c.pods.Live.Get(rs.Namespace, name)
		return !shown && strings.HasPrefix(name, prefix)
	}
	if client.IsUnreadable(err) && !client.MayConcernAny(err, rs.Namespace, mayBeOwn) {
		return nil
	}
	return fmt.Errorf("no pod is made while some that cannot be read may be the ReplicaSet's: %w", err)
}

func (c *controller) createPod(ctx context.Context, rs *appsv1.ReplicaSet, template *corev1.Pod) error {
	// A batch may take a while: it must not create what was taken back meanwhile.
	if now, ok := c.sets.Live.Get(rs.Namespace, rs.Name); !ok || now.UID != rs.UID || now.Generation != rs.Generation || now.DeletionTimestamp != nil {
		return errOvertaken
	}
	pod, err := c.pods.Create(ctx, template.DeepCopy())
	if err != nil {
		if !reconcile.NamespaceTerminating(err) && ctx.Err() == nil {
			c.events.Eventf(rs, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		}
		return err
	}
	c.events.Event(rs, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: "+pod.Name)
	return nil
}

// podTemplate is the pod that each creation copies.
func podTemplate(rs *appsv1.ReplicaSet) *corev1.Pod {
	t := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: rs.Namespace, GenerateName: podPrefix(rs), Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, gvk)},
		},
		Spec: t.Spec,
	}
}

// podPrefix begins the names of a ReplicaSet's pods.
func podPrefix(rs *appsv1.ReplicaSet) string {
	prefix := rs.Name + "-"
	if len(validation.NameIsDNSSubdomain(prefix, true)) > 0 {
		return rs.Name
	}
	return prefix
}

// deletePods deletes all at once: unlike a creation, a deletion that fails does not foretell that the next one fails.
func (c *controller) deletePods(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	// mu guards failed: the deletions of a batch run side by side. One that fails is reported at the end and keeps no other from trying.
	var mu sync.Mutex
	var failed error
	_, err := reconcile.Batch(ctx, len(pods), func(ctx context.Context, i int) error {
		p := pods[i]
		err := c.pods.Delete(ctx, p.Namespace, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: new(types.UID(p.UID))}})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		if err != nil {
			c.events.Eventf(rs, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
			mu.Lock()
			failed = fmt.Errorf("deleting pod %s: %w", p.Name, err)
			mu.Unlock()
			return nil
		}
		c.events.Event(rs, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: "+p.Name)
		return nil
	})
	return errors.Join(failed, err)
}

func (c *controller) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
	if equality.Semantic.DeepEqual(rs.Status, status) {
		return nil
	}
	changed := rs.DeepCopy()
	changed.Status = status
	_, err := c.sets.UpdateStatus(ctx, changed)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
