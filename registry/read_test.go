package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

func names(items []*Item) string {
	var all []string
	for _, i := range items {
		all = append(all, i.Namespace()+"/"+i.Name())
	}
	return strings.Join(all, " ")
}

func fieldSelector(t testing.TB, s string) fields.Selector {
	t.Helper()
	if s == "" {
		return nil
	}
	return must(fields.ParseSelector(s))(t)
}

func labelSelector(t testing.TB, s string) labels.Selector {
	t.Helper()
	if s == "" {
		return nil
	}
	return must(labels.Parse(s))(t)
}

func TestListSelects(t *testing.T) { forEachForm(t, testListSelects) }

func testListSelects(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	pods := b.resource(t, "pods")
	for n, ns := range []string{"a", "a", "a", "b", "b", "ab"} {
		p := f.pod(ns, fmt.Sprintf("p%d", n), fmt.Sprintf("n%d", n%2))
		p.SetLabels(map[string]string{"n": fmt.Sprint(n), "app": "x"})
		must(pods.Create(bg, p, CreateOptions{}))(t)
	}
	for _, c := range []struct{ namespace, label, field, want string }{
		{"", "", "", "a/p0 a/p1 a/p2 ab/p5 b/p3 b/p4"},
		{"a", "", "", "a/p0 a/p1 a/p2"},
		{"b", "", "", "b/p3 b/p4"},
		{"c", "", "", ""},
		{"", "n in (0,3)", "", "a/p0 b/p3"},
		{"", "n>2,n<5", "", "b/p3 b/p4"},
		{"", "!app", "", ""},
		{"", "", "metadata.name=p3", "b/p3"},
		{"a", "", "metadata.name=p3", ""},
		{"a", "", "metadata.name=p1", "a/p1"},
		{"a", "n=2", "metadata.name=p1", ""},
		{"", "", "metadata.namespace=a", "a/p0 a/p1 a/p2"},
		{"b", "", "metadata.namespace=a", ""},
		{"", "", "metadata.namespace!=a", "ab/p5 b/p3 b/p4"},
		{"", "", "spec.nodeName=n0", "a/p0 a/p2 b/p4"},
		{"a", "", "spec.nodeName=n0", "a/p0 a/p2"},
		{"a", "n=2", "spec.nodeName=n0", "a/p2"},
		{"", "", "spec.nodeName!=n0", "a/p1 ab/p5 b/p3"},
		{"", "", "spec.nodeName=n9", ""},
		{"", "", "status.phase=Pending,spec.nodeName=n1", "a/p1 ab/p5 b/p3"},
		{"", "", "status.phase!=Pending", ""},
	} {
		for _, version := range []string{"", "0"} {
			list := must(pods.List(bg, ListOptions{Namespace: c.namespace, Label: labelSelector(t, c.label), Field: fieldSelector(t, c.field), ResourceVersion: version}))(t)
			if version == "0" {
				b.catchUp(t)
			}
			if got := names(list.Items); got != c.want {
				t.Errorf("%+v at %q: %s", c, version, got)
			}
			if list.Revision != b.Applied() {
				t.Errorf("%+v: revision %d instead of %d", c, list.Revision, b.Applied())
			}
		}
	}
}

func TestListOptions(t *testing.T) { forEachForm(t, testListOptions) }

func testListOptions(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	for n := range 5 {
		must(maps.Create(bg, f.configMap("a", fmt.Sprintf("x%d", n), nil), CreateOptions{}))(t)
	}
	b.catchUp(t)
	now := fmt.Sprint(b.Applied())
	exact, least := metav1.ResourceVersionMatchExact, metav1.ResourceVersionMatchNotOlderThan
	token := must(maps.List(bg, ListOptions{Limit: 2}))(t).Continue
	for _, c := range []struct {
		name string
		o    ListOptions
		want string
	}{
		{"everything", ListOptions{}, "ok 5"},
		{"limit", ListOptions{Limit: 2}, "ok 2 more, 3 left"},
		{"limit that just fits", ListOptions{Limit: 5}, "ok 5"},
		{"limit ignored at 0", ListOptions{Limit: 2, ResourceVersion: "0"}, "ok 5"},
		{"negative limit", ListOptions{Limit: -1}, "ok 5"},
		{"not older", ListOptions{ResourceVersion: now, ResourceVersionMatch: least}, "ok 5"},
		{"not older, with limit", ListOptions{ResourceVersion: "1", ResourceVersionMatch: least, Limit: 2}, "ok 2 more, 3 left"},
		{"exact", ListOptions{ResourceVersion: now, ResourceVersionMatch: exact}, "ok 5"},
		{"limit makes it exact", ListOptions{ResourceVersion: "3", Limit: 9}, "ok 2"},
		{"exact past", ListOptions{ResourceVersion: "4", ResourceVersionMatch: exact}, "ok 3"},
		{"exact past with limit", ListOptions{ResourceVersion: "4", ResourceVersionMatch: exact, Limit: 2}, "ok 2 more, 1 left"},
		{"continue", ListOptions{Limit: 2, Continue: token}, "ok 2 more, 1 left"},
		{"continue at 0", ListOptions{Continue: token, ResourceVersion: "0"}, "ok 3"},
		{"continue and revision", ListOptions{Continue: token, ResourceVersion: now}, "400 BadRequest"},
		{"bad continue", ListOptions{Continue: "bogus"}, "400 BadRequest"},
		{"bad revision", ListOptions{ResourceVersion: "abc"}, "400 BadRequest"},
		{"match alone", ListOptions{ResourceVersionMatch: exact}, "422 Invalid resourceVersionMatch"},
		{"exact 0", ListOptions{ResourceVersionMatch: exact, ResourceVersion: "0"}, "422 Invalid resourceVersionMatch"},
		{"unknown match", ListOptions{ResourceVersionMatch: "x", ResourceVersion: "1"}, "422 Invalid resourceVersionMatch"},
		{"match and continue", ListOptions{ResourceVersionMatch: least, ResourceVersion: "1", Continue: token}, "422 Invalid resourceVersionMatch"},
	} {
		list, err := maps.List(bg, c.o)
		got := answer(err)
		if err == nil {
			got = fmt.Sprintf("ok %d", len(list.Items))
			if list.Continue != "" {
				got += " more"
			}
			if list.Remaining != nil {
				got += fmt.Sprintf(", %d left", *list.Remaining)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q instead of %q (%v)", c.name, got, c.want, err)
		}
	}
}

// All pages of a list show the moment of the first, whether the mirror remembers it or the store.
func TestPages(t *testing.T) { forEachForm(t, testPages) }

func testPages(t *testing.T, f testForm) {
	for _, forget := range []bool{false, true} {
		b := f.start(t, Options{})
		pods := b.resource(t, "pods")
		for n := range 10 {
			must(pods.Create(bg, f.pod([]string{"a", "b"}[n/5], fmt.Sprintf("p%d", n), ""), CreateOptions{}))(t)
		}
		for _, c := range []struct {
			namespace, field, want string
			remaining              []int64
		}{
			{"", "", "a/p0 a/p1 a/p2 | a/p3 a/p4 b/p5 | b/p6 b/p7 b/p8 | b/p9", []int64{7, 4, 1, -1}},
			{"b", "", "b/p5 b/p6 b/p7 | b/p8 b/p9", []int64{2, -1}},
			{"", "metadata.name!=p1", "a/p0 a/p2 a/p3 | a/p4 b/p5 b/p6 | b/p7 b/p8 b/p9", []int64{-1, -1, -1}},
			{"", "spec.nodeName=", "a/p0 a/p1 a/p2 | a/p3 a/p4 b/p5 | b/p6 b/p7 b/p8 | b/p9", []int64{-1, -1, -1, -1}},
		} {
			o := ListOptions{Namespace: c.namespace, Field: fieldSelector(t, c.field), Limit: 3}
			var pages []string
			var remaining []int64
			revision := int64(0)
			for {
				list := must(pods.List(bg, o))(t)
				pages = append(pages, names(list.Items))
				if revision == 0 {
					revision = list.Revision
				}
				if list.Revision != revision {
					t.Errorf("page %d at %d instead of %d", len(pages), list.Revision, revision)
				}
				left := int64(-1)
				if list.Remaining != nil {
					left = *list.Remaining
				}
				remaining = append(remaining, left)
				if o.Continue = list.Continue; o.Continue == "" {
					break
				}
				// The table changes between the pages.
				must(pods.Create(bg, f.pod("a", fmt.Sprintf("p0x%d", b.Applied()), ""), CreateOptions{}))(t)
				free(t, pods, "b", "p9")
				must(pods.Create(bg, f.pod("b", "p9", ""), CreateOptions{}))(t)
				b.catchUp(t)
				if forget {
					pods.table.mu.Lock()
					pods.table.kept = nil
					pods.table.mu.Unlock()
				}
			}
			if got := strings.Join(pages, " | "); got != c.want || !slices.Equal(remaining, c.remaining) {
				t.Errorf("forget=%v %+v:\n%s %v", forget, c, got, remaining)
			}
			for i := range pods.All("a") {
				if strings.HasPrefix(i.Name(), "p0x") {
					free(t, pods, "a", i.Name())
				}
			}
			b.catchUp(t)
		}
	}
}

func TestExpiredPages(t *testing.T) { forEachForm(t, testExpiredPages) }

func testExpiredPages(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	for n := range 5 {
		must(maps.Create(bg, f.configMap("a", fmt.Sprintf("x%d", n), nil), CreateOptions{}))(t)
	}
	first := must(maps.List(bg, ListOptions{Limit: 2}))(t)
	must(maps.Create(bg, f.configMap("a", "x1a", nil), CreateOptions{}))(t)
	must(maps.Create(bg, f.configMap("a", "x3a", nil), CreateOptions{}))(t)
	b.catchUp(t)
	maps.table.mu.Lock()
	maps.table.kept = nil
	maps.table.mu.Unlock()
	if err := b.store.Compact(bg, b.Applied()); err != nil {
		t.Fatal(err)
	}
	_, err := maps.List(bg, ListOptions{Limit: 2, Continue: first.Continue})
	expect(t, err, "410 Expired")
	status := err.(apierrors.APIStatus).Status()
	if status.Continue == "" {
		t.Fatal("no token to go on with")
	}
	rest := must(maps.List(bg, ListOptions{Limit: 9, Continue: status.Continue}))(t)
	if got := names(rest.Items); got != "a/x1a a/x2 a/x3 a/x3a a/x4" || rest.Revision != b.Applied() {
		t.Errorf("%s at %d", got, rest.Revision)
	}
	_, err = maps.List(bg, ListOptions{ResourceVersion: "2", ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	expect(t, err, "410 Expired")
}

func TestGetForms(t *testing.T) { forEachForm(t, testGetForms) }

func testGetForms(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	i := must(maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}))(t)
	b.catchUp(t)
	for version, want := range map[string]string{"": "ok", "0": "ok", "1": "ok", i.Object().GetResourceVersion(): "ok", "x": "500", "-1": "500"} {
		_, err := maps.Get(bg, "a", "x", version)
		expect(t, err, want)
	}
	_, err := maps.Get(bg, "a", "y", "")
	expect(t, err, "404 NotFound")
	if s := err.(apierrors.APIStatus).Status(); s.Details.Kind != "configmaps" || s.Details.Name != "y" {
		t.Errorf("details %+v", s.Details)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := maps.Get(ctx, "a", "x", "1000"); err != context.Canceled {
		t.Error(err)
	}
	// A revision that is yet to come is waited for.
	done := make(chan error)
	go func() {
		_, err := maps.Get(bg, "a", "later", fmt.Sprint(i.Revision()+1))
		done <- err
	}()
	must(maps.Create(bg, f.configMap("a", "later", nil), CreateOptions{}))(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTooLargeRevision(t *testing.T) {
	f := generated // it is the registry's alone
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	err := error(tooLarge(100, b.Applied()))
	if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
	defer cancel()
	if _, err := maps.List(ctx, ListOptions{ResourceVersion: "100"}); err != context.DeadlineExceeded {
		t.Error(err)
	}
	// Clients that ask for what never comes must not fill the memory.
	if n := b.waiting.count.Load(); n != 0 || len(b.waiting.gates) != 0 {
		t.Errorf("%d revisions are waited for by nobody", n)
	}
}

// Consistent reads that wait at the same moment share one question to the store.
func TestFreshIsShared(t *testing.T) {
	f := generated // it is the registry's alone
	slow := &slowRevision{Store: memory.New(), gate: make(chan struct{})}
	t.Cleanup(func() { slow.Close() })
	b := f.start(t, Options{Store: slow})
	var wait sync.WaitGroup
	read := func() {
		defer wait.Done()
		if _, err := b.Fresh(bg); err != nil {
			t.Error(err)
		}
	}
	wait.Add(1)
	go read()
	for slow.asked.Load() == 0 { // until the first question is on its way
		runtime.Gosched()
	}
	wait.Add(50)
	for range 50 {
		go read()
	}
	for b.Stats().ConsistentReads < 51 {
		runtime.Gosched()
	}
	close(slow.gate)
	wait.Wait()
	if n := slow.asked.Load(); n != 2 || b.Stats().RevisionReads != 2 {
		t.Errorf("%d questions for 51 readers", n)
	}
}

type slowRevision struct {
	store.Store
	gate  chan struct{}
	asked atomic.Int64
}

func (s *slowRevision) Revision(ctx context.Context) (int64, error) {
	s.asked.Add(1)
	<-s.gate
	return s.Store.Revision(ctx)
}

// A key outside the mirror moves the store's revision too: a consistent read must not wait for ever.
func TestFreshPastForeignKeys(t *testing.T) { forEachForm(t, testFreshPastForeignKeys) }

func testFreshPastForeignKeys(t *testing.T, f testForm) {
	b := f.start(t, Options{Log: slog.New(slog.DiscardHandler)})
	for _, key := range []string{"/elsewhere/x", "/registry/unknown/x", "/registry/pods/noname", "compact_rev_key"} {
		revision := must(b.store.Create(bg, key, []byte("x"), 0))(t)
		if got := must(b.Fresh(bg))(t); got < revision || b.Applied() < revision {
			t.Errorf("%s: fresh at %d, written at %d", key, got, revision)
		}
	}
	if n := b.Stats().UnknownKeys; n != 2 {
		t.Errorf("%d unknown keys", n)
	}
	must(b.store.Create(bg, "/registry/configmaps/a/x", []byte("noise"), 0))(t)
	b.catchUp(t)
	for _, s := range b.Stats().Resources {
		if want := s.Resource.Resource == "configmaps"; (s.Unreadable == 1) != want || (s.ReadFailures == 1) != want {
			t.Errorf("%s: %d unreadable values, %d read failures", s.Resource, s.Unreadable, s.ReadFailures)
		}
	}
}

func TestViews(t *testing.T) { forEachForm(t, testViews) }

func testViews(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	pods := b.resource(t, "pods")
	owned := f.pod("a", "owned", "n1")
	owned.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "o", UID: "u1"}, {APIVersion: "v1", Kind: "Pod", Name: "o", UID: "u2"}})
	must(pods.Create(bg, owned, CreateOptions{}))(t)
	must(pods.Create(bg, f.pod("a", "other", "n2"), CreateOptions{}))(t)
	b.catchUp(t)
	collect := func(f func(func(*Item) bool)) string { return names(slices.Collect(f)) }
	show := func() string {
		return strings.Join([]string{collect(pods.OwnedBy("u1")), collect(pods.OwnedBy("u2")), collect(pods.ByField("spec.nodeName", "n1")),
			collect(pods.ByField("spec.nodeName", "n2")), collect(pods.ByField("status.phase", "Pending")), collect(pods.All("a"))}, ", ")
	}
	if got := show(); got != "a/owned, a/owned, a/owned, a/other, a/other a/owned, a/other a/owned" {
		t.Error(got)
	}
	_, _, err := pods.Update(bg, "a", "owned", to(func(p kind.Object) {
		p.SetOwnerReferences(p.GetOwnerReferences()[1:])
		set(p, "spec.nodeName", "n2")
	}), UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.catchUp(t)
	if got := show(); got != ", a/owned, , a/other a/owned, a/other a/owned, a/other a/owned" {
		t.Error(got)
	}
	free(t, pods, "a", "owned")
	b.catchUp(t)
	if got := show(); got != ", , , a/other, a/other, a/other" {
		t.Error(got)
	}
	if pods.table.owners.entries.Len() != 0 || pods.table.fields[0].entries.Len() != 1 || pods.table.namespaces["a"] != 1 {
		t.Error("indexes keep what is gone")
	}
	if pods.Peek("a", "owned") != nil || pods.Peek("a", "other") == nil || pods.Len() != 1 {
		t.Error("Peek or Len is wrong")
	}
	if _, err := json.Marshal(b.Stats()); err != nil {
		t.Error(err)
	}
}
