package canonical

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

// treeValue is any value that a caller in the process may put into a tree.
func treeValue(random *rand.Rand, depth int) any {
	switch n := random.IntN(14); {
	case n == 0:
		return nil
	case n == 1:
		return random.IntN(2) == 0
	case n == 2:
		return []any{int64(math.MaxInt64), int64(-1), 3, int32(-4)}[random.IntN(4)]
	case n == 3:
		return []float64{0, math.Copysign(0, -1), 1, 2.5, 1e15, 9.2e18, 9.3e18, 1e20, 1e21, 1e-7, -3, math.MaxFloat64, 1 << 53}[random.IntN(13)]
	case n == 4:
		return []string{"", "a", "<&>\u2028\"\\\x00", "ü\U0001F600"}[random.IntN(4)]
	case n == 5:
		return map[string]any(nil)
	case n == 6:
		return []any(nil)
	case n < 11 && depth > 0:
		m := map[string]any{}
		for range random.IntN(5) {
			m[[]string{"a", "b", "kind", "metadata", "ü", ""}[random.IntN(6)]] = treeValue(random, depth-1)
		}
		return m
	case depth > 0:
		list := []any{}
		for range random.IntN(4) {
			list = append(list, treeValue(random, depth-1))
		}
		return list
	}
	return "leaf"
}

// TestTreesAreWhatTheyDecodeTo: an exact tree is what its JSON decodes to, and what was exact is shared.
func TestTreesAreWhatTheyDecodeTo(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 5000 {
		o := &custom.Object{Members: map[string]any{}}
		for range random.IntN(4) {
			o.Members[[]string{"spec", "status", "data", "kind"}[random.IntN(4)]] = treeValue(random, 4)
		}
		o.Name = "x"
		before := o.DeepCopyObject().(*custom.Object)
		held := o.Members
		if err := MakeExact(o, Options{}); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(held, before.Members) {
			t.Fatalf("%#v was written to, and is %#v", before.Members, held)
		}
		text, err := objectjson.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var back custom.Object
		if _, err := back.Decode(text, true); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(o, &back) {
			t.Fatalf("%#v\nis made %#v\nand decodes to %#v", before.Members, o.Members, back.Members)
		}
		again := o.DeepCopyObject().(*custom.Object)
		at := reflect.ValueOf(again.Members).Pointer()
		if err := MakeExact(again, Options{}); err != nil || reflect.ValueOf(again.Members).Pointer() != at {
			t.Fatalf("what is exact is changed: %v", err)
		}
	}
}

func TestTreesThatCannotBe(t *testing.T) {
	for name, v := range map[string]any{"NaN": math.NaN(), "infinity": math.Inf(1), "no text": "\xff", "a key": map[string]any{"\xff": 1},
		"a struct": struct{}{}, "a typed map": map[string]string{"a": "b"}} {
		o := &custom.Object{Members: map[string]any{"spec": map[string]any{"a": []any{v}}}}
		if err := MakeExact(o, Options{}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	o := &custom.Object{Members: map[string]any{"spec": []any{"a\xff", map[string]any{"\xff": "b"}}}}
	if err := MakeExact(o, Options{ReplaceInvalid: true}); err != nil {
		t.Fatal(err)
	}
	if want := []any{"a\uFFFD", map[string]any{"\uFFFD": "b"}}; !reflect.DeepEqual(o.Members["spec"], any(want)) {
		t.Errorf("replaced as %q", o.Members)
	}
}
