package kind

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
)

func tree(t *testing.T, text string) *custom.Object {
	t.Helper()
	o := &custom.Object{}
	if err := json.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func is(t *testing.T, what string, o Object, want string) {
	t.Helper()
	if got, err := json.Marshal(o); err != nil || string(got) != want {
		t.Errorf("%s makes %s, %v", what, got, err)
	}
}

func TestTreeHalves(t *testing.T) {
	k := Define(Resource{Kind: "Widget", HasGeneration: true}, Rules[custom.Object]{Halves: TreeHalves()})
	if k.Form != Tree || k.Defaults {
		t.Errorf("the form is %v", k.Form)
	}
	const was, written = `{"metadata":{"name":"x","labels":{"a":"old"}},"spec":1,"status":{"n":1}}`, `{"metadata":{"name":"x","labels":{"a":"new"}},"more":[],"spec":2,"status":{"n":2}}`
	old, o := tree(t, was), tree(t, written)
	k.PrepareUpdate(o, old)
	is(t, "an update", o, `{"metadata":{"name":"x","labels":{"a":"new"}},"more":[],"spec":2,"status":{"n":1}}`)
	o = tree(t, written)
	k.PrepareUpdate(o, tree(t, `{"spec":1}`))
	is(t, "an update of what has no status", o, `{"metadata":{"name":"x","labels":{"a":"new"}},"more":[],"spec":2}`)
	o = tree(t, written)
	k.PrepareCreate(o)
	is(t, "a creation", o, `{"metadata":{"name":"x","labels":{"a":"new"}},"more":[],"spec":2}`)
	status, _ := k.Part("status")
	o = tree(t, written)
	o.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}}
	status.Prepare(o, old)
	is(t, "an update of the status", o, `{"metadata":{"name":"x","labels":{"a":"old"},"managedFields":[{"manager":"m"}]},"spec":1,"status":{"n":2}}`)
	o = tree(t, `{"spec":2}`)
	status.Prepare(o, old)
	is(t, "a removal of the status", o, `{"metadata":{"name":"x","labels":{"a":"old"}},"spec":1}`)
	is(t, "nothing of the old object", old, was)
}

func TestTreesGeneration(t *testing.T) {
	halves := Define(Resource{Kind: "Widget"}, Rules[custom.Object]{Halves: TreeHalves()})
	whole := Define(Resource{Kind: "Widget"}, Rules[custom.Object]{})
	const was = `{"metadata":{"name":"x"},"spec":{"a":[1]},"status":1}`
	for text, want := range map[string]struct{ halves, whole bool }{
		was: {false, false},
		`{"metadata":{"name":"y"},"spec":{"a":[1]},"status":1}`:          {false, false},
		`{"metadata":{"name":"x"},"spec":{"a":[1]},"status":2}`:          {false, true},
		`{"metadata":{"name":"x"},"spec":{"a":[1]}}`:                     {false, true},
		`{"metadata":{"name":"x"},"spec":{"a":[2]},"status":1}`:          {true, true},
		`{"metadata":{"name":"x"},"spec":{"a":[1]},"status":1,"b":null}`: {true, true},
		`{"metadata":{"name":"x"},"b":{"a":[1]},"status":1}`:             {true, true},
		`{"metadata":{"name":"x"},"status":1}`:                           {true, true},
	} {
		if got := halves.SpecChanged(tree(t, text), tree(t, was)); got != want.halves {
			t.Errorf("%s with halves: %v", text, got)
		}
		if got := whole.SpecChanged(tree(t, text), tree(t, was)); got != want.whole {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestTreesAreKeptAsCustomResources(t *testing.T) {
	k := Define(Resource{GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: "Widget", Plural: "widgets", Namespaced: true}, Rules[custom.Object]{})
	if key := k.Key("a", "b"); key != "/registry/example.com/widgets/a/b" {
		t.Errorf("the key is %s", key)
	}
	if len(k.Columns) != 2 || k.Columns[1].Name != "Age" {
		t.Errorf("the columns are %v", k.Columns)
	}
}
