package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func TestDelete(t *testing.T) { forEachForm(t, testDelete) }

func testDelete(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	seconds := func(n int64) DeleteOptions {
		return DeleteOptions{DeleteOptions: metav1.DeleteOptions{GracePeriodSeconds: &n}}
	}
	policy := func(p metav1.DeletionPropagation) DeleteOptions {
		return DeleteOptions{DeleteOptions: metav1.DeleteOptions{PropagationPolicy: &p}}
	}
	state := func(i *Item, removed bool, err error) string {
		if err != nil {
			return answer(err)
		}
		o := i.Object()
		text := fmt.Sprintf("removed=%v", removed)
		if at := o.GetDeletionTimestamp(); at != nil {
			text += fmt.Sprintf(" at=%+.0f", at.Sub(b.clock.now.Truncate(time.Second)).Seconds())
		}
		if g := o.GetDeletionGracePeriodSeconds(); g != nil {
			text += fmt.Sprintf(" grace=%d", *g)
		}
		if f := o.GetFinalizers(); len(f) > 0 {
			text += " " + strings.Join(f, ",")
		}
		if g := o.GetGeneration(); g > 0 {
			text += fmt.Sprintf(" generation=%d", g)
		}
		return text
	}
	orphan, foreground := policy(metav1.DeletePropagationOrphan), policy(metav1.DeletePropagationForeground)
	yes := true
	for _, c := range []struct {
		name, resource string
		o              kind.Object
		do             []DeleteOptions
		want           []string
	}{
		{"at once", "configmaps", f.configMap("a", "x", nil), []DeleteOptions{{}, {}}, []string{"removed=true", "404 NotFound"}},
		{"finalizer", "configmaps", finalized(f.configMap("a", "x", nil), "f/x"), []DeleteOptions{{}, {}},
			[]string{"removed=false at=+0 grace=0 f/x", "removed=false at=+0 grace=0 f/x"}},
		{"orphan", "configmaps", f.configMap("a", "x", nil), []DeleteOptions{orphan, {}}, []string{"removed=false at=+0 grace=0 orphan", "removed=false at=+0 grace=0 orphan"}},
		{"orphan in the old way", "configmaps", f.configMap("a", "x", nil), []DeleteOptions{{DeleteOptions: metav1.DeleteOptions{OrphanDependents: &yes}}}, []string{"removed=false at=+0 grace=0 orphan"}},
		{"foreground", "configmaps", finalized(f.configMap("a", "x", nil), "f/x"), []DeleteOptions{foreground, policy(metav1.DeletePropagationBackground)},
			[]string{"removed=false at=+0 grace=0 f/x,foregroundDeletion", "removed=false at=+0 grace=0 f/x"}},
		{"both ways", "configmaps", f.configMap("a", "x", nil), []DeleteOptions{{DeleteOptions: metav1.DeleteOptions{OrphanDependents: &yes, PropagationPolicy: orphan.PropagationPolicy}}},
			[]string{"422 Invalid propagationPolicy"}},
		{"pod without a node", "pods", f.pod("a", "x", ""), []DeleteOptions{{}}, []string{"removed=true at=+0 grace=0 generation=2"}},
		{"pod on a node", "pods", f.pod("a", "x", "n"), []DeleteOptions{{}, {}, seconds(40), seconds(10), seconds(0)},
			[]string{"removed=false at=+30 grace=30 generation=2", "removed=false at=+30 grace=30 generation=2", "removed=false at=+30 grace=30 generation=2",
				"removed=false at=+10 grace=10 generation=2", "removed=true at=+0 grace=0 generation=2"}},
		{"negative grace", "pods", f.pod("a", "x", "n"), []DeleteOptions{seconds(-5)}, []string{"removed=false at=+1 grace=1 generation=2"}},
		{"pod with a finalizer", "pods", finalized(f.pod("a", "x", "n"), "f/x"), []DeleteOptions{seconds(0), seconds(0)},
			[]string{"removed=false at=+0 grace=0 f/x generation=2", "removed=false at=+0 grace=0 f/x generation=2"}},
		{"missing", "configmaps", nil, []DeleteOptions{{}}, []string{"404 NotFound"}},
		{"another uid", "configmaps", f.configMap("a", "x", nil), []DeleteOptions{{DeleteOptions: metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: uid("u")}}}}, []string{"409 Conflict"}},
		{"dry run", "configmaps", f.configMap("a", "x", nil), []DeleteOptions{{DryRun: true}, {}}, []string{"removed=true", "removed=true"}},
		{"dry run with grace", "pods", f.pod("a", "x", "n"), []DeleteOptions{{DryRun: true}, seconds(0)}, []string{"removed=false at=+30 grace=30 generation=2", "removed=true at=+0 grace=0 generation=2"}},
		{"service", "services", f.service("a", "x"), []DeleteOptions{foreground}, []string{"removed=false at=+0 grace=0 foregroundDeletion"}},
	} {
		r := b.resource(t, c.resource)
		if c.o != nil {
			must(r.Create(bg, c.o, CreateOptions{}))(t)
		}
		for n, o := range c.do {
			if got := state(r.Delete(bg, "a", "x", o)); got != c.want[n] {
				t.Errorf("%s, deletion %d: %s instead of %s", c.name, n, got, c.want[n])
			}
		}
		free(t, r, "a", "x")
	}
}

func finalized[T kind.Object](o T, finalizers ...string) T {
	o.SetFinalizers(finalizers)
	return o
}

// free makes sure that an object is gone.
func free(t *testing.T, r *Resource, namespace, name string) {
	t.Helper()
	_, _, err := r.Update(bg, namespace, name, func(_ context.Context, old kind.Object) (kind.Object, error) {
		next := kind.Copy(old)
		next.SetFinalizers(nil)
		return next, nil
	}, UpdateOptions{Trusted: true})
	if apierrors.IsNotFound(err) {
		return
	}
	zero := int64(0)
	if _, _, err := r.Delete(bg, namespace, name, DeleteOptions{DeleteOptions: metav1.DeleteOptions{GracePeriodSeconds: &zero}}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

func TestLastFinalizerRemoves(t *testing.T) { forEachForm(t, testLastFinalizerRemoves) }

func testLastFinalizerRemoves(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps, pods := b.resource(t, "configmaps"), b.resource(t, "pods")
	must(maps.Create(bg, finalized(f.configMap("a", "x", nil), "f/x", "f/y"), CreateOptions{}))(t)
	if _, removed, err := maps.Delete(bg, "a", "x", DeleteOptions{}); removed || err != nil {
		t.Fatal(removed, err)
	}
	without := func(names ...string) Change {
		return to(func(c kind.Object) {
			c.SetFinalizers(slices.DeleteFunc(slices.Clone(c.GetFinalizers()), func(f string) bool { return slices.Contains(names, f) }))
		})
	}
	_, _, err := maps.Update(bg, "a", "x", to(func(c kind.Object) { c.SetFinalizers(append(slices.Clone(c.GetFinalizers()), "f/z")) }), UpdateOptions{})
	expect(t, err, "422 Invalid metadata.finalizers")
	if _, err := maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}); answer(err) != "409 AlreadyExists" || !strings.HasPrefix(err.Error(), "object is being deleted: ") {
		t.Error(err)
	}
	if _, _, err := maps.Update(bg, "a", "x", without("f/x"), UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := maps.Update(bg, "a", "x", without("f/y"), UpdateOptions{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	must(maps.Get(bg, "a", "x", ""))(t)
	i, _, err := maps.Update(bg, "a", "x", without("f/y"), UpdateOptions{})
	if err != nil || len(i.Object().GetFinalizers()) != 0 {
		t.Fatal(i, err)
	}
	_, err = maps.Get(bg, "a", "x", "")
	expect(t, err, "404 NotFound")
	if now := must(b.store.Revision(bg))(t); i.Revision() != now {
		t.Errorf("the item is at %d, the deletion at %d", i.Revision(), now)
	}

	// A pod in its grace is not removed by losing its finalizer.
	must(pods.Create(bg, finalized(f.pod("a", "p", "n"), "f/x"), CreateOptions{}))(t)
	if _, _, err := pods.Delete(bg, "a", "p", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := pods.Update(bg, "a", "p", to(func(p kind.Object) { p.SetFinalizers(nil) }), UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	must(pods.Get(bg, "a", "p", ""))(t)
}

func TestNamespaceWaitsForItsContent(t *testing.T) { forEachForm(t, testNamespaceWaitsForItsContent) }

func testNamespaceWaitsForItsContent(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	namespaces := b.resource(t, "namespaces")
	must(namespaces.Create(bg, f.make(&corev1.Namespace{}, "ignored", "n"), CreateOptions{}))(t)
	for range 2 {
		i, removed, err := namespaces.Delete(bg, "", "n", DeleteOptions{})
		if err != nil || removed {
			t.Fatal(removed, err)
		}
		if n := i.Object(); get(n, "status.phase") != "Terminating" || n.GetDeletionTimestamp() == nil || n.GetDeletionGracePeriodSeconds() != nil {
			t.Errorf("%+v", n)
		}
	}
	_, _, err := namespaces.Update(bg, "", "n", to(func(n kind.Object) { setSpecFinalizers(n, "") }), UpdateOptions{Part: "finalize"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = namespaces.Get(bg, "", "n", "")
	expect(t, err, "404 NotFound")
}

func TestDeleteCollection(t *testing.T) { forEachForm(t, testDeleteCollection) }

func testDeleteCollection(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	for n := range 100 {
		must(maps.Create(bg, f.configMap([]string{"a", "b"}[n%2], fmt.Sprintf("x%02d", n), map[string]string{"third": fmt.Sprint(n % 3)}), CreateOptions{}))(t)
	}
	selector, err := labels.Parse("third=1")
	if err != nil {
		t.Fatal(err)
	}
	list := must(maps.DeleteCollection(bg, ListOptions{Namespace: "a", Label: selector}, DeleteOptions{}))(t)
	if len(list.Items) != 16 {
		t.Errorf("%d deleted", len(list.Items))
	}
	list = must(maps.DeleteCollection(bg, ListOptions{Namespace: "a", Limit: 3}, DeleteOptions{}))(t)
	if len(list.Items) != 3 || list.Continue == "" {
		t.Errorf("%d deleted", len(list.Items))
	}
	refuse := apierrors.NewForbidden(maps.gr(), "x", errors.New("no"))
	_, err = maps.DeleteCollection(bg, ListOptions{Namespace: "b"}, DeleteOptions{Admit: func(context.Context, kind.Object) error { return refuse }})
	expect(t, err, "403 Forbidden")
	must(maps.DeleteCollection(bg, ListOptions{Namespace: "b"}, DeleteOptions{DryRun: true}))(t)
	b.catchUp(t)
	if maps.Len() != 81 {
		t.Errorf("%d left", maps.Len())
	}
}
