package registry

import (
	"context"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

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

// start runs a registry of the form's kinds, or others, on a store in memory.
func (f testForm) start(t testing.TB, o Options) *bench {
	t.Helper()
	b := &bench{store: o.Store, clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)}}
	if b.store == nil {
		b.store = memory.New()
		o.Store = b.store
		t.Cleanup(func() { b.store.Close() })
	}
	if o.Kinds == nil {
		o.Kinds = f.kinds()
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

// catchUp waits until the mirror has seen all writes.
func (b *bench) catchUp(t testing.TB) {
	t.Helper()
	if _, err := b.Fresh(context.Background()); err != nil {
		t.Fatal(err)
	}
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

func TestCreateGetList(t *testing.T) { forEachForm(t, testCreateGetList) }

func testCreateGetList(t *testing.T, f testForm) {
	ctx := context.Background()
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	created := must(maps.Create(ctx, f.configMap("a", "x", nil), CreateOptions{}))(t)
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
