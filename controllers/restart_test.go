package controllers_test

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// restarted is a cluster whose master and controllers come and go.
type restarted struct {
	*testing.T
	folder    string
	master    *wheelhouse.Master
	transport client.Transport
}

// start starts a master on the folder, alone or with all that belongs to it.
func (r *restarted) start(components ...master.Component) (stop func()) {
	r.Helper()
	m := must[*wheelhouse.Master](r.T)(wheelhouse.Start(r.Context(), wheelhouse.Options{DataDir: r.folder, Components: components}))
	ctx, cancel := context.WithCancel(r.Context())
	r.transport = must[client.Transport](r.T)(client.HTTP(ctx, m.RESTConfig()))
	return func() {
		cancel()
		must[struct{}](r.T)(struct{}{}, m.Stop())
	}
}

// orphan takes all owners off the pods and ReplicaSets.
func (r *restarted) orphan() {
	r.Helper()
	none := []byte(`{"metadata":{"ownerReferences":null}}`)
	pods, sets := client.For[*corev1.Pod](r.transport), client.For[*appsv1.ReplicaSet](r.transport)
	<-pods.Live().Synced()
	<-sets.Live().Synced()
	for p := range pods.Live().All("default") {
		must[*corev1.Pod](r.T)(pods.Patch(r.Context(), p.Namespace, p.Name, types.MergePatchType, none))
	}
	for s := range sets.Live().All("default") {
		must[*appsv1.ReplicaSet](r.T)(sets.Patch(r.Context(), s.Namespace, s.Name, types.MergePatchType, none))
	}
}

// adopted waits until everything has its owner again, and tells what there is then.
func (r *restarted) adopted(size int) string {
	r.Helper()
	pods, sets := client.For[*corev1.Pod](r.transport).Live(), client.For[*appsv1.ReplicaSet](r.transport).Live()
	until(r.T, "the owners again", func() bool {
		owned := 0
		for p := range pods.All("default") {
			if metav1.GetControllerOf(p) != nil {
				owned++
			}
		}
		for s := range sets.All("default") {
			if metav1.GetControllerOf(s) == nil || s.Status.ObservedGeneration < s.Generation {
				return false
			}
		}
		d, ok := client.For[*appsv1.Deployment](r.transport).Live().Get("default", "web")
		return owned >= size && ok && d.Status.ObservedGeneration == d.Generation && d.Status.Replicas == int32(size)
	})
	return r.all()
}

func (r *restarted) all() string {
	uids := map[types.UID]bool{}
	for p := range client.For[*corev1.Pod](r.transport).Live().All("default") {
		uids[p.UID] = true
	}
	for s := range client.For[*appsv1.ReplicaSet](r.transport).Live().All("default") {
		uids[s.UID] = true
	}
	d := must[*appsv1.Deployment](r.T)(client.For[*appsv1.Deployment](r.transport).Get(r.Context(), "default", "web"))
	return fmt.Sprint(d.Status.CollisionCount != nil, len(uids), uids)
}

// TestOrphansAreAdoptedAfterARestart has controllers begin, over HTTP and within a master, where pods and ReplicaSets wait to be
// adopted: none is made anew, none is removed.
func TestOrphansAreAdoptedAfterARestart(t *testing.T) {
	t.Parallel()
	const size = 150
	r := &restarted{T: t, folder: t.TempDir()}
	stop := r.start()
	must[*appsv1.Deployment](t)(client.For[*appsv1.Deployment](r.transport).Create(t.Context(), deployment("default", "web", size)))
	before := r.adopted(size)
	stop()

	stop = r.start(master.APIServer)
	r.orphan()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- controllers.Run(ctx, func(string) client.Transport { return r.transport }, reconcile.FixedKinds(api.Kinds()), controllers.DefaultOptions())
	}()
	if after := r.adopted(size); after != before {
		t.Errorf("controllers over HTTP made of\n%s\nthis:\n%s", before, after)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.orphan()
	stop()

	stop = r.start()
	if after := r.adopted(size); after != before {
		t.Errorf("a master that was restarted made of\n%s\nthis:\n%s", before, after)
	}
	stop()
}

// TestFinishedPodsAreNotAdopted has a pod that matches and has ended: it belongs to nobody, and another is made.
func TestFinishedPodsAreNotAdopted(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	pods, labels := client.For[*corev1.Pod](cluster), map[string]string{"app": "web"}
	of := template(labels, "a")
	ended := must[*corev1.Pod](t)(pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "ended", Labels: labels}, Spec: of.Spec})).DeepCopy()
	ended.Status.Phase = corev1.PodFailed
	must[*corev1.Pod](t)(pods.UpdateStatus(t.Context(), ended))
	must[*appsv1.ReplicaSet](t)(client.For[*appsv1.ReplicaSet](cluster).Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"},
		Spec:       appsv1.ReplicaSetSpec{Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: of},
	}))
	until(t, "a pod of its own", func() bool {
		rs, ok := live[*appsv1.ReplicaSet]().Get(ns, "web")
		return ok && rs.Status.Replicas == 1
	})
	if p := must[*corev1.Pod](t)(pods.Get(t.Context(), ns, "ended")); metav1.GetControllerOf(p) != nil {
		t.Errorf("a pod that has ended was adopted: %v", p.OwnerReferences)
	}
}
