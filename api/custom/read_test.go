package custom

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// TestReadIsWhatTheLibraryReads: what is read in one pass is what the library makes of it, and there is nothing to complain of.
func TestReadIsWhatTheLibraryReads(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	values := []string{"0", "-0", "-0.0", "1", "01", "1.0", "1e3", "1E+2", "1e-400", "1e999", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-", ".5", "5.", "1e",
		"12345678901234567890.5", "tru", "true", "null", "nul", `"a\nb"`, `"\ud83d\ude00"`, `"\ud800x"`, "\"\xff\"", "\"\x01\"", `"\x"`, `"ü"`, "[]", "{}", "[,]", "{,}", "[1,]", "[1 2]", "\x00"}
	metadata := []string{`{"name":"x","labels":{"a":"b"}}`, "null", "{}", `{"name":1}`, `{"name":"x","name":"y"}`, `{"color":"red"}`, `"x"`, `{"labels":{"}":"{\""},"uid":"\u0061"}`,
		`{"creationTimestamp":"2026-01-01T00:00:00Z","managedFields":[{"fieldsV1":{"f:a":{"f:a":{}}}}]}`, `{"name":"x"]`, `{"name":}`, `[{}]`, " { } "}
	one := func() string {
		text := document(random, 5)
		for random.IntN(3) == 0 {
			text = strings.Replace(text, []string{"1", "null", `"x"`, "true"}[random.IntN(4)], values[random.IntN(len(values))], 1)
		}
		return text
	}
	read, checked := 0, 0
	for range 60_000 {
		var parts []string
		for range random.IntN(4) {
			parts = append(parts, `"`+[]string{"spec", "status", "data", "Kind", ""}[random.IntN(5)]+`":`+one())
		}
		for _, name := range own[:2] {
			for random.IntN(3) > 0 {
				parts = append(parts, `"`+name+`":`+[]string{`"v"`, `"v"`, `"v"`, "1", "null", `"\u0061"`}[random.IntN(6)])
			}
		}
		for random.IntN(3) > 0 {
			parts = append(parts, `"metadata":`+metadata[random.IntN(len(metadata))])
		}
		random.Shuffle(len(parts), reflect.Swapper(parts))
		text := []byte(strings.Repeat(" ", random.IntN(2)) + "{" + strings.Join(parts, ",") + "}" + []string{"", "", "", "\n", "x", "{}"}[random.IntN(6)])
		if random.IntN(4) == 0 {
			text[random.IntN(len(text))] = `{}[],:"\ 0-e.`[random.IntN(13)]
		}
		check := random.IntN(2) == 0
		var mine, theirs Object
		if !mine.read(text, check) {
			if !reflect.DeepEqual(mine, Object{}) {
				t.Fatalf("%s: it is half decoded", text)
			}
			continue
		}
		read++
		if check {
			checked++
		}
		if complaints, err := theirs.ask(text, check); err != nil || len(complaints) > 0 || !reflect.DeepEqual(mine, theirs) {
			t.Fatalf("%s\nis read as  %#v\ninstead of %#v, %v %v", text, mine, theirs, complaints, err)
		}
	}
	if read < 3000 || checked < 800 {
		t.Errorf("only %d documents are read in one pass, %d of them checked", read, checked)
	}
}

// TestReadIsUsual: ordinary objects are read in one pass, and so are texts with escapes.
func TestReadIsUsual(t *testing.T) {
	for _, text := range []string{usual, "{}", `{"metadata":{"name":"x"},"spec":"a\nü\"\\"}` + "\n"} {
		var o Object
		if !o.read([]byte(text), true) {
			t.Errorf("%s is left to the library", text)
		}
	}
	deep := strings.Repeat(`{"a":`, readDepth+2) + "1" + strings.Repeat("}", readDepth+2)
	var o Object
	if o.read([]byte(deep), true) {
		t.Error("a document is read that nests as deep as it will")
	}
	if complaints, err := o.Decode([]byte(deep), true); err != nil || len(complaints) > 0 {
		t.Error(complaints, err)
	}
}

const usual = `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"web-7c5ddbdf54-x","namespace":"default","uid":"0f0b0f9e-0000-4000-8000-000000000000",
	"creationTimestamp":"2026-01-01T00:00:00Z","labels":{"app":"web","tier":"front"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web","uid":"u","controller":true}],
	"managedFields":[{"manager":"m","operation":"Update","apiVersion":"example.com/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{".":{},"f:a":{},"f:b":{}}}}]},
	"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"100m","memory":"64Mi"}}}],"replicas":3,"ratio":1.5,"paused":false},
	"status":{"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","message":"it is ready"}],"observedGeneration":1}}`

func BenchmarkDecode(b *testing.B) {
	for name, decode := range map[string]func(o *Object) ([]error, error){
		"one pass": func(o *Object) ([]error, error) { return o.Decode([]byte(usual), false) }, "checked": func(o *Object) ([]error, error) { return o.Decode([]byte(usual), true) },
		"library": func(o *Object) ([]error, error) { return o.ask([]byte(usual), false) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(&Object{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
