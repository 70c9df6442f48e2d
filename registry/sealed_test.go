package registry

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// vault is a store that "encrypts" secrets by a letter in front of them. It opens those with its keys; those with another than
// the first are stale.
type vault struct {
	store.Store
	keys atomic.Pointer[string]
}

const secrets = "/registry/secrets/"

var errLocked = errors.New("unable to transform it: no key")

func (v *vault) open(e *store.Entry) {
	if !strings.HasPrefix(e.Key, secrets) || len(e.Value) == 0 {
		return
	}
	keys := *v.keys.Load()
	switch at := strings.IndexByte(keys, e.Value[0]); {
	case at < 0:
		e.Sealed = errLocked
	default:
		e.Value, e.Stale = e.Value[1:], at > 0
	}
}

func (v *vault) seal(key string, value []byte) []byte {
	if !strings.HasPrefix(key, secrets) {
		return value
	}
	return append([]byte((*v.keys.Load())[:1]), value...)
}

func (v *vault) conflict(err error) error {
	var lost *store.Conflict
	if errors.As(err, &lost) && lost.Present != nil {
		present := *lost.Present
		v.open(&present)
		return &store.Conflict{Present: &present}
	}
	return err
}

func (v *vault) Get(ctx context.Context, key string, revision int64) (store.Entry, int64, error) {
	e, at, err := v.Store.Get(ctx, key, revision)
	if err == nil {
		v.open(&e)
		err = e.Sealed
	}
	return e, at, err
}

func (v *vault) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	page, err := v.Store.List(ctx, prefix, o)
	for n := range page.Entries {
		v.open(&page.Entries[n])
	}
	return page, err
}

func (v *vault) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	revision, err := v.Store.Create(ctx, key, v.seal(key, value), ttl)
	return revision, v.conflict(err)
}

func (v *vault) Update(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	revision, err := v.Store.Update(ctx, key, expect, v.seal(key, value), ttl)
	return revision, v.conflict(err)
}

func (v *vault) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	o.Open = v.open
	return v.Store.Watch(ctx, prefix, o)
}

// locked is a registry on a vault.
type locked struct {
	t       *testing.T
	form    testForm
	vault   *vault
	reg     *Registry
	secrets *Resource
}

func newLocked(t *testing.T, f testForm) *locked {
	l := &locked{t: t, form: f, vault: &vault{Store: memory.New()}}
	l.use("a")
	return l
}

func (l *locked) use(keys string) { l.vault.keys.Store(&keys) }

// start runs a new registry.
func (l *locked) start() { l.t.Helper(); l.serve(l.form.kinds()...) }

// serve runs a new registry with other kinds than the usual.
func (l *locked) serve(kinds ...*kind.Kind) {
	l.t.Helper()
	reg, err := New(Options{Store: l.vault, Kinds: kinds})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); reg.Run(ctx) }()
	l.t.Cleanup(func() { cancel(); <-ended })
	<-reg.Ready()
	l.reg = reg
	l.secrets, _ = reg.Resource(schema.GroupResource{Resource: "secrets"})
}

func (l *locked) create(namespace, name string) *Item {
	l.t.Helper()
	i, err := l.secrets.Create(l.t.Context(), l.form.secret(namespace, name), CreateOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.reg.WaitFor(l.t.Context(), i.Revision()); err != nil {
		l.t.Fatal(err)
	}
	return i
}

// put stores a secret's present value under a key of the vault's, past the registry.
func (l *locked) put(namespace, name, under string) {
	l.t.Helper()
	key := secrets + namespace + "/" + name
	e, _, err := l.vault.Store.Get(l.t.Context(), key, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	revision, err := l.vault.Store.Update(l.t.Context(), key, e.Revision, append([]byte(under), e.Value[1:]...), 0)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.reg.WaitFor(l.t.Context(), revision); err != nil {
		l.t.Fatal(err)
	}
}

func (l *locked) list(namespace string) ([]string, error) {
	list, err := l.secrets.List(l.t.Context(), ListOptions{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range list.Items {
		names = append(names, i.Name())
	}
	return names, nil
}

func wantUnreadable(t *testing.T, what string, err error) {
	t.Helper()
	if !apierrors.IsStoreReadError(err) || !strings.Contains(err.Error(), errLocked.Error()) {
		t.Errorf("%s: %v", what, err)
	}
}

// wantNamed wants the error of one value that cannot be read: it names its key.
func wantNamed(t *testing.T, what string, err error, key string) {
	t.Helper()
	var status apierrors.APIStatus
	if !apierrors.IsInternalError(err) || !errors.As(err, &status) || len(status.Status().Details.Causes) != 1 || status.Status().Details.Causes[0].Field != key {
		t.Errorf("%s: %v", what, err)
	}
}

// TestSealedAtTheStart: values that cannot be decrypted when the mirror loads fail what has to show them, and nothing else; when
// they can be, everything works without a restart.
func TestSealedAtTheStart(t *testing.T) { forEachForm(t, testSealedAtTheStart) }

func testSealedAtTheStart(t *testing.T, f testForm) {
	l := newLocked(t, f)
	l.start()
	l.create("one", "a")
	l.create("one", "b")
	l.create("two", "c")
	l.use("b")
	l.start()
	_, err := l.list("")
	wantUnreadable(t, "list", err)
	var status apierrors.APIStatus
	if errors.As(err, &status); len(status.Status().Details.Causes) != 3 || !strings.Contains(err.Error(), "and 2 more") {
		t.Errorf("list: %+v", status.Status())
	}
	_, err = l.secrets.Get(t.Context(), "one", "a", "")
	wantNamed(t, "get", err, secrets+"one/a")
	w, err := l.secrets.Watch(t.Context(), WatchOptions{ResourceVersion: "0"})
	if err == nil {
		_, err = w.Take()
	}
	wantUnreadable(t, "watch", err)
	if names, err := l.list("three"); err != nil || len(names) != 0 {
		t.Errorf("another namespace: %v, %v", names, err)
	}
	l.create("three", "d")
	if names, err := l.list("three"); err != nil || len(names) != 1 {
		t.Errorf("another namespace: %v, %v", names, err)
	}
	pods, _ := l.reg.Resource(schema.GroupResource{Resource: "pods"})
	if list, err := pods.List(t.Context(), ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("pods: %v", err)
	}
	_, err = l.secrets.Create(t.Context(), f.secret("one", "a"), CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		t.Errorf("create: %v", err)
	}
	if n := l.reg.Sealed()[schema.GroupResource{Resource: "secrets"}]; n != 3 {
		t.Errorf("%d sealed", n)
	}
	l.use("ba")
	l.reg.Unseal()
	eventuallyTrue(t, "everything can be read", func() bool { names, err := l.list(""); return err == nil && len(names) == 4 })
	if n := len(l.reg.Sealed()); n != 0 {
		t.Errorf("%d resources sealed", n)
	}
}

func eventuallyTrue(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// TestSealedMeanwhile: a change that cannot be decrypted is no deletion. Watches end with the reason, loops of the process keep
// the last state, and a watch that goes on afterwards misses nothing.
func TestSealedMeanwhile(t *testing.T) { forEachForm(t, testSealedMeanwhile) }

func testSealedMeanwhile(t *testing.T, f testForm) {
	l := newLocked(t, f)
	l.start()
	before := l.create("one", "a")
	var deltas atomic.Int64
	subscribed, unsubscribe := context.WithCancel(t.Context())
	defer unsubscribe()
	started := make(chan struct{}, 1)
	go l.secrets.Subscribe(subscribed, func(ds []Delta) {
		for _, d := range ds {
			if d.New == nil {
				t.Error("the loops saw a deletion")
			}
			deltas.Add(1)
		}
		select {
		case started <- struct{}{}:
		default:
		}
	})
	<-started
	w, err := l.secrets.Watch(t.Context(), WatchOptions{ResourceVersion: before.Object().GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	l.put("one", "a", "x")
	<-w.Ready()
	events, err := w.Take()
	if len(events) > 0 {
		t.Errorf("events: %+v", events)
	}
	wantUnreadable(t, "the watch", err)
	if i := l.secrets.Peek("one", "a"); i == nil || i.Revision() != before.Revision() {
		t.Errorf("the loops see %+v", i)
	}
	_, err = l.list("")
	wantUnreadable(t, "list", err)
	_, _, err = l.secrets.Update(t.Context(), "one", "a", func(_ context.Context, old kind.Object) (kind.Object, error) {
		changed := kind.Copy(old)
		changed.SetLabels(map[string]string{"x": "y"})
		return changed, nil
	}, UpdateOptions{})
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), errLocked.Error()) {
		t.Errorf("update: %v", err)
	}

	l.use("ax")
	l.reg.Unseal()
	eventuallyTrue(t, "it can be read", func() bool { _, err := l.list(""); return err == nil })
	again, err := l.secrets.Watch(t.Context(), WatchOptions{ResourceVersion: before.Object().GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	for events = nil; len(events) == 0 && err == nil; { // who watches is also woken by what is not shown
		<-again.Ready()
		events, err = again.Take()
	}
	if err != nil || len(events) != 1 || events[0].Item.Revision() <= before.Revision() {
		t.Errorf("the watch goes on with %+v, %v", events, err)
	}
	eventuallyTrue(t, "the loops see the change", func() bool { return deltas.Load() == 2 })
}

// TestSealedThenReadable: the next readable change, or the deletion, of a sealed object ends it.
func TestSealedThenReadable(t *testing.T) { forEachForm(t, testSealedThenReadable) }

func testSealedThenReadable(t *testing.T, f testForm) {
	l := newLocked(t, f)
	l.start()
	l.create("one", "a")
	l.put("one", "a", "x")
	if _, err := l.list(""); err == nil {
		t.Fatal("it is not sealed")
	}
	l.put("one", "a", "a")
	if names, err := l.list(""); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	l.put("one", "a", "x")
	e, _, _ := l.vault.Store.Get(t.Context(), secrets+"one/a", 0)
	revision, err := l.vault.Store.Delete(t.Context(), secrets+"one/a", e.Revision)
	if err != nil {
		t.Fatal(err)
	}
	l.reg.WaitFor(t.Context(), revision)
	if names, err := l.list(""); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// TestHistoryUnderFormerKey: history that can no longer be decrypted makes its readers begin anew.
func TestHistoryUnderFormerKey(t *testing.T) { forEachForm(t, testHistoryUnderFormerKey) }

func testHistoryUnderFormerKey(t *testing.T, f testForm) {
	l := newLocked(t, f)
	l.start()
	i := l.create("one", "a")
	l.put("one", "a", "a")
	l.use("ba")
	l.put("one", "a", "b") // rewritten
	l.use("b")             // and the former key dropped
	l.start()
	rv := i.Object().GetResourceVersion()
	w, err := l.secrets.Watch(t.Context(), WatchOptions{ResourceVersion: rv})
	if err != nil {
		t.Fatal(err)
	}
	<-w.Ready()
	if _, err := w.Take(); !apierrors.IsResourceExpired(err) {
		t.Errorf("watch: %v", err)
	}
	_, err = l.secrets.List(t.Context(), ListOptions{ResourceVersion: rv, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("list: %v", err)
	}
	if names, err := l.list(""); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

// TestStaleIsWritten: an update that changes nothing writes if the stored form is a former one, and only then.
func TestStaleIsWritten(t *testing.T) { forEachForm(t, testStaleIsWritten) }

func testStaleIsWritten(t *testing.T, f testForm) {
	l := newLocked(t, f)
	l.start()
	before := l.create("one", "a")
	nothing := func() *Item {
		t.Helper()
		i, _, err := l.secrets.Update(t.Context(), "one", "a", func(_ context.Context, old kind.Object) (kind.Object, error) { return old, nil }, UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	if i := nothing(); i.Revision() != before.Revision() {
		t.Error("an update that changes nothing has written")
	}
	l.use("ba")
	i := nothing()
	if i.Revision() == before.Revision() {
		t.Error("the stale value was not written")
	}
	stored, _, _ := l.vault.Store.Get(t.Context(), secrets+"one/a", 0)
	if !bytes.HasPrefix(stored.Value, []byte("b")) {
		t.Errorf("stored: %q", stored.Value)
	}
	if again := nothing(); again.Revision() != i.Revision() {
		t.Error("it was written again")
	}
}

// TestDeleteUnreadable: what cannot be read can be deleted by those who say so; what can be read, not so.
func TestDeleteUnreadable(t *testing.T) { forEachForm(t, testDeleteUnreadable) }

func testDeleteUnreadable(t *testing.T, f testForm) {
	l := newLocked(t, f)
	l.start()
	l.create("one", "a")
	l.create("one", "b")
	l.put("one", "a", "x")
	yes := true
	unsafe := DeleteOptions{DeleteOptions: metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}}
	if _, _, err := l.secrets.Delete(t.Context(), "one", "a", DeleteOptions{}); !apierrors.IsInternalError(err) {
		t.Errorf("a usual deletion: %v", err)
	}
	if _, _, err := l.secrets.Delete(t.Context(), "one", "b", unsafe); !apierrors.IsInvalid(err) {
		t.Errorf("of what can be read: %v", err)
	}
	if _, _, err := l.secrets.Delete(t.Context(), "one", "c", unsafe); !apierrors.IsNotFound(err) {
		t.Errorf("of what does not exist: %v", err)
	}
	dry := unsafe
	dry.DryRun = true
	if _, _, err := l.secrets.Delete(t.Context(), "one", "a", dry); err != nil {
		t.Errorf("dry run: %v", err)
	}
	if _, removed, err := l.secrets.Delete(t.Context(), "one", "a", unsafe); err != nil || !removed {
		t.Errorf("%v, %v", removed, err)
	}
	eventuallyTrue(t, "it is gone", func() bool { names, err := l.list(""); return err == nil && len(names) == 1 && names[0] == "b" })
}
