package registry

import (
	"context"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// The kinds of these tests: just enough of each to take every path.
func testKinds() []*kind.Kind {
	v1 := corev1.SchemeGroupVersion
	configMap := kind.Define(kind.Resource{GroupVersion: v1, Plural: "configmaps", Namespaced: true, List: kind.ListOf[corev1.ConfigMapList]}, kind.Rules[corev1.ConfigMap]{
		Validate: func(c, old *corev1.ConfigMap) field.ErrorList {
			if old == nil && c.Data["bad"] != "" {
				return field.ErrorList{field.Invalid(field.NewPath("data").Key("bad"), c.Data["bad"], "must be empty")}
			}
			return nil
		},
	})
	pod := kind.Define(kind.Resource{
		GroupVersion: v1, Plural: "pods", Namespaced: true, List: kind.ListOf[corev1.PodList], HasGeneration: true, DeleteReturnsObject: true,
	}, kind.Rules[corev1.Pod]{
		Halves: kind.SpecAndStatus[corev1.Pod](),
		Prepare: func(next, old *corev1.Pod) {
			if old == nil {
				next.Status.Phase = corev1.PodPending
			}
		},
		SpecChanged: func(next, old *corev1.Pod) bool { return next.Spec.Hostname != old.Spec.Hostname },
		Grace: func(p *corev1.Pod, o *metav1.DeleteOptions) kind.Grace {
			seconds := int64(30)
			if o.GracePeriodSeconds != nil {
				seconds = *o.GracePeriodSeconds
			}
			if p.Spec.NodeName == "" {
				seconds = 0
			}
			return kind.Grace{Graceful: true, Seconds: seconds}
		},
		Fields: []kind.Field[corev1.Pod]{
			{Name: "spec.nodeName", Indexed: true, Value: func(p *corev1.Pod) string { return p.Spec.NodeName }},
			{Name: "status.phase", Value: func(p *corev1.Pod) string { return string(p.Status.Phase) }},
		},
	})
	namespace := kind.Define(kind.Resource{
		GroupVersion: v1, Plural: "namespaces", List: kind.ListOf[corev1.NamespaceList], IsNamespace: true, DeleteReturnsObject: true,
	}, kind.Rules[corev1.Namespace]{
		Prepare: func(next, old *corev1.Namespace) {
			if old == nil {
				next.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
			}
		},
		Finalized: func(n *corev1.Namespace) bool { return len(n.Spec.Finalizers) == 0 },
		Deleting:  func(n *corev1.Namespace) { n.Status.Phase = corev1.NamespaceTerminating },
		Parts: []kind.Part[corev1.Namespace]{{Name: "finalize", Prepare: func(next, old *corev1.Namespace) {
			next.Status = old.Status
		}}},
	})
	service := kind.Define(kind.Resource{
		GroupVersion: v1, Plural: "services", StoragePath: "services/specs", Namespaced: true, List: kind.ListOf[corev1.ServiceList],
		CreateOnUpdate: true, RequireRevision: true,
	}, kind.Rules[corev1.Service]{})
	return []*kind.Kind{configMap, pod, namespace, service}
}

type bench struct {
	*Registry
	store store.Store
	clock *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// start runs a registry on a store in memory.
func start(t testing.TB, o Options) *bench {
	t.Helper()
	b := &bench{store: o.Store, clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)}}
	if b.store == nil {
		b.store = memory.New()
		o.Store = b.store
		t.Cleanup(func() { b.store.Close() })
	}
	if o.Kinds == nil {
		o.Kinds = testKinds()
	}
	o.Now = b.clock.Now
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Registry = r
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	<-r.Ready()
	return b
}

func (b *bench) resource(t testing.TB, name string) *Resource {
	t.Helper()
	r, ok := b.Resource(schema.GroupResource{Resource: name})
	if !ok {
		t.Fatalf("no resource %s", name)
	}
	return r
}

// settle waits until the mirror has seen all writes.
func (b *bench) settle(t testing.TB) {
	t.Helper()
	if _, err := b.Fresh(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func configMap(namespace, name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
}

func pod(namespace, name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: node}}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestCreateGetList(t *testing.T) {
	ctx := context.Background()
	b := start(t, Options{})
	maps := b.resource(t, "configmaps")
	created := must(maps.Create(ctx, configMap("a", "x", nil), CreateOptions{}))(t)
	if created.Revision() == 0 || created.Object().GetUID() == "" || created.Object().GetGeneration() != 0 {
		t.Fatalf("created: %#v", created.Object())
	}
	got := must(maps.Get(ctx, "a", "x", ""))(t)
	if got != created {
		t.Error("the mirror does not hold the writer's own item")
	}
	list := must(maps.List(ctx, ListOptions{Namespace: "a"}))(t)
	if len(list.Items) != 1 || list.Items[0] != created || list.Revision != created.Revision() {
		t.Errorf("list: %+v", list)
	}
}
