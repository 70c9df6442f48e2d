package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	upstream "k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes/scheme"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// Two deletions of one pod, in every order of options, do what upstream's own decision says: it is compiled into this test, and
// asked what becomes of the pod as it is at that moment.
func TestDeletingTwiceIsAsUpstream(t *testing.T) {
	client := newHouse(t, nil).client("application/json").CoreV1()
	first := deletions(0, 1, 5, 30)
	second := append(deletions(-1, 0, 1, 5, 30, 40), odd()...)
	n := 0
	for _, node := range []string{"", "n"} {
		for _, phase := range []corev1.PodPhase{"", corev1.PodSucceeded} {
			for _, finalizers := range [][]string{nil, {"example.com/f"}, {metav1.FinalizerDeleteDependents}} {
				for _, a := range first {
					for _, b := range second {
						n++
						d := &deleting{T: t, pods: client.Pods("default"), rest: client.RESTClient(), name: fmt.Sprintf("p%d", n)}
						d.does = fmt.Sprintf("node %q, phase %q, %v", node, phase, finalizers)
						d.create(node, phase, finalizers)
						d.delete(a)
						d.delete(b)
						d.release()
					}
				}
			}
		}
	}
}

// deletions are options with a grace period, and with none.
func deletions(periods ...int64) []metav1.DeleteOptions {
	out := []metav1.DeleteOptions{{}}
	for _, p := range periods {
		out = append(out, metav1.DeleteOptions{GracePeriodSeconds: &p})
	}
	return out
}

// odd are options with a propagation or a precondition; a revision "" stands for the present one.
func odd() (out []metav1.DeleteOptions) {
	zero, five, yes, no := int64(0), int64(5), true, false
	for _, p := range []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan, metav1.DeletePropagationBackground} {
		for _, grace := range []*int64{nil, &zero, &five} {
			out = append(out, metav1.DeleteOptions{PropagationPolicy: &p, GracePeriodSeconds: grace})
		}
	}
	wrong, old, present := types.UID("other"), "1", ""
	return append(out, metav1.DeleteOptions{OrphanDependents: &yes}, metav1.DeleteOptions{OrphanDependents: &no, GracePeriodSeconds: &zero},
		metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &wrong}},
		metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{ResourceVersion: &old}},
		metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{ResourceVersion: &present}},
		metav1.DeleteOptions{GracePeriodSeconds: &five, Preconditions: &metav1.Preconditions{ResourceVersion: &present}})
}

// deleting is one pod whose deletions are compared.
type deleting struct {
	*testing.T
	pods       typed.PodInterface
	rest       rest.Interface
	name, does string
}

func (d *deleting) create(node string, phase corev1.PodPhase, finalizers []string) {
	d.Helper()
	p := pod(d.name)
	p.Spec.NodeName, p.Finalizers = node, finalizers
	p, err := d.pods.Create(context.Background(), p, metav1.CreateOptions{})
	if err == nil && phase != "" {
		p.Status.Phase = phase
		_, err = d.pods.UpdateStatus(context.Background(), p, metav1.UpdateOptions{})
	}
	if err != nil {
		d.Fatal(err)
	}
}

// delete sends a deletion, and compares the answer and what is left with what upstream would do.
func (d *deleting) delete(o metav1.DeleteOptions) {
	d.Helper()
	d.does += " | " + describe(&o)
	before, err := d.pods.Get(context.Background(), d.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		before = nil
	} else if err != nil {
		d.Fatal(err)
	}
	if p := o.Preconditions; before != nil && p != nil && p.ResourceVersion != nil && *p.ResourceVersion == "" {
		o.Preconditions = &metav1.Preconditions{ResourceVersion: &before.ResourceVersion}
	}
	want, gone, refused := before, true, error(apierrors.NewNotFound(corev1.Resource("pods"), d.name))
	if before != nil {
		want, gone, refused = upstreamDeletes(before, o.DeepCopy())
	}
	code, answer := 0, &corev1.Pod{}
	err = d.rest.Delete().Namespace("default").Resource("pods").Name(d.name).Body(&o).Do(context.Background()).StatusCode(&code).Into(answer)
	if reason := apierrors.ReasonForError(err); refused != nil || err != nil {
		if refused == nil || reason != apierrors.ReasonForError(refused) {
			d.Fatalf("%s: %v; upstream: %v", d.does, err, refused)
		}
		return
	}
	accepted := http.StatusOK
	if !gone && o.OrphanDependents != nil && !*o.OrphanDependents { //nolint:staticcheck // old clients set it
		accepted = http.StatusAccepted
	}
	if code != accepted {
		d.Errorf("%s: status %d; upstream: %d", d.does, code, accepted)
	}
	if got, want := lifeOf(answer), lifeOf(want); got != want {
		d.Errorf("%s: the answer is\n%s; upstream:\n%s", d.does, got, want)
	}
	left, err := d.pods.Get(context.Background(), d.name, metav1.GetOptions{})
	switch {
	case gone && !apierrors.IsNotFound(err), !gone && err != nil:
		d.Errorf("%s: left %v, %v; gone upstream: %v", d.does, left, err, gone)
	case !gone && lifeOf(left) != lifeOf(want):
		d.Errorf("%s: what is left is\n%s; upstream:\n%s", d.does, lifeOf(left), lifeOf(want))
	case !gone && reflect.DeepEqual(want, before) && left.ResourceVersion != before.ResourceVersion:
		d.Errorf("%s: nothing changes, and it was written", d.does)
	}
}

// lifeOf is what a deletion changes of a pod. Times are compared by the period that they leave, of which a few seconds are the test's.
func lifeOf(p *corev1.Pod) string {
	at := "not deleted"
	if p.DeletionTimestamp != nil {
		at = fmt.Sprintf("ends in about %v", (time.Until(p.DeletionTimestamp.Time) + 2*time.Second).Truncate(5*time.Second))
	}
	grace := int64(-1)
	if p.DeletionGracePeriodSeconds != nil {
		grace = *p.DeletionGracePeriodSeconds
	}
	return fmt.Sprintf("pod %s %s: %s, grace %d, finalizers %v, generation %d", p.Name, p.UID, at, grace, p.Finalizers, p.Generation)
}

func describe(o *metav1.DeleteOptions) string {
	return strings.TrimPrefix(o.String(), "&")
}

// upstreamDeletes is what upstream's generic store does with a pod that is deleted: it asks BeforeDelete for what is to happen, and
// stores or removes. The pod is the answer.
func upstreamDeletes(pod *corev1.Pod, o *metav1.DeleteOptions) (answer *corev1.Pod, gone bool, err error) {
	ctx, next := context.Background(), pod.DeepCopy()
	graceful, pending, err := upstream.BeforeDelete(podDeletion{scheme.Scheme}, ctx, next, o)
	if err != nil || pending {
		return pod, false, err
	}
	next.Finalizers = collectedBy(next.Finalizers, o)
	if graceful {
		return next, len(next.Finalizers) == 0 && *o.GracePeriodSeconds == 0, nil
	}
	if len(next.Finalizers) == 0 {
		return next, true, nil
	}
	now, zero := metav1.Now(), int64(0)
	if next.DeletionTimestamp == nil || next.DeletionTimestamp.After(now.Time) {
		next.DeletionTimestamp = &now
	}
	next.DeletionGracePeriodSeconds = &zero
	return next, false, nil
}

// collectedBy are the finalizers with which the garbage collector is told what the options ask for.
func collectedBy(finalizers []string, o *metav1.DeleteOptions) []string {
	foreground, orphan := slices.Contains(finalizers, metav1.FinalizerDeleteDependents), slices.Contains(finalizers, metav1.FinalizerOrphanDependents)
	if old := o.OrphanDependents; old != nil { //nolint:staticcheck // old clients set it
		foreground, orphan = false, *old
	}
	if p := o.PropagationPolicy; p != nil {
		foreground, orphan = *p == metav1.DeletePropagationForeground, *p == metav1.DeletePropagationOrphan
	}
	out := slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool {
		return f == metav1.FinalizerDeleteDependents || f == metav1.FinalizerOrphanDependents
	})
	if orphan {
		out = append(out, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	return out
}

// podDeletion is upstream's strategy for pods, as far as it decides about deletions.
type podDeletion struct{ runtime.ObjectTyper }

func (podDeletion) CheckGracefulDelete(_ context.Context, obj runtime.Object, o *metav1.DeleteOptions) bool {
	p, period := obj.(*corev1.Pod), int64(0)
	if o.GracePeriodSeconds != nil {
		period = *o.GracePeriodSeconds
	} else if p.Spec.TerminationGracePeriodSeconds != nil {
		period = *p.Spec.TerminationGracePeriodSeconds
	}
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		period = 0
	}
	if period < 0 {
		period = 1
	}
	o.GracePeriodSeconds = &period
	return true
}

// release lets go of what a finalizer still holds.
func (d *deleting) release() {
	d.Helper()
	zero := int64(0)
	_, err := d.pods.Patch(context.Background(), d.name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err == nil {
		err = d.pods.Delete(context.Background(), d.name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		d.Fatal(err)
	}
}
