package master

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// components are the parts of a master under upstream's names, each with what is known of its health: the cluster
// store answers, and somebody leads as scheduler and as controller manager, on this master or another.
func (m *Master) components(ctx context.Context) []kind.Object {
	_, err := m.store.Revision(ctx)
	return []kind.Object{
		component("controller-manager", m.led("kube-controller-manager")),
		component("etcd-0", err),
		component("scheduler", m.led("kube-scheduler")),
	}
}

// led tells why nobody leads under that Lease; nil if somebody does.
func (m *Master) led(lease string) error {
	leases, ok := m.registry.Resource(schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"})
	if !ok {
		return errors.New("leases are not served")
	}
	item := leases.Peek(metav1.NamespaceSystem, lease)
	if item == nil {
		return fmt.Errorf("no leader: there is no lease %s/%s", metav1.NamespaceSystem, lease)
	}
	l, ok := item.Object().(*coordinationv1.Lease)
	switch {
	case !ok || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil:
		return fmt.Errorf("no leader: the lease %s/%s has no holder", metav1.NamespaceSystem, lease)
	case time.Since(l.Spec.RenewTime.Time) > time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second:
		return fmt.Errorf("no leader: %s has not renewed the lease %s/%s in time", *l.Spec.HolderIdentity, metav1.NamespaceSystem, lease)
	}
	return nil
}

func component(name string, err error) *corev1.ComponentStatus {
	health := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err != nil {
		health.Status, health.Message = corev1.ConditionFalse, err.Error()
	}
	return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{health}}
}

// holder of a Lease that has not run out; empty if nobody holds it.
func (m *Master) holder(lease string) string {
	if m.led(lease) != nil {
		return ""
	}
	leases, ok := m.registry.Resource(schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"})
	if !ok {
		return ""
	}
	if item := leases.Peek(metav1.NamespaceSystem, lease); item != nil {
		if l, ok := item.Object().(*coordinationv1.Lease); ok && l.Spec.HolderIdentity != nil {
			return *l.Spec.HolderIdentity
		}
	}
	return ""
}
