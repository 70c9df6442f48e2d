package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// TestObjectKeys: which keys may be objects' and of which namespace.
func TestObjectKeys(t *testing.T) {
	for key, want := range map[string]string{
		"/registry/statefulsets/a/x":                               "a",
		"/registry/example.com/widgets/a/x":                        "a",
		"/registry/services/specs/a/x":                             "a",
		"/registry/flowschemas/x":                                  "-",
		"/registry/example.com/widgets/x":                          "-",
		"/registry/apiregistration.k8s.io/apiservices/v1.":         "-",
		"/registry/ranges/serviceips":                              "",
		"/registry/masterleases/10.0.0.1":                          "",
		"/registry/peerserverleases/x":                             "",
		"/registry/wheelhouse/terms/kube-scheduler":                "",
		"/registry/wheelhouse/store":                               "",
		"/registry/pods/a/x/y":                                     "",
		"/registry/example.com/widgets/a/x/y":                      "",
		"/registry/example.com/widgets/":                           "",
		"/registry/example.com/x":                                  "",
		"/registry/pods//x":                                        "",
		"/registry/pods/not_a_namespace/x":                         "",
		"/registry/" + "widgets/" + strings.Repeat("a", 64) + "/x": "",
		"/registry/x":                                              "",
		"/elsewhere/a/x":                                           "",
	} {
		namespace, ok := objectKey(key)
		if ok && namespace == "" {
			namespace = "-"
		}
		if namespace != want && (ok || want != "") {
			t.Errorf("%s: namespace %q, an object's: %v", key, namespace, ok)
		}
	}
}

// straysOf tells which keys the registry's error names.
func straysOf(b *bench, namespace string, owner types.UID) string {
	err := b.Strays(namespace, owner)
	if err == nil {
		return ""
	}
	var status *apierrors.StatusError
	if !errors.As(err, &status) || !apierrors.IsStoreReadError(err) {
		return err.Error()
	}
	var keys []string
	for _, c := range status.ErrStatus.Details.Causes {
		keys = append(keys, c.Field[strings.LastIndexByte(c.Field, '/')+1:])
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

// TestStrays: what is stored of a kind that is not served is known by namespace and by owner, whether the kind was removed, has not come
// yet, or was there before a restart; it is forgotten when it is deleted, and when the kind is there.
func TestStrays(t *testing.T) { forEachForm(t, testStrays) }

func testStrays(t *testing.T, f testForm) {
	ctx := t.Context()
	changing, whole := f.pair(t)
	owned := func(namespace, name string, uids ...types.UID) kind.Object {
		w := f.widget(name)
		w.SetNamespace(namespace)
		for _, uid := range uids {
			w.SetOwnerReferences(append(w.GetOwnerReferences(), metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "o", UID: uid}))
		}
		return w
	}
	expect := func(when string, b *bench, want string) {
		t.Helper()
		b.catchUp(t)
		var have []string
		for _, ask := range []struct {
			namespace string
			owner     types.UID
		}{{"", ""}, {"a", ""}, {"b", ""}, {"c", ""}, {"", "u"}, {"a", "u"}, {"b", "u"}, {"", "v"}} {
			have = append(have, straysOf(b, ask.namespace, ask.owner))
		}
		if got := strings.Join(have, "|"); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	all := of(t, whole)
	must(all.Create(ctx, owned("a", "x", "u"), CreateOptions{}))(t)
	must(all.Create(ctx, owned("a", "y"), CreateOptions{}))(t)
	must(all.Create(ctx, owned("b", "z", "u", "v"), CreateOptions{}))(t)
	must(whole.store.Create(ctx, "/registry/widgets/b/noise", []byte("noise"), 0))(t)
	must(whole.store.Create(ctx, "/registry/example.com/json/b/j", []byte(`{"metadata":{"name":"j","namespace":"b","ownerReferences":[{"uid":"v"}]}}`), 0))(t)
	must(whole.store.Create(ctx, Own+"terms/a", []byte("noise"), 0))(t)
	const before = "j noise x y z|x y|j noise z||noise x z|x|noise z|j noise z"
	expect("before", changing, before)
	if err := changing.Add(ctx, f.widgets(false)); err != nil {
		t.Fatal(err)
	}
	expect("served", changing, "j||j|||||j")
	must(all.Create(ctx, owned("c", "w"), CreateOptions{}))(t)
	changing.catchUp(t)
	if err := changing.Remove(ctx, f.widgets(false).GVR()); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[*kind.Kind]bool{f.widgets(false): false, f.kinds()[1]: true} {
		if empty, err := changing.Empty(ctx, kind); err != nil || empty != want {
			t.Errorf("no %s are stored: %v, %v", kind.Plural, empty, err)
		}
	}
	const removed = "j noise w x y z|x y|j noise z|w|noise x z|x|noise z|j noise z"
	expect("removed", changing, removed)
	expect("restarted", f.start(t, Options{Store: changing.store}), removed)
	changing.reload()
	must(second2(all.Update(ctx, "a", "x", to(func(c kind.Object) { c.SetOwnerReferences(nil) }), UpdateOptions{})))(t)
	must(second2(all.Update(ctx, "a", "y", to(func(c kind.Object) { c.SetOwnerReferences(owned("", "", "v").GetOwnerReferences()) }), UpdateOptions{})))(t)
	_, _, err := all.Delete(ctx, "c", "w", DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expect("changed", changing, "j noise x y z|x y|j noise z||noise z||noise z|j noise y z")
	if n := changing.Stats().UnknownKeys; n != 6 {
		t.Errorf("%d unknown keys", n)
	}
}

// TestSealedStrays: a stray that cannot be decrypted may be anybody's dependent, until it can be: then it is known whose, without a reload that
// anybody asks for, whether the kind was not there at the start, has gone since, or the value was sealed while it was a stray.
func TestSealedStrays(t *testing.T) { forEachForm(t, testSealedStrays) }

func testSealedStrays(t *testing.T, f testForm) {
	all, secretKind := f.kinds()[:4], f.kinds()[4]
	for how, begin := range map[string]func(l *locked){
		"from the start": func(l *locked) { l.use("b"); l.serve(all...) },
		"removed": func(l *locked) {
			l.use("b")
			l.start()
			if err := l.reg.Remove(t.Context(), secretKind.GVR()); err != nil {
				t.Fatal(err)
			}
		},
		"meanwhile": func(l *locked) { l.serve(all...); l.put("a", "x", "a"); l.use("b"); l.put("a", "x", "a") },
	} {
		t.Run(how, func(t *testing.T) {
			l := newLocked(t, f)
			l.start()
			secret := f.secret("a", "x")
			secret.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "o", UID: "u"}})
			i := must(l.secrets.Create(t.Context(), secret, CreateOptions{}))(t)
			if err := l.reg.WaitFor(t.Context(), i.Revision()); err != nil {
				t.Fatal(err)
			}
			begin(l)
			for _, owner := range []types.UID{"u", "v", ""} {
				if l.reg.Strays("a", owner) == nil {
					t.Errorf("nothing is known of a stray of owner %q", owner)
				}
			}
			l.use("ba")
			l.reg.Unseal()
			eventuallyTrue(t, "the stray's owners are known", func() bool { return l.reg.Strays("a", "v") == nil })
			if l.reg.Strays("a", "u") == nil || l.reg.Strays("a", "") == nil || l.reg.Strays("b", "u") != nil {
				t.Error("the stray has gone")
			}
			eventuallyTrue(t, "nothing is tried any more", func() bool { return !l.reg.unsealing.running.Load() })
		})
	}
}

// TestSealedStraysOfEachKindAreTried: however many values of one kind stay sealed, those of others are found.
func TestSealedStraysOfEachKindAreTried(t *testing.T) {
	s := newStrays()
	for n := range 10 * unsealTries {
		s.put(fmt.Sprintf("/registry/secrets/a/%d", n), stray{namespace: "a", object: true, opaque: true, sealed: true})
	}
	s.put("/registry/example.com/widgets/x", stray{object: true, opaque: true, sealed: true})
	keys := s.sealedKeys(unsealTries)
	if len(keys) != unsealTries+1 || !slices.Contains(keys, "/registry/example.com/widgets/x") {
		t.Errorf("%d are tried: %v", len(keys), keys)
	}
	for key := range maps.Clone(s.byKey) {
		s.drop(key)
	}
	if s.anySealed() || len(s.sealedKeys(1)) != 0 {
		t.Error("what is gone is tried")
	}
}

// TestRemovedKindsLeaveWhatARestartFinds: of a value that cannot be read the same is known after its kind was removed as after a restart
// without the kind. Whatever may be anything may be anybody's dependent.
func TestRemovedKindsLeaveWhatARestartFinds(t *testing.T) {
	forEachForm(t, testRemovedKindsLeaveWhatARestartFinds)
}

func testRemovedKindsLeaveWhatARestartFinds(t *testing.T, f testForm) {
	owned := strings.NewReplacer(`"uid":"u"`, `"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"o","uid":"o"}],"uid":"u"`)
	info, known, opaque := f.kinds()[0], 0, 0
	for name, value := range f.corruptions(t) {
		for _, value := range []string{value, owned.Replace(value)} {
			l := newLocked(t, f)
			l.start()
			l.putRaw(damaged, []byte(value))
			if l.reg.Stats().Resources[0].Unreadable != 1 {
				continue // its owners can be read, so it is no matter of this test
			}
			removed := l.reg
			if err := removed.Remove(t.Context(), info.GVR()); err != nil {
				t.Fatal(err)
			}
			l.serve(f.kinds()[1:]...)
			for _, owner := range []types.UID{"", "o", "other"} {
				before, after := removed.Strays("a", owner), l.reg.Strays("a", owner)
				if (before == nil) != (after == nil) {
					t.Errorf("%s: dependents of %q after the kind was removed: %v; after a restart: %v", name, owner, before, after)
				}
			}
			if l.reg.Strays("a", "other") == nil {
				known++
				continue
			}
			opaque++
			if l.reg.Strays("a", "o") == nil {
				t.Errorf("%s: nothing is known, but not whose it is either", name)
			}
		}
	}
	if known == 0 || opaque < 10 {
		t.Errorf("the owners of %d values are known, those of %d are not", known, opaque)
	}
}

// TestStraysOfOtherNames: what says that it is another object than its key promises tells nothing of the one that the key promises.
func TestStraysOfOtherNames(t *testing.T) {
	for value, opaque := range map[string]bool{
		`{"metadata":{"name":"x","namespace":"a"}}`: false, `{"metadata":{"name":"y","namespace":"a"}}`: true, `{"metadata":{"name":"x","namespace":"b"}}`: true,
		`{"metadata":{"name":"x"}}`: true, `{"metadata":{}}`: true, `{}`: true, "": true,
	} {
		if s := strayOf(&store.Entry{Key: "/registry/widgets/a/x", Value: []byte(value)}); s.opaque != opaque || !s.object {
			t.Errorf("%s: %+v", value, s)
		}
	}
}

func second2[T, U any](v T, _ U, err error) (T, error) { return v, err }

// TestStraysBeforeTheLoad: nobody knows what is stored before everything has been read.
func TestStraysBeforeTheLoad(t *testing.T) { forEachForm(t, testStraysBeforeTheLoad) }

func testStraysBeforeTheLoad(t *testing.T, f testForm) {
	s := memory.New()
	defer s.Close()
	r, err := New(Options{Store: s, Kinds: f.kinds()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Strays("a", "") == nil {
		t.Error("it is known what is stored")
	}
}

// TestNoObjectIsUnseen: a kind comes and goes all the time, and at each moment its object is one of a kind that is among the kinds, or a
// stray. Who asks for strays last, and finds the kinds unchanged, has seen everything.
func TestNoObjectIsUnseen(t *testing.T) { forEachForm(t, testNoObjectIsUnseen) }

func testNoObjectIsUnseen(t *testing.T, f testForm) {
	changing, whole := f.pair(t)
	must(of(t, whole).Create(t.Context(), f.widget("x"), CreateOptions{}))(t)
	changing.catchUp(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		for ctx.Err() == nil {
			kinds, changed := changing.Kinds()
			served := len(kinds) > len(f.kinds())
			strays := changing.Strays("a", "") != nil
			if _, now := changing.Kinds(); now == changed && !served && !strays {
				done <- errors.New("the object is nowhere")
				return
			}
		}
		done <- nil
	}()
	for range 100 {
		if err := errors.Join(changing.Add(ctx, f.widgets(false)), changing.Remove(ctx, f.widgets(false).GVR())); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStraysMetadataHasOneName: a member in other letters is another member, to the server as to its clients.
func TestStraysMetadataHasOneName(t *testing.T) {
	for _, more := range []string{`"Metadata":{"ownerReferences":[]}`, `"METADATA":{"ownerReferences":[{"uid":"other"}]}`, `"Metadata":"noise"`} {
		value := `{"metadata":{"name":"x","namespace":"a","ownerReferences":[{"uid":"u"}]},` + more + `}`
		s := strayOf(&store.Entry{Key: "/registry/example.com/widgets/a/x", Value: []byte(value)})
		if s.opaque || len(s.owners) != 1 || s.owners[0] != "u" {
			t.Errorf("%s: %+v", value, s)
		}
	}
}
