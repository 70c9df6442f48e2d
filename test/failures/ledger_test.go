package failures

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// value is the annotation that tells one write from all others; writtenBy marks the objects of the writers.
const (
	value     = "test/value"
	writtenBy = "written-by"
	selector  = writtenBy + "=test"
	// namesPerWriter is small, so that most names see many lives.
	namesPerWriter = 5
	// endName is the object whose creation tells watchers that no change follows.
	endName = "end"
)

// resource is what writers and watchers do with one kind.
type subject struct {
	name   string
	create func(ctx context.Context, name, value string) (metav1.Object, error)
	// update replaces the value; an empty revision replaces whatever is there.
	update func(ctx context.Context, old metav1.Object, revision, value string) (metav1.Object, error)
	get    func(ctx context.Context, name string) (metav1.Object, error)
	delete func(ctx context.Context, name string) error
	watch  func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
	list   func(ctx context.Context) (metav1.ListInterface, error)
	items  func(ctx context.Context) ([]metav1.Object, error)
	// shared kinds are also written by controllers, and so cannot be updated by revision here.
	shared bool
}

func named(name, v string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{value: v}, Labels: map[string]string{writtenBy: "test"}}
}

// object drops the typed nil that comes with an error.
func object[T metav1.Object](o T, err error) (metav1.Object, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}

func itemsOf(list runtime.Object, err error) ([]metav1.Object, error) {
	if err != nil {
		return nil, err
	}
	var out []metav1.Object
	err = meta.EachListItem(list, func(o runtime.Object) error {
		m, err := meta.Accessor(o)
		out = append(out, m)
		return err
	})
	return out, err
}

func configMaps(clients *kubernetes.Clientset) subject {
	c := clients.CoreV1().ConfigMaps("default")
	return subject{
		name: "configmaps",
		create: func(ctx context.Context, name, v string) (metav1.Object, error) {
			return object(c.Create(ctx, &corev1.ConfigMap{ObjectMeta: named(name, v)}, metav1.CreateOptions{}))
		},
		update: func(ctx context.Context, old metav1.Object, revision, v string) (metav1.Object, error) {
			m := old.(*corev1.ConfigMap).DeepCopy()
			m.ResourceVersion, m.Annotations[value] = revision, v
			return object(c.Update(ctx, m, metav1.UpdateOptions{}))
		},
		get: func(ctx context.Context, name string) (metav1.Object, error) {
			return object(c.Get(ctx, name, metav1.GetOptions{}))
		},
		delete: func(ctx context.Context, name string) error { return c.Delete(ctx, name, metav1.DeleteOptions{}) },
		watch:  c.Watch,
		list: func(ctx context.Context) (metav1.ListInterface, error) {
			return c.List(ctx, metav1.ListOptions{LabelSelector: selector})
		},
		items: func(ctx context.Context) ([]metav1.Object, error) {
			return itemsOf(c.List(ctx, metav1.ListOptions{LabelSelector: selector}))
		},
	}
}

// pods are gated, so that they never come to a node and go away as soon as they are deleted.
func pods(clients *kubernetes.Clientset) subject {
	c := clients.CoreV1().Pods("default")
	return subject{
		name: "pods", shared: true,
		create: func(ctx context.Context, name, v string) (metav1.Object, error) {
			return object(c.Create(ctx, &corev1.Pod{ObjectMeta: named(name, v), Spec: corev1.PodSpec{
				Containers:      []corev1.Container{{Name: "c", Image: "web"}},
				SchedulingGates: []corev1.PodSchedulingGate{{Name: "test/gate"}},
			}}, metav1.CreateOptions{}))
		},
		update: func(ctx context.Context, old metav1.Object, revision, v string) (metav1.Object, error) {
			p := old.(*corev1.Pod).DeepCopy()
			p.ResourceVersion, p.Annotations[value] = revision, v
			return object(c.Update(ctx, p, metav1.UpdateOptions{}))
		},
		get: func(ctx context.Context, name string) (metav1.Object, error) {
			return object(c.Get(ctx, name, metav1.GetOptions{}))
		},
		delete: func(ctx context.Context, name string) error { return c.Delete(ctx, name, metav1.DeleteOptions{}) },
		watch:  c.Watch,
		list: func(ctx context.Context) (metav1.ListInterface, error) {
			return c.List(ctx, metav1.ListOptions{LabelSelector: selector})
		},
		items: func(ctx context.Context) ([]metav1.Object, error) {
			return itemsOf(c.List(ctx, metav1.ListOptions{LabelSelector: selector}))
		},
	}
}

func revision(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("resourceVersion %q is not a number", text))
	}
	return n
}

// change is one write that happened, or one event of a watch. A deletion has no value.
type change struct {
	kind  watch.EventType
	value string
	// revision is 0 where the writer was not told it.
	revision int64
}

// ledger is what all writers know to have happened, for each object in order.
type ledger struct {
	mu       sync.Mutex // guards what follows
	history  map[string][]change
	refused  map[string]bool // values that were refused
	refusals int
	unknown  int
	told     int64 // the latest revision that was acknowledged
	total    int
	failed   error
}

func newLedger() *ledger { return &ledger{history: map[string][]change{}, refused: map[string]bool{}} }

func (l *ledger) add(key string, c change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history[key] = append(l.history[key], c)
	l.total++
	l.told = max(l.told, c.revision)
}

func (l *ledger) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = errors.Join(l.failed, err)
}

func (l *ledger) refuse(v string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused[v] = true
	l.refusals++
}

func (l *ledger) noAnswer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unknown++
}

func (l *ledger) count() int     { l.mu.Lock(); defer l.mu.Unlock(); return l.total }
func (l *ledger) latest() int64  { l.mu.Lock(); defer l.mu.Unlock(); return l.told }
func (l *ledger) failure() error { l.mu.Lock(); defer l.mu.Unlock(); return l.failed }

// writer changes objects that no other writer touches, one write at a time: so it knows what each must be.
type writer struct {
	name    string
	subject subject
	book    *ledger
	random  *rand.Rand
	serial  int
	// objects are those that exist, by name.
	objects map[string]metav1.Object
}

func (w *writer) run(ctx context.Context, stop <-chan struct{}) {
	w.objects = map[string]metav1.Object{}
	for {
		select {
		case <-stop:
			return
		default:
		}
		if err := w.write(ctx, fmt.Sprintf("%s-%d", w.name, w.random.Intn(namesPerWriter))); err != nil {
			w.book.fail(fmt.Errorf("%s: %w", w.name, err))
			return
		}
	}
}

// write makes one change and enters it into the ledger.
func (w *writer) write(ctx context.Context, name string) error {
	w.serial++
	v := fmt.Sprintf("%s/%d", w.name, w.serial)
	before, told := w.objects[name], w.book.latest()
	key := w.subject.name + "/" + name
	var c change
	var after metav1.Object
	var err error
	switch what := w.random.Intn(10); {
	case before == nil:
		c = change{kind: watch.Added, value: v}
		after, err = w.subject.create(ctx, name, v)
	case what == 0:
		return w.stale(ctx, name, v, before)
	case what < 4:
		c = change{kind: watch.Deleted}
		err = w.subject.delete(ctx, name)
	default:
		c = change{kind: watch.Modified, value: v}
		after, err = w.subject.update(ctx, before, w.expected(before), v)
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return fmt.Errorf("%s of %s, which nobody else writes, was refused: %w", c.kind, key, err)
	}
	if err != nil {
		w.book.noAnswer()
		return w.resolve(ctx, name, v, before, c)
	}
	if after != nil {
		if c.revision = revision(after.GetResourceVersion()); c.revision <= told {
			return fmt.Errorf("%s of %s was given revision %d after %d had been acknowledged", c.kind, key, c.revision, told)
		}
	}
	w.keep(name, after)
	w.book.add(key, c)
	return nil
}

// expected is the revision that an update names.
func (w *writer) expected(o metav1.Object) string {
	if w.subject.shared {
		return ""
	}
	return o.GetResourceVersion()
}

func (w *writer) keep(name string, o metav1.Object) {
	if o == nil {
		delete(w.objects, name)
		return
	}
	w.objects[name] = o
}

// stale tries a write that names a revision that never was this object's; it must be refused.
func (w *writer) stale(ctx context.Context, name, v string, before metav1.Object) error {
	_, err := w.subject.update(ctx, before, "1", v)
	status := apierrors.APIStatus(nil)
	switch {
	case err == nil:
		return fmt.Errorf("an update of %s from revision 1 was accepted", name)
	case !errors.As(err, &status): // no answer: it may have been refused, it cannot have been accepted
		w.book.refuse(v)
		return nil
	case !apierrors.IsConflict(err):
		return fmt.Errorf("a stale update of %s was not refused as a conflict: %w", name, err)
	}
	w.book.refuse(v)
	return nil
}

// resolve finds out whether a write without an answer has happened: both is right, but nothing else.
func (w *writer) resolve(ctx context.Context, name, v string, before metav1.Object, c change) error {
	var now metav1.Object
	var err error
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		now, err = w.subject.get(ctx, name)
		if err == nil || apierrors.IsNotFound(err) {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the master did not come back: %w", err)
		}
	}
	key := w.subject.name + "/" + name
	had := ""
	if before != nil {
		had = before.GetAnnotations()[value]
	}
	has := ""
	if now != nil {
		has = now.GetAnnotations()[value]
	}
	switch {
	case has == had: // it has not happened
	case has == v || c.kind == watch.Deleted && now == nil:
		if now != nil && !w.subject.shared {
			c.revision = revision(now.GetResourceVersion())
		}
		w.book.add(key, c)
	default:
		return fmt.Errorf("after the kill %s has the value %q: neither %q before the write nor %q after it", key, has, had, v)
	}
	w.keep(name, now)
	return nil
}

// compareList checks that a list holds what the ledger says, and nothing else.
func (l *ledger) compareList(t *testing.T, r subject) {
	t.Helper()
	items, err := r.items(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, o := range items {
		v := o.GetAnnotations()[value]
		if l.refused[v] {
			t.Errorf("%s %s has the value %q, which was refused", r.name, o.GetName(), v)
		}
		have[r.name+"/"+o.GetName()] = v
	}
	for key, changes := range l.history {
		if key[:len(r.name)+1] != r.name+"/" {
			continue
		}
		last := changes[len(changes)-1]
		switch v, there := have[key]; {
		case last.kind == watch.Deleted && there:
			t.Errorf("%s is there with the value %q, its deletion was acknowledged", key, v)
		case last.kind != watch.Deleted && v != last.value:
			t.Errorf("%s has the value %q, %q was acknowledged", key, v, last.value)
		}
		delete(have, key)
	}
	delete(have, r.name+"/"+endName)
	for key, v := range have {
		t.Errorf("%s is there with the value %q, nobody was told so", key, v)
	}
}
