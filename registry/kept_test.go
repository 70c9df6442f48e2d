package registry

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
)

// A continue token is good for a while, whether or not its own objects change, and however often it is used; then the client gets
// another one, with which it goes on at the present.
func TestTokensAge(t *testing.T) { forEachForm(t, testTokensAge) }

func testTokensAge(t *testing.T, f testForm) {
	for _, quiet := range []bool{true, false} {
		t.Run(fmt.Sprintf("quiet=%v", quiet), func(t *testing.T) {
			b := f.start(t, Options{})
			maps, pods := b.resource(t, "configmaps"), b.resource(t, "pods")
			for n := range 6 {
				must(maps.Create(bg, f.configMap("a", fmt.Sprintf("x%d", n), nil), CreateOptions{}))(t)
			}
			first := must(maps.List(bg, ListOptions{Limit: 2}))(t)
			if !quiet {
				must(maps.Create(bg, f.configMap("a", "x1a", nil), CreateOptions{}))(t)
			}
			for step := range 30 { // five minutes in which others write and the token is used
				must(pods.Create(bg, f.pod("a", fmt.Sprint("p", step), "n"), CreateOptions{}))(t)
				b.catchUp(t)
				page := must(maps.List(bg, ListOptions{Limit: 2, Continue: first.Continue}))(t)
				if names(page.Items) != "a/x2 a/x3" || page.Revision != first.Revision || *page.Remaining != 2 {
					t.Fatalf("after %d steps: %s", step, names(page.Items))
				}
				b.clock.add(10 * time.Second)
			}
			b.clock.add(10 * time.Second)
			must(pods.Create(bg, f.pod("a", "last", "n"), CreateOptions{}))(t)
			b.catchUp(t)
			_, err := maps.List(bg, ListOptions{Limit: 2, Continue: first.Continue})
			expect(t, err, "410 Expired")
			token := err.(apierrors.APIStatus).Status().Continue
			page := must(maps.List(bg, ListOptions{Limit: 2, Continue: token}))(t)
			if page.Revision <= first.Revision || len(page.Items) != 2 || page.Continue == "" {
				t.Errorf("going on: %s at %d after %d", names(page.Items), page.Revision, first.Revision)
			}
			must(maps.List(bg, ListOptions{Limit: 2, Continue: page.Continue}))(t)
			keeps := func() bool {
				maps.table.mu.RLock()
				defer maps.table.mu.RUnlock()
				return slices.ContainsFunc(maps.table.kept, func(s *snapshot) bool {
					return s.from <= first.Revision && first.Revision <= s.to && s != maps.table.now
				})
			}
			eventuallyTrue(t, "the old snapshot goes", func() bool { return !keeps() }) // a reader may go on before that
		})
	}
}

// A cluster in which nothing happens lets no token age: there is nothing that it would hold.
func TestTokensOfTheIdleStayGood(t *testing.T) { forEachForm(t, testTokensOfTheIdleStayGood) }

func testTokensOfTheIdleStayGood(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	for n := range 3 {
		must(maps.Create(bg, f.configMap("a", fmt.Sprintf("x%d", n), nil), CreateOptions{}))(t)
	}
	b.catchUp(t)
	first := must(maps.List(bg, ListOptions{Limit: 2}))(t)
	b.clock.add(time.Hour)
	must(maps.List(bg, ListOptions{Limit: 2, Continue: first.Continue}))(t)
}

// What only kept snapshots hold is bounded; their tokens go on with the store's history.
func TestKeptSnapshotsAreBounded(t *testing.T) { forEachForm(t, testKeptSnapshotsAreBounded) }

func testKeptSnapshotsAreBounded(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	for n := range 3 {
		must(maps.Create(bg, f.configMap("a", fmt.Sprintf("x%d", n), nil), CreateOptions{}))(t)
	}
	first := must(maps.List(bg, ListOptions{Limit: 1}))(t)
	const each = 4 << 20
	for n := range supersededMax/each + 2 {
		_, _, err := maps.Update(bg, "a", "x2", put(f.configMap("a", "x2", map[string]string{"n": fmt.Sprint(n), "text": strings.Repeat("x", each)})), UpdateOptions{Trusted: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	b.catchUp(t)
	maps.table.mu.RLock()
	kept := len(maps.table.kept)
	maps.table.mu.RUnlock()
	if kept > 0 {
		t.Errorf("%d snapshots are kept", kept)
	}
	if page := must(maps.List(bg, ListOptions{Limit: 1, Continue: first.Continue}))(t); names(page.Items) != "a/x1" || page.Revision != first.Revision {
		t.Errorf("the next page: %s", names(page.Items))
	}
	// Counts of pages are bounded too.
	s, _ := maps.table.snapshot()
	for n := range countsMax + 10 {
		maps.table.keep(s, pageStart{key: fmt.Sprint(n)}, 1, b.clock.Now(), true)
	}
	if len(s.remaining) > countsMax {
		t.Errorf("%d counts", len(s.remaining))
	}
}

// What is left of one namespace is told apart from what is left of all, though lists of both pause at the same object.
func TestWhatIsLeftIsOfTheList(t *testing.T) { forEachForm(t, testWhatIsLeftIsOfTheList) }

func testWhatIsLeftIsOfTheList(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	for n := range 12 {
		must(maps.Create(bg, f.configMap([]string{"a", "b"}[n/6], fmt.Sprintf("x%02d", n), nil), CreateOptions{}))(t)
	}
	b.catchUp(t)
	for _, namespaces := range [][]string{{"", "a"}, {"a", ""}} {
		maps.table.mu.Lock()
		clear(maps.table.snapshotLocked().remaining)
		maps.table.mu.Unlock()
		tokens := map[string]string{}
		for _, namespace := range namespaces {
			tokens[namespace] = must(maps.List(bg, ListOptions{Namespace: namespace, Limit: 2}))(t).Continue
		}
		for namespace, want := range map[string]int64{"a": 1, "": 7} {
			page := must(maps.List(bg, ListOptions{Namespace: namespace, Limit: 3, Continue: tokens[namespace]}))(t)
			if page.Remaining == nil || *page.Remaining != want {
				t.Errorf("lists of %q: in %q %v are left, not %d", namespaces, namespace, *page.Remaining, want)
			}
		}
	}
}

// A token that nobody made is refused though a name selector leaves it nothing to do.
func TestTokenBesideAName(t *testing.T) { forEachForm(t, testTokenBesideAName) }

func testTokenBesideAName(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	must(maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}))(t)
	b.catchUp(t)
	_, err := maps.List(bg, ListOptions{Namespace: "a", Field: fields.OneTermEqualSelector("metadata.name", "x"), Continue: "abc"})
	expect(t, err, "400 BadRequest")
	good := encodeContinue("/registry/configmaps/a/a\x00", "/registry/configmaps/a/", b.Applied())
	list := must(maps.List(bg, ListOptions{Namespace: "a", Field: fields.OneTermEqualSelector("metadata.name", "x"), Continue: good}))(t)
	if names(list.Items) != "a/x" {
		t.Error(names(list.Items))
	}
}

func TestWatchRevisions(t *testing.T) { forEachForm(t, testWatchRevisions) }

func testWatchRevisions(t *testing.T, f testForm) {
	maps := f.start(t, Options{}).resource(t, "configmaps")
	for revision, want := range map[string]string{"-1": "400 BadRequest", "-x": "400 BadRequest", "abc": "500"} {
		_, err := maps.Watch(bg, WatchOptions{ResourceVersion: revision})
		expect(t, err, want)
	}
}
