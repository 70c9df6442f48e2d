package patch

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

// document makes JSON, an object first.
func document(random *rand.Rand, depth int, object bool) string {
	parts := make([]string, random.IntN(5))
	switch n := random.IntN(8); {
	case object || n < 3 && depth > 0:
		for i := range parts {
			parts[i] = []string{`"a"`, `"b"`, `"c"`, `"d<"`, `""`}[random.IntN(5)] + ":" + document(random, depth-1, false)
		}
		return "{" + strings.Join(parts, ",") + "}"
	case n < 5 && depth > 0:
		for i := range parts {
			parts[i] = document(random, depth-1, false)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return []string{"1", "1.50", "null", "null", "true", `"x"`, "12345678901234567890.10", "1e3"}[random.IntN(8)]
}

func TestMergePatchMakesWhatTheLibraryMakes(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		doc, change := document(random, 5, true), document(random, 5, true)
		if random.IntN(20) == 0 {
			change = "[" + change + "]"
		}
		want, err := jsonpatch.MergePatch([]byte(doc), []byte(change))
		if err != nil {
			t.Fatal(err)
		}
		got, err := mergePatch([]byte(doc), []byte(change))
		if err != nil || !reflect.DeepEqual(numbers(t, got), numbers(t, want)) {
			t.Fatalf("%s and %s\ngive %s, %v\nnot  %s", doc, change, got, err, want)
		}
	}
	for _, bad := range []string{"null", "1", `"a"`, "{"} {
		if _, err := mergePatch([]byte("{}"), []byte(bad)); err == nil {
			t.Errorf("%s is merged", bad)
		}
	}
}

func numbers(t *testing.T, data []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
