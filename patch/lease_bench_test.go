package patch

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// BenchmarkRenewal is the write that a cluster at rest makes all the time.
func BenchmarkRenewal(b *testing.B) {
	tracker, now := NewTracker(), time.Now()
	leases := define[coordinationv1.Lease]("coordination.k8s.io", "v1", "Lease", true, false)
	old := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To("a"), RenewTime: &metav1.MicroTime{Time: now}}}
	old.Name = "a"
	old.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "a", UID: "u"}}
	if err := tracker.Created(leases, old, "kubelet", "", now); err != nil {
		b.Fatal(err)
	}
	old.UID = "x"
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		next := old.DeepCopy()
		next.Spec.RenewTime = &metav1.MicroTime{Time: now.Add(time.Duration(n) * time.Second)}
		if err := tracker.Updated(leases, next, old, "kubelet", "", now.Add(time.Duration(n)*time.Second)); err != nil {
			b.Fatal(err)
		}
		old = next
	}
}
