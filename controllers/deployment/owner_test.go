package deployment

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// TestOwnersOfOtherGroups: what a kind of the same name in another group controls wakes no Deployment of the same name.
func TestOwnersOfOtherGroups(t *testing.T) {
	controlled := func(version, kind, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "ns", Name: "of-" + name, UID: types.UID("of-" + name), OwnerReferences: []metav1.OwnerReference{
			{APIVersion: version, Kind: kind, Name: name, UID: types.UID(name), Controller: new(true)},
		}}
	}
	key := reconcile.Key{Namespace: "ns", Name: "web"}
	for version, want := range map[string][]reconcile.Key{"apps/v1": {key}, "example.com/v1": nil, "v1": nil} {
		s := &clienttest.Server{}
		b := reconcile.NewBuilder("deployment-controller", s)
		c := &controller{sets: reconcile.Watch[*appsv1.ReplicaSet](b, nil), deployments: reconcile.Watch[*appsv1.Deployment](b, nil)}
		web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "web"}}
		web.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
		s.Put(api.Of[*appsv1.Deployment](), web)
		wakes := func(what string, on func(client.Delta, func(reconcile.Key)), d client.Delta) {
			t.Helper()
			var got []reconcile.Key
			on(d, func(k reconcile.Key) { got = append(got, k) })
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: wakes %v, want %v", version, what, got, want)
			}
		}
		set := &appsv1.ReplicaSet{ObjectMeta: controlled(version, "Deployment", "web")}
		wakes("a ReplicaSet that comes", c.setChanged, client.Delta{New: set})
		wakes("a ReplicaSet that goes", c.setChanged, client.Delta{Old: set})
		s.Put(api.Of[*appsv1.ReplicaSet](), set)
		wakes("a pod of its ReplicaSet goes", c.podChanged, client.Delta{Old: &corev1.Pod{ObjectMeta: controlled("apps/v1", "ReplicaSet", "of-web")}})
		s.Put(api.Of[*appsv1.ReplicaSet](), &appsv1.ReplicaSet{ObjectMeta: controlled("apps/v1", "Deployment", "web")})
		wakes("a pod of something called ReplicaSet goes", c.podChanged, client.Delta{Old: &corev1.Pod{ObjectMeta: controlled(version, "ReplicaSet", "of-web")}})
	}
}
