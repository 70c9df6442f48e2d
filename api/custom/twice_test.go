package custom

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	kjson "sigs.k8s.io/json"
)

// document makes JSON whose members are often given twice, with blanks and escapes.
func document(random *rand.Rand, depth int) string {
	blank := []string{"", " ", "\n\t"}[random.IntN(3)]
	parts := make([]string, random.IntN(4))
	switch n := random.IntN(8); {
	case n < 3 && depth > 0:
		for i := range parts {
			name := []string{`"a"`, `"b"`, `"\u0061"`, `""`, `"ö"`, `"\ud800"`, `"` + "\xff" + `"`, `"}\"{["`, `"a.b"`}[random.IntN(9)]
			parts[i] = blank + name + blank + ":" + document(random, depth-1)
		}
		return "{" + strings.Join(parts, ",") + blank + "}"
	case n < 5 && depth > 0:
		for i := range parts {
			parts[i] = document(random, depth-1)
		}
		return "[" + strings.Join(parts, blank+",") + blank + "]"
	}
	return blank + []string{"1", "-2.5e-3", "null", "true", `"x"`, `"\\"`, `"\"}"`, `"]"`}[random.IntN(8)] + blank
}

func TestTwiceTellsWhatTheLibraryTells(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	told := 0
	for range 20_000 {
		text := document(random, 6)
		if random.IntN(2) == 0 {
			text = `{"a":` + text + `,"b":` + document(random, 5) + `,"a":` + document(random, 4) + `}`
		}
		var into any
		want, err := kjson.UnmarshalStrict([]byte(text), &into, kjson.DisallowDuplicateFields)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := Twice([]byte(text))
		if !slices.EqualFunc(got, want, func(a, b error) bool { return a.Error() == b.Error() }) {
			t.Fatalf("%q\ngot  %v\nwant %v", text, got, want)
		}
		told += len(got)
	}
	if told < 20_000 {
		t.Errorf("only %d members are given twice", told)
	}
}

// What it costs to tell of members does not grow with the length of their paths.
func TestTwiceWithLongPaths(t *testing.T) {
	many := strings.Repeat(`"a":1,`, 9000) + `"a":1`
	long := strings.Repeat("ö", 1<<20)
	for name, text := range map[string]string{
		"a long name": `{"` + long + `":{` + many + `}}`,
		"long names":  strings.Repeat(`{"a":1,"a":1,"`+long[:2000]+`":`, 900) + "1" + strings.Repeat("}", 900),
	} {
		begun := time.Now()
		errs := Twice([]byte(text))
		if took := time.Since(begun); took > 5*time.Second { // the library takes longer by far
			t.Errorf("%s: it takes %s", name, took)
		}
		if size := len(errors.Join(errs...).Error()); len(errs) == 0 || size > 2*maxPath*len(errs) {
			t.Errorf("%s: %d errors of %d bytes", name, len(errs), size)
		}
	}
	var differing strings.Builder
	for n := range 200 {
		fmt.Fprintf(&differing, `"a%d":1,"a%d":1,`, n, n)
	}
	if errs := Twice([]byte("{" + differing.String() + `"a":1}`)); len(errs) != maxTold {
		t.Errorf("%d errors", len(errs))
	}
	for _, cut := range []string{"", "{", `{"a`, `{"a"`, `{"a":`, `{"a":1,`, "[", "[1,", `["\`, `{"a":1 "a":2}`} {
		Twice([]byte(cut)) // ends
	}
}
