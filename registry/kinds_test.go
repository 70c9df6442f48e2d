package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

var widgetGR = schema.GroupResource{Group: "example.com", Resource: "widgets"}

// pair is a registry whose kinds change, and another one on the same store that has always had widgets.
func (f testForm) pair(t *testing.T) (changing, whole *bench) {
	t.Helper()
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	return f.start(t, Options{Store: slowly{s}}), f.start(t, Options{Store: s, Kinds: append(f.kinds(), f.widgets(false))})
}

// slowly is a store in which things change while one kind's objects are read.
type slowly struct{ store.Store }

func (s slowly) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	page, err := s.Store.List(ctx, prefix, o)
	if prefix != Root {
		time.Sleep(2 * time.Millisecond)
	}
	return page, err
}

func of(t testing.TB, b *bench) *Resource {
	t.Helper()
	r, ok := b.Resource(widgetGR)
	if !ok {
		t.Fatal("widgets are not served")
	}
	return r
}

// forgetful is a store that has no history any more where a kind's objects are read.
type forgetful struct {
	store.Store
	why   error
	asked *atomic.Int32
}

func (s forgetful) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	if prefix == Root {
		return s.Store.List(ctx, prefix, o)
	}
	if s.asked.Add(1) > 1000 {
		return store.Page{}, errors.New("asked without a pause")
	}
	return store.Page{}, s.why
}

// TestAddPauses: a kind whose objects cannot be read at the mirror's revision is tried again and again, but not without a pause; who adds
// it may give up.
func TestAddPauses(t *testing.T) {
	for _, why := range []error{store.ErrCompacted, store.ErrFutureRevision} {
		synctest.Test(t, func(t *testing.T) {
			f, s := generated, memory.New()
			t.Cleanup(func() { s.Close() })
			asked := &atomic.Int32{}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			b := f.start(t, Options{Store: forgetful{s, why, asked}})
			err := b.Add(ctx, f.widgets(false))
			if n := asked.Load(); !errors.Is(err, context.DeadlineExceeded) || n < 5 || n > 200 {
				t.Errorf("%v: asked %d times in a minute, %v", why, n, err)
			}
		})
	}
}

// TestKindsComeAndGo: what is stored of a kind is there as soon as the kind is served; a change of the kind and its end reach
// everybody who reads it.
func TestKindsComeAndGo(t *testing.T) { forEachForm(t, testKindsComeAndGo) }

func testKindsComeAndGo(t *testing.T, f testForm) {
	ctx := context.Background()
	changing, whole := f.pair(t)
	for n := range 50 {
		must(of(t, whole).Create(ctx, f.widget(fmt.Sprint("w", n)), CreateOptions{}))(t)
	}
	changing.catchUp(t)
	if n := changing.Stats().UnknownKeys; n != 50 {
		t.Errorf("%d unknown keys before, want 50", n)
	}
	if err := changing.Add(ctx, f.widgets(false)); err != nil {
		t.Fatal(err)
	}
	first := of(t, changing)
	if list := must(first.List(ctx, ListOptions{}))(t); len(list.Items) != 50 || changing.Stats().UnknownKeys != 0 {
		t.Errorf("%d objects, %d unknown keys", len(list.Items), changing.Stats().UnknownKeys)
	}
	w := must(first.Watch(ctx, WatchOptions{ResourceVersion: "0"}))(t)
	subscribed := make(chan struct{})
	go func() { first.Subscribe(ctx, func([]Delta) {}); close(subscribed) }()

	if err := changing.Add(ctx, f.widgets(true)); err != nil {
		t.Fatal(err)
	}
	<-subscribed
	if err := drained(ctx, w); !apierrors.IsResourceExpired(err) {
		t.Errorf("the watch of the kind that was changed ended with %v", err)
	}
	if _, err := first.Get(ctx, "a", "w1", ""); !apierrors.IsTooManyRequests(err) {
		t.Errorf("a request at work: %v", err)
	}
	second, revision := of(t, changing), first.table.revision()
	red := 0
	for range second.ByField("data.color", "red") {
		red++
	}
	if red != 50 || len(second.table.fields) != 1 {
		t.Errorf("%d objects are found by the new index", red)
	}
	must(of(t, whole).Create(ctx, f.widget("later"), CreateOptions{}))(t)
	changing.catchUp(t)
	if first.table.revision() != revision || second.table.revision() == revision {
		t.Error("what was replaced claims to know what came later")
	}
	w = must(second.Watch(ctx, WatchOptions{ResourceVersion: "0"}))(t)
	if err := changing.Remove(ctx, f.widgets(false).GVR()); err != nil {
		t.Fatal(err)
	}
	if err := drained(ctx, w); !apierrors.IsResourceExpired(err) {
		t.Errorf("the watch of the kind that was removed ended with %v", err)
	}
	if _, ok := changing.Resource(widgetGR); ok || changing.Stats().UnknownKeys != 51 {
		t.Errorf("served: %v, %d unknown keys", ok, changing.Stats().UnknownKeys)
	}
	for what, err := range map[string]error{
		"get": second1(second.Get(ctx, "a", "w1", "0")), "list": second1(second.List(ctx, ListOptions{})), "watch": second1(second.Watch(ctx, WatchOptions{})),
		"create": second1(second.Create(ctx, f.widget("late"), CreateOptions{})), "whole": second.Whole(""),
	} {
		if !apierrors.IsNotFound(err) {
			t.Errorf("%s of a kind that is gone: %v", what, err)
		}
	}
}

// TestPastOfWhatWasLoaded: a list at a revision before the load shows what was deleted since, though nothing that is left is newer.
func TestPastOfWhatWasLoaded(t *testing.T) { forEachForm(t, testPastOfWhatWasLoaded) }

func testPastOfWhatWasLoaded(t *testing.T, f testForm) {
	ctx := t.Context()
	changing, whole := f.pair(t)
	must(of(t, whole).Create(ctx, f.widget("goes"), CreateOptions{}))(t)
	stays := must(of(t, whole).Create(ctx, f.widget("stays"), CreateOptions{}))(t)
	if _, _, err := of(t, whole).Delete(ctx, "a", "goes", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	changing.catchUp(t)
	if err := changing.Add(ctx, f.widgets(false)); err != nil {
		t.Fatal(err)
	}
	again := f.start(t, Options{Store: changing.store, Kinds: append(f.kinds(), f.widgets(false))}) // as after a restart
	for what, b := range map[string]*bench{"added": changing, "restarted": again} {
		list := must(of(t, b).List(ctx, ListOptions{ResourceVersion: fmt.Sprint(stays.Revision()), ResourceVersionMatch: metav1.ResourceVersionMatchExact}))(t)
		if len(list.Items) != 2 {
			t.Errorf("%s: at revision %d there are %s", what, stays.Revision(), versions(list.Items))
		}
	}
}

// TestKindsKeepTheirPlace: no kind takes the place of another resource, in the store or by its name.
func TestKindsKeepTheirPlace(t *testing.T) { forEachForm(t, testKindsKeepTheirPlace) }

func testKindsKeepTheirPlace(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	for _, path := range []string{"pods", "elsewhere"} {
		foreign := *f.widgets(false)
		foreign.StoragePrefix = Root + path + "/"
		if path == "elsewhere" {
			pods, _ := b.Resource(schema.GroupResource{Resource: "pods"})
			foreign = *pods.Info()
			foreign.StoragePrefix = Root + path + "/"
		}
		if err := b.Add(t.Context(), &foreign); err == nil {
			t.Errorf("a kind was added below %s", path)
		}
	}
	second, elsewhere := *f.widgets(false), *f.widgets(false)
	second.GVK.Version = "v2"
	elsewhere.StoragePrefix = Root + "elsewhere/"
	for what, other := range map[string]*kind.Kind{"the same": f.widgets(false), "another version": &second, "the same elsewhere": &elsewhere} {
		if _, err := New(Options{Store: b.store, Kinds: []*kind.Kind{f.widgets(false), other}}); err == nil {
			t.Errorf("a registry begins with a kind and %s", what)
		}
	}
	if pods := b.resource(t, "pods"); pods.table.live() != nil {
		t.Error("pods are not served any more")
	}
}

// TestNothingIsAddedAfterTheEnd: who adds a kind when the registry has ended is told so.
func TestNothingIsAddedAfterTheEnd(t *testing.T) { forEachForm(t, testNothingIsAddedAfterTheEnd) }

func testNothingIsAddedAfterTheEnd(t *testing.T, f testForm) {
	s := memory.New()
	defer s.Close()
	r, err := New(Options{Store: s, Kinds: f.kinds()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Add(t.Context(), f.widgets(false)); !errors.Is(err, errOver) {
		t.Errorf("added: %v", err)
	}
}

// TestEndedShowsNothing: whoever asks for the objects of a kind that has gone gets none, and no proof that there are none.
func TestEndedShowsNothing(t *testing.T) { forEachForm(t, testEndedShowsNothing) }

func testEndedShowsNothing(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	r := b.Ended(f.widgets(false))
	seen := false
	r.Subscribe(t.Context(), func(d []Delta) { seen = len(d) == 0 })
	if !seen || r.Len() != 0 || r.Whole("") == nil || r.Legible("a", "x") == nil {
		t.Errorf("called: %v, %d objects, whole: %v", seen, r.Len(), r.Whole(""))
	}
}

// TestKindOfTheOtherForm: what is stored in the one form cannot be read in the other, unless that reads both. It is neither shown nor absent
// then, and back when the kind is.
func TestKindOfTheOtherForm(t *testing.T) { forEachForm(t, testKindOfTheOtherForm) }

func testKindOfTheOtherForm(t *testing.T, f testForm) {
	changing, whole := f.pair(t)
	must(of(t, whole).Create(t.Context(), f.widget("x"), CreateOptions{}))(t)
	for _, shape := range []testForm{f, trees, generated, trees, f} {
		w := watching(t, changing)
		if err := changing.Add(t.Context(), shape.widgets(true)); err != nil {
			t.Fatal(err)
		}
		if w != nil {
			if err := drained(t.Context(), w); !apierrors.IsResourceExpired(err) {
				t.Errorf("the watch ended with %v", err)
			}
		}
		r := of(t, changing)
		if f == generated && shape == trees {
			if _, err := r.Get(t.Context(), "a", "x", ""); !apierrors.IsInternalError(err) || r.Peek("a", "x") != nil || r.Whole("a") == nil {
				t.Errorf("as %s it is read: %v", shape, err)
			}
			if _, err := r.Create(t.Context(), shape.widget("x"), CreateOptions{}); !apierrors.IsAlreadyExists(err) {
				t.Errorf("as %s: %v", shape, err)
			}
			continue
		}
		i := must(r.Get(t.Context(), "a", "x", ""))(t)
		if dataOf(i.Object())["color"] != "red" || dataOf(shown(t, i))["color"] != "red" || r.info.Form != kind.Form(shape) {
			t.Errorf("as %s it is %v", shape, i.Object())
		}
		must(second2(r.Update(t.Context(), "a", "x", to(func(o kind.Object) { withData(o, "n", o.GetResourceVersion()) }), UpdateOptions{})))(t)
		if i, _, err := r.Delete(t.Context(), "a", "x", DeleteOptions{DryRun: true}); err != nil || dataOf(i.Object())["n"] == "" {
			t.Errorf("as %s: %v", shape, err)
		}
		if f == trees && shape == generated { // it is protobuf now; put the tree back
			must(second2(of(t, whole).Delete(t.Context(), "a", "x", forced())))(t)
			must(of(t, whole).Create(t.Context(), f.widget("x"), CreateOptions{}))(t)
		}
	}
}

// watching is a watch of widgets, if there is anything to watch.
func watching(t *testing.T, b *bench) *Watcher {
	t.Helper()
	r, ok := b.Resource(widgetGR)
	if !ok || r.Whole("") != nil {
		return nil
	}
	return must(r.Watch(t.Context(), WatchOptions{ResourceVersion: "0"}))(t)
}

// forced is a deletion of what cannot be read.
func forced() DeleteOptions {
	yes := true
	return DeleteOptions{DeleteOptions: metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}}
}

func second1[T any](_ T, err error) error { return err }

// drained takes all events of a watch and gives the error that ends it.
func drained(ctx context.Context, w *Watcher) error {
	for {
		if _, err := w.Next(ctx); err != nil {
			return err
		}
	}
}

// TestKindsChangeUnderLoad adds, changes and removes a kind again and again, with reloads of the mirror in between, while others
// write, list and watch its objects. Whoever lists sees what the store holds at the list's revision, and list and watch together
// miss nothing.
func TestKindsChangeUnderLoad(t *testing.T) { forEachForm(t, testKindsChangeUnderLoad) }

func testKindsChangeUnderLoad(t *testing.T, f testForm) {
	changing, whole := f.pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	var busy sync.WaitGroup
	for n := range 3 {
		busy.Go(func() { write(ctx, f, of(t, whole), rand.New(rand.NewPCG(uint64(n), 8)), n) })
		busy.Go(func() { follow(ctx, t, changing, whole) })
	}
	random := rand.New(rand.NewPCG(1, 8))
	for range 60 {
		switch random.IntN(5) {
		case 0:
			if err := changing.Remove(ctx, f.widgets(false).GVR()); err != nil {
				t.Fatal(err)
			}
		case 1:
			changing.reload()
		default:
			shape := f
			if random.IntN(2) == 0 {
				shape = generated // which reads JSON as well
			}
			if err := changing.Add(ctx, shape.widgets(random.IntN(2) == 0)); err != nil {
				t.Fatal(err)
			}
			compare(ctx, t, changing, whole)
		}
	}
	cancel()
	busy.Wait()
	if n := len(changing.kinds.Load().arriving); n != 0 {
		t.Errorf("%d kinds are still arriving", n)
	}
}

// write creates and removes objects until ctx ends.
func write(ctx context.Context, f testForm, r *Resource, random *rand.Rand, writer int) {
	for ctx.Err() == nil {
		name := fmt.Sprintf("w%d-%d", writer, random.IntN(40))
		if random.IntN(2) == 0 {
			_, _ = r.Create(ctx, f.widget(name), CreateOptions{}) // it may exist
		} else {
			_, _, _ = r.Delete(ctx, "a", name, DeleteOptions{}) // it may not
		}
		if random.IntN(20) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// compare lists in one registry, and what the other one knows of that revision.
func compare(ctx context.Context, t *testing.T, changing, whole *bench) {
	t.Helper()
	r, ok := changing.Resource(widgetGR)
	if !ok {
		return
	}
	list, err := r.List(ctx, ListOptions{})
	if err != nil {
		if ctx.Err() == nil && !ended(err) {
			t.Error(err)
		}
		return
	}
	want, err := of(t, whole).List(ctx, ListOptions{ResourceVersion: fmt.Sprint(list.Revision), ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if err != nil {
		if ctx.Err() == nil {
			t.Error(err)
		}
		return
	}
	if got, want := versions(list.Items), versions(want.Items); got != want {
		t.Errorf("at revision %d: %s, want %s", list.Revision, got, want)
	}
}

func versions(items []*Item) (s string) {
	for _, i := range items {
		s += fmt.Sprintf("%s@%d ", i.Name(), i.Revision())
	}
	return s
}

// ended tells of errors that a kind's change or end gives to those who are at work.
func ended(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsTooManyRequests(err) || apierrors.IsResourceExpired(err)
}

// follow lists and watches as informers do. After some events its picture must be what the store held at the last one's revision.
func follow(ctx context.Context, t *testing.T, changing, whole *bench) {
	for ctx.Err() == nil {
		r, ok := changing.Resource(widgetGR)
		if !ok {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		list, err := r.List(ctx, ListOptions{})
		if err != nil {
			if ctx.Err() == nil && !ended(err) {
				t.Error(err)
			}
			continue
		}
		picture, at := map[string]*Item{}, list.Revision
		for _, i := range list.Items {
			picture[i.Name()] = i
		}
		w, err := r.Watch(ctx, WatchOptions{ResourceVersion: fmt.Sprint(at)})
		if err != nil {
			continue
		}
		for range 5 {
			var events []Event
			if events, err = w.Next(ctx); err != nil {
				break
			}
			for _, e := range events {
				if at = e.Revision; e.Type == "DELETED" {
					delete(picture, e.Item.Name())
				} else {
					picture[e.Item.Name()] = e.Item
				}
			}
		}
		w.Stop()
		if err != nil && !ended(err) && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		want, err := of(t, whole).List(ctx, ListOptions{ResourceVersion: fmt.Sprint(at), ResourceVersionMatch: metav1.ResourceVersionMatchExact})
		if err != nil {
			continue
		}
		for _, i := range want.Items {
			if have := picture[i.Name()]; have == nil || have.Revision() != i.Revision() {
				t.Errorf("at revision %d %s is %v", at, i.Name(), have)
			}
		}
		if len(picture) != len(want.Items) {
			t.Errorf("at revision %d: %d objects, want %d", at, len(picture), len(want.Items))
		}
	}
}

// TestKindsKeepTheirScope: objects with a namespace would be none of a kind that has no namespaces.
func TestKindsKeepTheirScope(t *testing.T) {
	forEachForm(t, func(t *testing.T, f testForm) {
		b := f.start(t, Options{})
		if err := b.Add(t.Context(), f.widgets(false)); err != nil {
			t.Fatal(err)
		}
		again := *f.widgets(false)
		again.Namespaced = false
		if err := b.Add(t.Context(), &again); err == nil {
			t.Error("a kind is stored in another scope than its objects")
		}
	})
}
