package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

// TestRepelledPodLetsTheNextGo: the first pod of a class is let go for a change that helps the class, and is refused for what is its
// own. The next one, which the change helps, does not wait behind it.
func TestRepelledPodLetsTheNextGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{Server: &clienttest.Server{}}
		node := makeNode("m", "3").(*corev1.Node)
		node.Labels = map[string]string{"h": "m"}
		s.Put(nodes, node)
		s.Put(pods, makePod("b", "2", "m"))
		schedule(t, s)
		first := makePod("p1", "2", "")
		first.Labels = map[string]string{"app": "x"}
		s.Put(pods, first)
		time.Sleep(20 * time.Second)
		s.Put(pods, makePod("p2", "2", ""))
		time.Sleep(20 * time.Second)
		a := makePod("a", "1", "m")
		a.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: "h", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}}}}}
		s.Put(pods, a)
		time.Sleep(20 * time.Second)
		s.Remove(pods, "ns", "b")
		time.Sleep(20 * time.Second)
		if got := strings.Join(s.bindings(), ","); !strings.Contains(got, "p2 to m") {
			t.Errorf("bound: %s", got)
		}
	})
}

// TestRemovedPodLetsTheNextGo: the pod that was let go is deleted before it is tried.
func TestRemovedPodLetsTheNextGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{Server: &clienttest.Server{}}
		hold := make(chan struct{})
		s.bind = func(pod, node string) error {
			if strings.HasPrefix(pod, "fill") {
				<-hold
			}
			return nil
		}
		s.Put(nodes, makeNode("small", "2"))
		s.Put(pods, makePod("p1", "4", ""), makePod("p2", "4", ""))
		schedule(t, s)
		time.Sleep(20 * time.Second)
		for n := range 105 {
			s.Put(pods, makePod(fmt.Sprint("fill", n), "1m", ""))
		}
		s.Put(nodes, makeNode("small2", "2"))
		for n := range 40 {
			s.Put(pods, makePod(fmt.Sprint("fillb", n), "1m", ""))
		}
		synctest.Wait()
		s.Put(nodes, makeNode("big", "8"))
		time.Sleep(time.Second)
		s.Remove(pods, "ns", "p1")
		time.Sleep(time.Second)
		close(hold)
		time.Sleep(20 * time.Second)
		if got := strings.Join(s.bindings(), ","); !strings.Contains(got, "p2 to big") {
			t.Error("p2 waits")
		}
	})
}

// TestDeletedPodIsNotBoundAgain: the binding of a pod that is being deleted is refused; it is not tried again.
func TestDeletedPodIsNotBoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{Server: &clienttest.Server{}}
		hold := make(chan struct{})
		s.bind = func(pod, _ string) error {
			<-hold
			return apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, pod, fmt.Errorf("it is being deleted"))
		}
		s.Put(nodes, makeNode("n", "2"))
		s.Put(pods, makePod("p", "1", ""))
		schedule(t, s)
		synctest.Wait()
		deleted, now := makePod("p", "1", ""), metav1.Now()
		deleted.DeletionTimestamp, deleted.Finalizers = &now, []string{"x/y"}
		s.Put(pods, deleted)
		synctest.Wait()
		close(hold)
		time.Sleep(10 * time.Minute)
		if n := len(s.bindings()); n > 1 {
			t.Errorf("bound %d times", n)
		}
	})
}
