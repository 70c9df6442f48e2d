package master

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// damagedCluster is a master whose store others write into.
type damagedCluster struct {
	*testing.T
	store   *memory.Store
	master  *Master
	clients *kubernetes.Clientset
}

// begin starts a master on the store; end stops it.
func (d *damagedCluster) begin() (end func()) {
	d.Helper()
	d.master, end = startMaster(d.T, d.store, func(c *Config) { c.Components = []Component{APIServer, Controllers} })
	d.clients = kubernetes.NewForConfigOrDie(d.master.RESTConfig())
	return end
}

// put writes bytes under a key past the master; nil removes the key.
func (d *damagedCluster) put(key string, value []byte) {
	d.Helper()
	ctx := context.Background()
	for {
		e, _, err := d.store.Get(ctx, key, 0)
		switch {
		case errors.Is(err, store.ErrNotFound):
			_, err = d.store.Create(ctx, key, value, 0)
		case err == nil && value == nil:
			_, err = d.store.Delete(ctx, key, e.Revision)
		case err == nil:
			_, err = d.store.Update(ctx, key, e.Revision, value, 0)
		}
		var lost *store.Conflict
		if !errors.As(err, &lost) {
			if err != nil {
				d.Fatal(err)
			}
			return
		}
	}
}

var garbage = []byte("k8s\x00garbage")

// fill makes a namespace with a ConfigMap and a Deployment, and waits for its ReplicaSet.
func (d *damagedCluster) fill(namespace string) {
	d.Helper()
	ctx := d.Context()
	if _, err := d.clients.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		d.Fatal(err)
	}
	if _, err := d.clients.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "content"}}, metav1.CreateOptions{}); err != nil {
		d.Fatal(err)
	}
	labels := map[string]string{"app": "web"}
	none := int32(0)
	_, err := d.clients.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &none, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
	}}, metav1.CreateOptions{})
	if err != nil {
		d.Fatal(err)
	}
	d.await("the ReplicaSet of "+namespace, func() bool { return d.sets(namespace) == 1 })
}

func (d *damagedCluster) await(what string, holds func() bool) {
	d.Helper()
	eventually(d.T, what, func() error {
		if !holds() {
			return errors.New("not yet")
		}
		return nil
	})
}

func (d *damagedCluster) sets(namespace string) int {
	list, err := d.clients.AppsV1().ReplicaSets(namespace).List(d.Context(), metav1.ListOptions{})
	if err != nil {
		return -1
	}
	return len(list.Items)
}

func (d *damagedCluster) maps(namespace string) int {
	list, err := d.clients.CoreV1().ConfigMaps(namespace).List(d.Context(), metav1.ListOptions{FieldSelector: "metadata.name=content"})
	if err != nil {
		return -1
	}
	return len(list.Items)
}

// swept waits until the content of a namespace that is gone is collected, which shows that the controllers have been at work.
func (d *damagedCluster) swept(namespace string) {
	d.Helper()
	d.await("the content of a namespace that is gone is swept", func() bool { return d.maps(namespace) == 0 && d.sets(namespace) == 0 })
}

// TestUnreadableIsNotGone: what belongs to objects that cannot be read stays, after a restart and while the master runs; what belongs
// to objects that are gone goes.
func TestUnreadableIsNotGone(t *testing.T) {
	t.Parallel()
	d := &damagedCluster{T: t, store: memory.New()}
	end := d.begin()
	for _, name := range []string{"victim", "owner", "live", "lost", "lost-owner"} {
		d.fill(name)
	}
	end()
	d.put("/registry/namespaces/victim", garbage)
	d.put("/registry/deployments/owner/web", garbage)
	d.put("/registry/namespaces/lost", nil)
	d.put("/registry/deployments/lost-owner/web", nil)
	end = d.begin()
	defer func() { end() }()
	d.put("/registry/namespaces/live", garbage)
	d.put("/registry/deployments/live/web", garbage)
	d.swept("lost")
	d.await("the ReplicaSet of a Deployment that is gone is collected", func() bool { return d.sets("lost-owner") == 0 })
	d.fill("more")
	d.put("/registry/deployments/more/web", nil)
	d.await("another, while the master runs", func() bool { return d.sets("more") == 0 })
	for _, name := range []string{"victim", "owner", "live"} {
		if d.maps(name) != 1 || d.sets(name) != 1 {
			t.Errorf("%s: %d ConfigMaps, %d ReplicaSets", name, d.maps(name), d.sets(name))
		}
	}
	d.judgeReads()
	d.judgeStatus("/registry/deployments/live/web", "/registry/deployments/owner/web", "/registry/namespaces/live", "/registry/namespaces/victim")

	yes := true
	unsafe := metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}
	if err := d.clients.AppsV1().Deployments("owner").Delete(t.Context(), "web", unsafe); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"victim", "live"} {
		if err := d.clients.CoreV1().Namespaces().Delete(t.Context(), name, unsafe); err != nil {
			t.Error(err)
		}
	}
	d.await("what belonged to them goes once they are", func() bool { return d.sets("owner") == 0 && d.maps("victim") == 0 && d.maps("live") == 0 })
}

func (d *damagedCluster) judgeReads() {
	d.Helper()
	ctx := d.Context()
	_, err := d.clients.CoreV1().Namespaces().Get(ctx, "victim", metav1.GetOptions{})
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "/registry/namespaces/victim") {
		d.Errorf("get: %v", err)
	}
	if _, err = d.clients.CoreV1().Namespaces().List(ctx, metav1.ListOptions{}); !apierrors.IsStoreReadError(err) || !strings.Contains(err.Error(), "/registry/namespaces/") {
		d.Errorf("list: %v", err)
	}
	_, err = d.clients.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "victim"}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		d.Errorf("create: %v", err)
	}
	_, err = d.clients.CoreV1().ConfigMaps("victim").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, metav1.CreateOptions{})
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "/registry/namespaces/victim") {
		d.Errorf("create in a namespace that cannot be read: %v", err)
	}
	yes := true
	err = d.clients.CoreV1().ConfigMaps("victim").DeleteCollection(ctx, metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}, metav1.ListOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "ignoreStoreReadErrorWithClusterBreakingPotential") {
		d.Errorf("deletion of a collection by force: %v", err)
	}
	namespaces := client.For[*corev1.Namespace](d.master.server.as(controllerUser))
	if f := namespaces.Look(ctx, "", "victim", ""); f.Presence != client.Unreadable {
		d.Errorf("in the process: %s (%v)", f.Presence, f.Err)
	}
	if empty, err := client.LookEmpty(ctx, d.master.server.as(controllerUser), namespaces.Kind(), ""); err == nil || empty {
		d.Errorf("in the process: empty: %v, %v", empty, err)
	}
}

// judgeStatus wants status and metrics to tell of these keys.
func (d *damagedCluster) judgeStatus(keys ...string) {
	d.Helper()
	s, err := d.master.members.Status(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	var got []string
	for _, v := range s.Unreadable.Values {
		got = append(got, v.Key)
	}
	if fmt.Sprint(got) != fmt.Sprint(keys) || s.Unreadable.Count != len(keys) {
		d.Errorf("status: %+v", s.Unreadable)
	}
	problems := strings.Join(s.Problems, "\n")
	for _, key := range keys {
		if !strings.Contains(problems, key) {
			d.Errorf("no problem with %s: %s", key, problems)
		}
	}
	text := scrapeOf(d.T, d.master)
	for _, want := range []string{`wheelhouse_unreadable_values{group="",resource="namespaces"} 2`, `apiserver_storage_decode_errors_total{group="apps",resource="deployments"} 2`} {
		if !strings.Contains(text, want) {
			d.Errorf("the metrics lack %s", want)
		}
	}
}

// TestUnreadableContentHoldsItsNamespace: a namespace does not go while something in it cannot be read.
func TestUnreadableContentHoldsItsNamespace(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		d := &damagedCluster{T: t, store: memory.New()}
		end := d.begin()
		d.fill("held")
		if restart {
			end()
		}
		d.put("/registry/secrets/held/x", garbage)
		if restart {
			end = d.begin()
		}
		if err := d.clients.CoreV1().Namespaces().Delete(t.Context(), "held", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		d.await("the namespace says what holds it", func() bool {
			ns, err := d.clients.CoreV1().Namespaces().Get(t.Context(), "held", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range ns.Status.Conditions {
				if c.Type == corev1.NamespaceDeletionContentFailure && c.Status == corev1.ConditionTrue && strings.Contains(c.Message, "/registry/secrets/held/x") {
					return d.maps("held") == 0
				}
			}
			return false
		})
		yes := true
		if err := d.clients.CoreV1().Secrets("held").Delete(t.Context(), "x", metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}); err != nil {
			t.Fatal(err)
		}
		d.await("the namespace is gone", func() bool {
			_, err := d.clients.CoreV1().Namespaces().Get(t.Context(), "held", metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		})
		end()
	}
}
