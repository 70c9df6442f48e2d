package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

var bg = context.Background()

// answer is what a client sees of an error: code, reason, and the fields of the causes.
func answer(err error) string {
	if err == nil {
		return "ok"
	}
	var s apierrors.APIStatus
	if !errors.As(err, &s) {
		return "not a status: " + err.Error()
	}
	status := s.Status()
	text := fmt.Sprintf("%d %s", status.Code, status.Reason)
	if status.Details != nil {
		for _, c := range status.Details.Causes {
			text += " " + c.Field
		}
	}
	return strings.TrimSpace(text)
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	if got := answer(err); got != want {
		t.Errorf("answer %q instead of %q (%v)", got, want, err)
	}
}

// to is a Change that changes a copy.
func to(f func(kind.Object)) Change {
	return func(_ context.Context, old kind.Object) (kind.Object, error) {
		next := kind.Copy(old)
		f(next)
		return next, nil
	}
}

// put is a Change to one object, as a PUT has it.
func put(o kind.Object) Change {
	return func(context.Context, kind.Object) (kind.Object, error) { return kind.Copy(o), nil }
}

func TestCreate(t *testing.T) { forEachForm(t, testCreate) }

func testCreate(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps, pods := b.resource(t, "configmaps"), b.resource(t, "pods")
	x := func(change func(*metav1.ObjectMeta)) kind.Object {
		c := f.configMap("a", "x", nil)
		change(meta(c))
		return c
	}
	for _, c := range []struct {
		name string
		o    kind.Object
		want string
	}{
		{"good", x(func(*metav1.ObjectMeta) {}), "ok"},
		{"again", x(func(*metav1.ObjectMeta) {}), "409 AlreadyExists"},
		{"again, name and generateName", x(func(c *metav1.ObjectMeta) { c.GenerateName = "x" }), "409 AlreadyExists"},
		{"resourceVersion", x(func(c *metav1.ObjectMeta) { c.Name, c.ResourceVersion = "rv", "1" }), "500"},
		{"no name", x(func(c *metav1.ObjectMeta) { c.Name = "" }), "422 Invalid metadata.name"},
		{"bad name", x(func(c *metav1.ObjectMeta) { c.Name = "A_" }), "422 Invalid metadata.name"},
		{"bad generateName", x(func(c *metav1.ObjectMeta) { c.Name, c.GenerateName = "", "A_" }), "422 Invalid metadata.generateName metadata.name"},
		{"no namespace", x(func(c *metav1.ObjectMeta) { c.Namespace = "" }), "422 Invalid metadata.namespace"},
		{"bad label and data", withData(f.configMap("a", "y", map[string]string{"a b": "c"}), "bad", "x"), "422 Invalid metadata.labels data[bad]"},
		{"bad finalizer", x(func(c *metav1.ObjectMeta) { c.Name, c.Finalizers = "y", []string{"a b"} }), "422 Invalid metadata.finalizers"},
	} {
		_, err := maps.Create(bg, c.o, CreateOptions{})
		if got := answer(err); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q instead of %q (%v)", c.name, got, c.want, err)
		}
	}
	deleted := metav1.Now()
	p := f.pod("a", "p", "")
	m := meta(p)
	m.UID, m.DeletionTimestamp, m.Generation, m.SelfLink = "mine", &deleted, 7, "/x"
	set(p, "status.phase", "Running")
	i := must(pods.Create(bg, p, CreateOptions{}))(t)
	o := meta(i.Object())
	if o.UID == "mine" || o.DeletionTimestamp != nil || o.Generation != 1 || o.SelfLink != "" || get(i.Object(), "status.phase") != "Pending" {
		t.Errorf("created %+v", i.Object())
	}
	if want := b.clock.now.Truncate(time.Second); !o.CreationTimestamp.Time.Equal(want) {
		t.Errorf("created at %v instead of %v", o.CreationTimestamp, want)
	}
	e, _, err := b.store.Get(bg, "/registry/pods/a/p", 0)
	if err != nil || strings.Contains(string(e.Value), "/x") {
		t.Errorf("stored: %q %v", e.Value, err)
	}
	kept := must(pods.table.read(e.Key, e.Value, e.Revision))(t)
	plain := pods.info.New()
	if err := kept.layout.Format.Decode(&kept.value, plain); err != nil || plain.GetResourceVersion() != "" {
		t.Errorf("resourceVersion %q is stored", plain.GetResourceVersion())
	}
}

func TestCreateHooks(t *testing.T) { forEachForm(t, testCreateHooks) }

func testCreateHooks(t *testing.T, f testForm) {
	taken := &reserver{}
	b := f.start(t, Options{Reservers: map[schema.GroupResource]Reserver{{Resource: "services"}: taken}})
	services := b.resource(t, "services")
	admitted := 0
	refuse := errors.New("refused")
	o := CreateOptions{Admit: func(_ context.Context, o kind.Object) error {
		admitted++
		if o.GetUID() == "" || o.GetName() == "" || get(o, "spec.clusterIP") == "" {
			t.Error("admission sees an unfinished object")
		}
		if o.GetName() == "no" {
			return refuse
		}
		return nil
	}}
	if _, err := services.Create(bg, f.service("a", "no"), o); !errors.Is(err, refuse) {
		t.Error(err)
	}
	i := must(services.Create(bg, f.service("a", "x"), o))(t)
	if ip := get(i.Object(), "spec.clusterIP"); ip != "10.0.0.1" {
		t.Errorf("cluster IP %q", ip)
	}
	_, err := services.Create(bg, f.service("a", "x"), o)
	expect(t, err, "409 AlreadyExists")
	must(services.Create(bg, f.service("a", "y"), CreateOptions{DryRun: true}))(t)
	if _, err := services.Get(bg, "a", "y", ""); answer(err) != "404 NotFound" {
		t.Errorf("a dry run left %v", err)
	}
	if _, err := services.Create(bg, f.service("a", "x"), CreateOptions{DryRun: true}); answer(err) != "409 AlreadyExists" {
		t.Errorf("dry run: %v", err)
	}
	if _, _, err := services.Delete(bg, "a", "x", DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if want := "create no not, create x stored, create x not, create y dry not, create x dry not, delete x stored"; taken.log() != want {
		t.Errorf("reserved: %s", taken.log())
	}
	if admitted != 3 {
		t.Errorf("%d admissions", admitted)
	}
}

// reserver gives every service the same address and notes what became of it.
type reserver struct{ notes []string }

func (r *reserver) Reserve(_ context.Context, next, old kind.Object, dryRun bool) (func(bool), error) {
	var note string
	switch {
	case next == nil:
		note = "delete " + old.GetName()
	case old == nil:
		note = "create " + next.GetName()
		set(next, "spec.clusterIP", "10.0.0.1")
	default:
		note = "update " + next.GetName()
	}
	if dryRun {
		note += " dry"
	}
	return func(stored bool) {
		if stored {
			r.notes = append(r.notes, note+" stored")
		} else {
			r.notes = append(r.notes, note+" not")
		}
	}, nil
}

func (r *reserver) log() string { return strings.Join(r.notes, ", ") }

func TestGeneratedNames(t *testing.T) { forEachForm(t, testGeneratedNames) }

func testGeneratedNames(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	seen := map[string]bool{}
	for range 50 {
		c := f.configMap("a", "", nil)
		c.SetGenerateName("web-")
		i := must(maps.Create(bg, c, CreateOptions{}))(t)
		if name := i.Object().GetName(); seen[name] || !strings.HasPrefix(name, "web-") || len(name) != 9 || i.Name() != name {
			t.Errorf("name %q", name)
		}
		seen[i.Name()] = true
	}
	// A long prefix is cut between letters.
	for _, prefix := range []string{strings.Repeat("é", 60), "a" + strings.Repeat("é", 60), "ab" + strings.Repeat("日", 60), strings.Repeat("a", 58), "\xff"} {
		if name := generateName(prefix); len(name) > generatedMax || !strings.HasPrefix(prefix, name[:len(name)-generatedRandom]) || utf8.ValidString(name) != utf8.ValidString(prefix) {
			t.Errorf("the name %q of %q", name, prefix)
		}
	}
	// Every name is taken: after eight attempts the client is told.
	full := &fullStore{Store: memory.New()}
	t.Cleanup(func() { full.Close() })
	b = f.start(t, Options{Store: full})
	c := f.configMap("a", "", nil)
	c.SetGenerateName("web-")
	_, err := b.resource(t, "configmaps").Create(bg, c, CreateOptions{})
	expect(t, err, "409 AlreadyExists")
	if !strings.Contains(err.Error(), "not able to generate a unique name") || full.asked != 8 {
		t.Errorf("after %d attempts: %v", full.asked, err)
	}
}

type fullStore struct {
	store.Store
	asked int
}

func (s *fullStore) Create(context.Context, string, []byte, time.Duration) (int64, error) {
	s.asked++
	return 0, &store.Conflict{}
}

func TestUpdate(t *testing.T) { forEachForm(t, testUpdate) }

func testUpdate(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	pods, services, maps := b.resource(t, "pods"), b.resource(t, "services"), b.resource(t, "configmaps")
	first := must(pods.Create(bg, f.pod("a", "p", "n1"), CreateOptions{}))(t).Object()

	change := func(f func(*metav1.ObjectMeta)) kind.Object {
		p := kind.Copy(first)
		f(meta(p))
		return p
	}
	i, _, err := pods.Update(bg, "a", "p", to(func(p kind.Object) { set(p, "spec.hostname", "h"); set(p, "status.phase", "Running") }), UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if o := i.Object(); o.GetGeneration() != 2 || get(o, "status.phase") != "Pending" || get(o, "spec.hostname") != "h" {
		t.Errorf("updated to %+v", i.Object())
	}
	stale := first.GetResourceVersion()
	for _, c := range []struct {
		name string
		f    func(*metav1.ObjectMeta)
		o    UpdateOptions
		want string
	}{
		{"stale revision", func(p *metav1.ObjectMeta) { p.ResourceVersion = stale }, UpdateOptions{}, "409 Conflict"},
		{"noise as revision", func(p *metav1.ObjectMeta) { p.ResourceVersion = "abc" }, UpdateOptions{}, "500"},
		{"unconditional", func(p *metav1.ObjectMeta) { p.ResourceVersion = ""; p.Labels = map[string]string{"a": "b"} }, UpdateOptions{}, "ok"},
		{"zero is unconditional", func(p *metav1.ObjectMeta) { p.ResourceVersion = "0" }, UpdateOptions{}, "ok"},
		{"another uid", func(p *metav1.ObjectMeta) { p.ResourceVersion, p.UID = "", "other" }, UpdateOptions{}, "422 Invalid metadata.uid"},
		{"another uid as precondition", func(p *metav1.ObjectMeta) { p.ResourceVersion = "" }, UpdateOptions{UID: uid("other")}, "409 Conflict"},
		{"another namespace", func(p *metav1.ObjectMeta) { p.ResourceVersion, p.Namespace = "", "b" }, UpdateOptions{}, "400 BadRequest"},
		{"another name", func(p *metav1.ObjectMeta) { p.ResourceVersion, p.Name = "", "q" }, UpdateOptions{}, "422 Invalid metadata.name"},
		{"deletionTimestamp", func(p *metav1.ObjectMeta) {
			p.ResourceVersion, p.DeletionTimestamp = "", &metav1.Time{Time: b.clock.now}
		}, UpdateOptions{}, "422 Invalid metadata.deletionTimestamp"},
		{"unknown part", func(p *metav1.ObjectMeta) {}, UpdateOptions{Part: "nothing"}, "500 InternalError "},
	} {
		_, _, err := pods.Update(bg, "a", "p", put(change(c.f)), c.o)
		if got := answer(err); got != strings.TrimSpace(c.want) {
			t.Errorf("%s: %q instead of %q (%v)", c.name, got, c.want, err)
		}
	}
	if _, _, err := pods.Update(bg, "a", "p", put(change(func(p *metav1.ObjectMeta) { p.ResourceVersion = stale })), UpdateOptions{}); !strings.Contains(err.Error(), modified) {
		t.Error(err)
	}
	_, _, err = pods.Update(bg, "a", "missing", put(first), UpdateOptions{})
	expect(t, err, "404 NotFound")

	i, _, err = pods.Update(bg, "a", "p", to(func(p kind.Object) {
		set(p, "status.phase", "Running")
		set(p, "spec.hostname", "other")
		p.SetLabels(map[string]string{"c": "d"})
	}), UpdateOptions{Part: "status"})
	if err != nil {
		t.Fatal(err)
	}
	if o := i.Object(); get(o, "status.phase") != "Running" || get(o, "spec.hostname") == "other" || (o.GetLabels()["c"] == "d") != f.statusBringsMetadata() {
		t.Errorf("status updated to %+v", o)
	}
	i, _, err = pods.Update(bg, "a", "p", to(func(p kind.Object) { set(p, "spec.nodeName", "n2"); set(p, "status.phase", "Failed") }), UpdateOptions{Trusted: true})
	if err != nil || get(i.Object(), "status.phase") != "Failed" {
		t.Errorf("trusted change: %v %v", i, err)
	}

	s := f.service("a", "s")
	i, created, err := services.Update(bg, "a", "s", put(s), UpdateOptions{})
	if err != nil || !created || i.Object().GetUID() == "" {
		t.Errorf("create by update: %v %v", created, err)
	}
	_, _, err = services.Update(bg, "a", "s", put(s), UpdateOptions{})
	expect(t, err, "422 Invalid metadata.resourceVersion")
	_, _, err = services.Update(bg, "a", "new", put(s), UpdateOptions{UID: uid("u")})
	expect(t, err, "409 Conflict")
	_, _, err = services.Update(bg, "b", "s", put(s), UpdateOptions{})
	expect(t, err, "400 BadRequest")
	_, _, err = maps.Update(bg, "a", "s", put(f.configMap("a", "s", nil)), UpdateOptions{})
	expect(t, err, "404 NotFound")
}

func uid(s string) *types.UID { u := types.UID(s); return &u }

func TestNoChangeIsNotWritten(t *testing.T) { forEachForm(t, testNoChangeIsNotWritten) }

func testNoChangeIsNotWritten(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	at := func(minute int) *metav1.Time {
		return &metav1.Time{Time: b.clock.now.Truncate(time.Second).Add(time.Duration(minute) * time.Minute)}
	}
	c := f.configMap("a", "x", nil)
	meta(c).ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", Time: at(0), FieldsV1: metav1.NewFieldsV1("{}")}}
	first := must(maps.Create(bg, c, CreateOptions{}))(t)
	before := must(b.store.Revision(bg))(t)
	changes := map[string]Change{
		"nothing":            to(func(c kind.Object) {}),
		"empty labels":       to(func(c kind.Object) { c.SetLabels(map[string]string{}) }),
		"managed field time": to(func(c kind.Object) { meta(c).ManagedFields[0].Time = at(5) }),
	}
	if !f.emptyCounts() {
		changes["empty map"] = to(func(c kind.Object) { setData(c, map[string]string{}) })
	}
	for name, change := range changes {
		i, created, err := maps.Update(bg, "a", "x", change, UpdateOptions{})
		if err != nil || created || i.Revision() != first.Revision() {
			t.Errorf("%s: %v %v", name, i, err)
		}
	}
	if after := must(b.store.Revision(bg))(t); after != before {
		t.Errorf("written: revision %d became %d", before, after)
	}
	i, _, err := maps.Update(bg, "a", "x", to(func(c kind.Object) {
		meta(c).ManagedFields[0].Time = at(5)
		setData(c, map[string]string{"k": "v"})
	}), UpdateOptions{})
	if err != nil || !i.Object().GetManagedFields()[0].Time.Equal(at(5)) {
		t.Errorf("a real change lost its time: %v", err)
	}
}

// Many writers of one object: none of their changes is lost, and those with a revision of their own are told.
func TestLostRaces(t *testing.T) { forEachForm(t, testLostRaces) }

func testLostRaces(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	first := must(maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}))(t)
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for n := range 10 {
				_, _, err := maps.Update(bg, "a", "x", to(func(c kind.Object) {
					data := map[string]string{fmt.Sprintf("%d-%d", w, n): "x"}
					for k, v := range dataOf(c) {
						data[k] = v
					}
					setData(c, data)
				}), UpdateOptions{})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	last := must(maps.Get(bg, "a", "x", ""))(t).Object()
	if n := len(dataOf(last)); n != 80 {
		t.Errorf("%d of 80 changes are left", n)
	}
	_, _, err := maps.Update(bg, "a", "x", put(first.Object()), UpdateOptions{})
	expect(t, err, "409 Conflict")
}

// The mirror may lag behind: what it says is optimistic, never an answer.
func TestStaleMirror(t *testing.T) { forEachForm(t, testStaleMirror) }

func testStaleMirror(t *testing.T, f testForm) {
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	leader := f.start(t, Options{Store: s})
	// A second process whose mirror has seen nothing since it was loaded.
	held := &heldStore{Store: s}
	late, err := New(Options{Store: held, Kinds: f.kinds(), Now: leader.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	maps := leader.resource(t, "configmaps")
	must(maps.Create(bg, f.configMap("a", "old", nil), CreateOptions{}))(t)
	must(maps.Create(bg, f.configMap("a", "gone", nil), CreateOptions{}))(t)
	pods := leader.resource(t, "pods")
	must(pods.Create(bg, f.pod("a", "again", "node"), CreateOptions{}))(t)
	if _, removed, err := pods.Delete(bg, "a", "again", DeleteOptions{}); err != nil || removed {
		t.Fatal(removed, err)
	}
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); _ = late.Run(ctx) }()
	<-late.Ready()
	second, _ := late.Resource(schema.GroupResource{Resource: "configmaps"})

	label := to(func(c kind.Object) { c.SetLabels(map[string]string{"k": "v"}) })
	must(maps.Create(bg, f.configMap("a", "new", nil), CreateOptions{}))(t)
	changed, _, err := maps.Update(bg, "a", "old", label, UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := maps.Delete(bg, "a", "gone", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	if _, _, err := second.Update(bg, "a", "new", label, UpdateOptions{}); err != nil {
		t.Errorf("an object that the mirror has not seen: %v", err)
	}
	_, _, err = second.Update(bg, "a", "gone", label, UpdateOptions{})
	expect(t, err, "404 NotFound")
	_, _, err = second.Delete(bg, "a", "gone", DeleteOptions{})
	expect(t, err, "404 NotFound")
	// The same change again is none, though the mirror's object lacks it.
	i, _, err := second.Update(bg, "a", "old", label, UpdateOptions{})
	if err != nil || i.Revision() != changed.Revision() {
		t.Errorf("%v %v", i, err)
	}
	// An undo that the stale object makes look like no change must be written.
	i, _, err = second.Update(bg, "a", "old", to(func(c kind.Object) { c.SetLabels(nil) }), UpdateOptions{})
	if err != nil || len(i.Object().GetLabels()) != 0 || i.Revision() == changed.Revision() {
		t.Errorf("%v %v", i, err)
	}
	v := i.Object().GetResourceVersion()
	_, _, err = second.Delete(bg, "a", "old", DeleteOptions{DeleteOptions: metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &v}}})
	expect(t, err, "ok")

	// The mirror still has the former pod of the name, which is being deleted: that is no answer to who deletes the next one.
	none := int64(0)
	if _, removed, err := pods.Delete(bg, "a", "again", DeleteOptions{DeleteOptions: metav1.DeleteOptions{GracePeriodSeconds: &none}}); err != nil || !removed {
		t.Fatal(removed, err)
	}
	latePods, _ := late.Resource(schema.GroupResource{Resource: "pods"})
	_, _, err = latePods.Delete(bg, "a", "again", DeleteOptions{DryRun: true})
	expect(t, err, "404 NotFound")
	made := must(pods.Create(bg, f.pod("a", "again", "node"), CreateOptions{}))(t)
	i, _, err = latePods.Delete(bg, "a", "again", DeleteOptions{})
	if err != nil || i.Object().GetUID() != made.Object().GetUID() || i.Revision() <= made.Revision() {
		t.Errorf("the new pod was not marked: %v %v", i, err)
	}
	cancel()
	<-done
}

// heldStore's watches deliver nothing.
type heldStore struct{ store.Store }

func (s *heldStore) Watch(ctx context.Context, _ string, o store.WatchOptions) store.Watch {
	return s.Store.Watch(ctx, "/nothing/", o)
}

// What the store says becomes what a client understands.
func TestStoreErrors(t *testing.T) { forEachForm(t, testStoreErrors) }

func testStoreErrors(t *testing.T, f testForm) {
	failing := &failingStore{Store: memory.New()}
	t.Cleanup(func() { failing.Close() })
	b := f.start(t, Options{Store: failing})
	maps := b.resource(t, "configmaps")
	must(maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}))(t)
	for _, c := range []struct {
		err  error
		want string
	}{
		{store.ErrUnavailable, "504 Timeout"}, {store.ErrNoSpace, "500"}, {store.ErrClosed, "503 ServiceUnavailable"},
		{errors.New("odd"), "500 InternalError "},
	} {
		failing.set(c.err)
		_, err := maps.Create(bg, f.configMap("a", "y", nil), CreateOptions{})
		expect(t, err, strings.TrimSpace(c.want))
		_, _, err = maps.Update(bg, "a", "x", to(func(c kind.Object) { c.SetLabels(map[string]string{"a": "b"}) }), UpdateOptions{})
		expect(t, err, strings.TrimSpace(c.want))
		_, _, err = maps.Delete(bg, "a", "x", DeleteOptions{})
		expect(t, err, strings.TrimSpace(c.want))
	}
	failing.set(nil)
	b.catchUp(t)
	b.outstanding.mu.Lock()
	defer b.outstanding.mu.Unlock()
	if b.outstanding.count != 0 || len(b.outstanding.byKey) != 0 {
		t.Errorf("%d failed writes are left", b.outstanding.count)
	}
}

type failingStore struct {
	store.Store
	mu  sync.Mutex
	err error
}

func (s *failingStore) set(err error) { s.mu.Lock(); s.err = err; s.mu.Unlock() }
func (s *failingStore) get() error    { s.mu.Lock(); defer s.mu.Unlock(); return s.err }

func (s *failingStore) Create(ctx context.Context, k string, v []byte, ttl time.Duration) (int64, error) {
	if err := s.get(); err != nil {
		return 0, err
	}
	return s.Store.Create(ctx, k, v, ttl)
}

func (s *failingStore) Update(ctx context.Context, k string, expect int64, v []byte, ttl time.Duration) (int64, error) {
	if err := s.get(); err != nil {
		return 0, err
	}
	return s.Store.Update(ctx, k, expect, v, ttl)
}

func (s *failingStore) Delete(ctx context.Context, k string, expect int64) (int64, error) {
	if err := s.get(); err != nil {
		return 0, err
	}
	return s.Store.Delete(ctx, k, expect)
}
