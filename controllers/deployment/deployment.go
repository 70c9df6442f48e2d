// Package deployment rolls Deployments out: it makes a ReplicaSet for each pod template and moves pods from the old ones to
// the newest, keeps the history, and tells in the status how it goes.
package deployment

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/ownership"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/podstate"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

var (
	gvk    = appsv1.SchemeGroupVersion.WithKind("Deployment")
	setGVK = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
)

type controller struct {
	deployments reconcile.Objects[*appsv1.Deployment]
	sets        reconcile.Objects[*appsv1.ReplicaSet]
	pods        reconcile.Objects[*corev1.Pod]
	orphans     ownership.Orphans
	events      *client.Recorder
	now         func() time.Time
	silence     silence
}

// Options of the controller, with the meaning of kube-controller-manager's flags.
type Options struct {
	ConcurrentSyncs int
}

// AddFlags adds the flags, and sets the defaults.
func (o *Options) AddFlags(s *pflag.FlagSet) {
	s.IntVar(&o.ConcurrentSyncs, "concurrent-deployment-syncs", 5, "Deployments worked on at once.")
}

// New declares the Deployment controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{events: b.Events, now: b.Now}
	c.deployments = reconcile.Watch[*appsv1.Deployment](b, reconcile.Own, reconcile.Writes(kind.Update), reconcile.WritesPart("status", kind.Update))
	c.sets = reconcile.Watch[*appsv1.ReplicaSet](b, c.setChanged, reconcile.Writes(kind.Create, kind.Update, kind.Patch, kind.Delete))
	c.pods = reconcile.Watch[*corev1.Pod](b, c.podChanged)
	return &reconcile.Controller{
		Workers: reconcile.Option[Options](b).ConcurrentSyncs, Pace: reconcile.Pace{Burst: 20, Interval: 50 * time.Millisecond}, Reconcile: c.reconcile,
	}
}

// setChanged maps a ReplicaSet to the Deployment that controls it, or to those that might adopt it.
func (c *controller) setChanged(d client.Delta, enqueue func(reconcile.Key)) {
	c.orphans.Note(d)
	rs := client.Typed[*appsv1.ReplicaSet](d)
	if rs.Old != nil {
		if ref := metav1.GetControllerOfNoCopy(rs.Old); ownership.Names(ref, gvk) {
			enqueue(reconcile.Key{Namespace: rs.Old.Namespace, Name: ref.Name})
		}
	}
	if rs.New == nil {
		return
	}
	if ref := metav1.GetControllerOfNoCopy(rs.New); ref != nil {
		if ownership.Names(ref, gvk) {
			enqueue(reconcile.Key{Namespace: rs.New.Namespace, Name: ref.Name})
		}
		return
	}
	for d := range c.deployments.Live.All(rs.New.Namespace) {
		if ownership.Matches(d.Spec.Selector, rs.New.Labels) {
			enqueue(reconcile.KeyOf(d))
		}
	}
}

// podChanged wakes a Deployment that waits for its old pods to be gone before it makes new ones.
func (c *controller) podChanged(d client.Delta, enqueue func(reconcile.Key)) {
	pod := client.Typed[*corev1.Pod](d)
	if pod.Old == nil || pod.New != nil && !(podstate.Finished(pod.New) && !podstate.Finished(pod.Old)) {
		return
	}
	ref := metav1.GetControllerOfNoCopy(pod.Old)
	if !ownership.Names(ref, setGVK) {
		return
	}
	rs, ok := c.sets.Live.Get(pod.Old.Namespace, ref.Name)
	if !ok || rs.UID != ref.UID {
		return
	}
	if ref = metav1.GetControllerOfNoCopy(rs); !ownership.Names(ref, gvk) {
		return
	}
	if owner, ok := c.deployments.Live.Get(rs.Namespace, ref.Name); ok && owner.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		enqueue(reconcile.KeyOf(owner))
	}
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	d, ok := c.deployments.Live.Get(key.Namespace, key.Name)
	if !ok {
		c.silence.look(key, nil, c.now())
		return reconcile.Result{}, nil
	}
	sets, err := c.claim(ctx, d)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := c.now()
	p := makePlan(world{
		deployment: d, sets: sets, now: now,
		oldPods:       func(newest *appsv1.ReplicaSet) bool { return c.hasOldPods(sets, newest) },
		availablePods: func(rs *appsv1.ReplicaSet) int32 { return c.availablePods(rs, now) },
		silent:        c.silence.look(key, sets, now),
	})
	for _, e := range p.events {
		c.events.Event(d, e.kind, e.reason, e.message)
	}
	for _, a := range p.actions {
		if err := c.act(ctx, d, a); err != nil {
			return reconcile.Result{}, err
		}
		if a.event != nil {
			c.events.Event(d, a.event.kind, a.event.reason, a.event.message)
		}
	}
	if p.deployment != nil {
		if _, err := c.deployments.UpdateStatus(ctx, p.deployment); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{After: p.after}, nil
}

func (c *controller) claim(ctx context.Context, d *appsv1.Deployment) ([]*appsv1.ReplicaSet, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selectsAll(d) {
		return nil, err
	}
	claim := ownership.Decide(d, selector, ownership.Candidates(c.sets.Live, &c.orphans, d))
	return claim.AdoptAndRelease(ctx, c.sets.Client, d, gvk, func(ctx context.Context) (kind.Object, error) {
		return c.deployments.Get(ctx, d.Namespace, d.Name)
	})
}

func (c *controller) hasOldPods(sets []*appsv1.ReplicaSet, newest *appsv1.ReplicaSet) bool {
	for _, rs := range sets {
		if newest != nil && rs.UID == newest.UID {
			continue
		}
		for p := range c.pods.Live.OwnedBy(rs.UID) {
			if !podstate.Finished(p) {
				return true
			}
		}
	}
	return false
}

// availablePods counts the pods of a ReplicaSet that have been ready for long enough.
func (c *controller) availablePods(rs *appsv1.ReplicaSet, now time.Time) (n int32) {
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	for p := range c.pods.Live.OwnedBy(rs.UID) {
		if p.DeletionTimestamp != nil || podstate.Finished(p) || !metav1.IsControlledBy(p, rs) {
			continue
		}
		if ready := podstate.Ready(p); ready != nil && (minReady == 0 || now.Sub(ready.LastTransitionTime.Time) >= minReady) {
			n++
		}
	}
	return n
}

func (c *controller) act(ctx context.Context, d *appsv1.Deployment, a action) error {
	switch a.verb {
	case create:
		return c.create(ctx, d, a.set)
	case update:
		_, err := c.sets.Update(ctx, a.set)
		return err
	case revert:
		_, err := c.deployments.Update(ctx, a.deployment)
		return err
	case remove:
		err := c.sets.Delete(ctx, a.set.Namespace, a.set.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: new(types.UID(a.set.UID))}})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	return fmt.Errorf("unknown action %q", a.verb)
}

// create makes a ReplicaSet. If the name is taken by another template's ReplicaSet, the Deployment counts the collision, and
// its next try has another name.
func (c *controller) create(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	_, err := c.sets.Create(ctx, rs.DeepCopy())
	switch {
	case err == nil:
		return nil
	case apierrors.IsAlreadyExists(err):
		have, getErr := c.sets.Get(ctx, rs.Namespace, rs.Name)
		if getErr != nil {
			return getErr
		}
		if ref := metav1.GetControllerOf(have); ref != nil && ref.UID == d.UID && sameTemplate(&have.Spec.Template, &rs.Spec.Template) {
			return fmt.Errorf("waiting to see ReplicaSet %s: %w", rs.Name, err)
		}
		changed := d.DeepCopy()
		changed.Status.CollisionCount = ptr.To(ptr.Deref(d.Status.CollisionCount, 0) + 1)
		if _, err := c.deployments.UpdateStatus(ctx, changed); err != nil {
			return err
		}
		return err
	case reconcile.NamespaceTerminating(err):
		return err
	}
	return c.failedCreate(ctx, d, rs, err)
}

func (c *controller) failedCreate(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet, failed error) error {
	message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, failed)
	c.events.Event(d, corev1.EventTypeWarning, "ReplicaSetCreateError", message)
	if hasDeadline(d) {
		p := planner{world: world{deployment: d, now: c.now()}, d: d.DeepCopy()}
		p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, corev1.ConditionFalse, "ReplicaSetCreateError", message)
		if condition(&d.Status, appsv1.DeploymentProgressing) == nil || condition(&d.Status, appsv1.DeploymentProgressing).Reason != "ReplicaSetCreateError" {
			if _, err := c.deployments.UpdateStatus(ctx, p.d); err != nil {
				return err
			}
		}
	}
	return failed
}
