package patch

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
)

// A number that is only written otherwise is no change: neither now nor, as a remembered result, for a change of the same path.
func TestNumbersOfTrees(t *testing.T) {
	widget := define[custom.Object]("example.com", "v1", "Widget", true, true)
	tracker, now := NewTracker(), time.Unix(1000, 0)
	of := func(x any) *custom.Object {
		o := &custom.Object{Members: map[string]any{"spec": map[string]any{"x": x}}}
		o.UID = "u"
		return o
	}
	old := of(int64(1))
	old.UID = ""
	if err := tracker.Created(widget, old, "maker", "", now); err != nil {
		t.Fatal(err)
	}
	old.UID = "u"
	const made = `{"manager":"maker","operation":"Update","apiVersion":"example.com/v1","time":"1970-01-01T00:16:40Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{}}}`
	for _, change := range []struct {
		x    any
		want string
	}{
		{1.0, text(t, old.ManagedFields)},
		{int64(2), `[{"manager":"changer","operation":"Update","apiVersion":"example.com/v1","time":"1970-01-01T00:16:40Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:x":{}}}},` + made + `]`},
		{[]any{int64(1)}, `[{"manager":"changer","operation":"Update","apiVersion":"example.com/v1","time":"1970-01-01T00:16:40Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:x":{}}}},` + made + `]`},
	} {
		next := of(change.x)
		if err := tracker.Updated(widget, next, old, "changer", "", now); err != nil {
			t.Fatal(err)
		}
		if got := text(t, next.ManagedFields); got != change.want {
			t.Errorf("%v makes\n%s\ninstead of\n%s", change.x, got, change.want)
		}
	}
}

// The library would read and write what is long again at each level of a JSON patch; a merge patch goes down once.
func TestPatchesOfLongAndDeepTrees(t *testing.T) {
	widget := define[custom.Object]("example.com", "v1", "Widget", true, true)
	long := strings.Repeat(`{"s":"`+strings.Repeat("x", 1400)+`","a":`, 900) + "{}" + strings.Repeat("}", 900)
	old := &custom.Object{}
	if _, err := old.Decode([]byte(`{"metadata":{"name":"x","namespace":"y"},"spec":`+long+`}`), false); err != nil {
		t.Fatal(err)
	}
	small := &custom.Object{}
	small.Name, small.Namespace = "x", "y"
	const add = `[{"op":"add","path":"/spec","value":`
	for name, test := range map[string]struct {
		of   types.PatchType
		data string
		old  *custom.Object
		fits bool
	}{
		"operations":          {types.JSONPatchType, add + "1}]", old, false},
		"operations that are": {types.JSONPatchType, add + long + "}]", small, false},
		"few operations":      {types.JSONPatchType, add + "1}]", small, true},
		"a merge patch":       {types.MergePatchType, `{"spec":` + long + `}`, old, true},
	} {
		_, _, err := Apply(widget, test.of, []byte(test.data), test.old, "Ignore")
		if (err == nil) != test.fits || err != nil && !errors.IsRequestEntityTooLargeError(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Numbers that no float64 holds are applied as they are.
func TestApplyOfLargeNumbers(t *testing.T) {
	widget := define[custom.Object]("example.com", "v1", "Widget", true, true)
	for _, data := range []string{
		`{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"x"},"spec":{"size":9007199254740993}}`,
		"apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: x}\nspec: {size: 9007199254740993}\n",
	} {
		o, _, err := NewTracker().Apply(Configuration{Kind: widget, Namespace: "y", Name: "x", Data: []byte(data), Manager: "m", Now: time.Unix(1000, 0)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, o.(*custom.Object).Members); got != `{"spec":{"size":9007199254740993}}` {
			t.Errorf("%s makes %s", data, got)
		}
	}
}
