package patch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// oddValues stand where a patch may have something else: what is read in two ways is among them.
var oddValues = []string{
	`null`, ` null `, `{}`, `[]`, `""`, `0`, `-0`, `1`, `-1`, `1.0`, `1e2`, `0.5`, `-0.0`, `3000000000`, `123456789012345`, `1234567890123456789`, `12345678901234567890`,
	`true`, `false`, `"1"`, `"-0"`, `"1e3"`, `"0.5"`, `"1.50"`, `"0.1m"`, `"1Ki"`, `"\u0031"`, `"10%"`, `"5s"`, `"1m0s"`, `"90s"`, `"1h0.5s"`,
	`"2020-01-01T02:00:00+02:00"`, `"2020-01-01T00:00:00.123456789Z"`, `"2020-01-01T00:00:00.000001Z"`, `"1970-01-01T00:00:00Z"`, `"0001-01-01T00:00:00Z"`,
	`"AA=="`, `"A\nA=="`, `"AB=="`, `[1,2]`, `[1]`, `["a"]`, `["a","a"]`, `["b","a"]`, `[""]`, `[null]`, `[[]]`, `[[1]]`, `[{}]`, `[{},{}]`, `[{"name":"a"}]`,
	`"$(a)"`, `"a\u0024b"`, `"<&>"`, `"\u003c"`, `"\u2028"`, "\"\xff\"", `"\ud800"`, `"\ud83d\ude00"`, `"é"`, `"\u00e9"`, `"null"`, `"nu\u006cl"`, `"1\/2"`,
	`{"z":1,"a":{"y":"<","b":[2,1]}}`, `{"a":null}`, `{"a":"b"}`, `{"a":1}`, `{"a":"1"}`, `{"a":"b","c":"d"}`, `{"":""}`, "{\"\xff\":\"1\",\"\xfe\":\"2\"}", `{"\ud800":"1"}`,
	`{"\u0024patch":"delete"}`, `{"$patch":"delete"}`, `{"$patch":"replace"}`, `{"$patch":"merge"}`, `{"$patch":"replace","a":"b"}`, `[{"$patch":"replace"}]`,
	`[{"$patch":"delete"}]`, `[{"\u0024patch":"delete"}]`, `{"$retainKeys":[]}`, `{"$retainKeys":["a"],"a":"b"}`, `{"a":"b","a":"c"}`, `{"A":"b"}`,
}

// odd writes patches: parts of an object, with what is odd here and there.
type odd struct {
	random *rand.Rand
	out    bytes.Buffer
	// rarity: one in so many values is odd.
	rarity int
}

func (o *odd) hit(n int) bool { return o.random.Intn(n) == 0 }

func (o *odd) space() {
	if o.hit(40) {
		o.out.WriteString(" \n\t")
	}
}

func (o *odd) value(v any) {
	o.space()
	defer o.space()
	if o.hit(o.rarity) {
		o.out.WriteString(oddValues[o.random.Intn(len(oddValues))])
		return
	}
	switch v := v.(type) {
	case map[string]any:
		o.object(v)
	case []any:
		o.list(v)
	default:
		text, _ := json.Marshal(v)
		o.out.Write(text)
	}
}

// name writes the name of a member, sometimes in other letters or by escapes.
func (o *odd) name(name string) {
	switch {
	case o.hit(60):
		fmt.Fprintf(&o.out, `"%s"`, bytes.ToUpper([]byte(name)))
	case o.hit(30) && name != "":
		fmt.Fprintf(&o.out, `"\u%04x%s"`, name[0], name[1:])
	default:
		text, _ := json.Marshal(name)
		o.out.Write(text)
	}
	o.out.WriteByte(':')
}

func (o *odd) object(m map[string]any) {
	names := slices.Sorted(maps.Keys(m))
	o.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	if most := 1 + o.random.Intn(4); len(names) > most && !o.hit(10) {
		names = names[:most]
	}
	for _, key := range []string{"name", "type", "key", "uid", "ip", "containerPort", "port", "mountPath", "devicePath", "topologyKey"} {
		if _, ok := m[key]; ok && !slices.Contains(names, key) && !o.hit(3) {
			names = append(names, key)
		}
	}
	o.out.WriteByte('{')
	first := true
	member := func(name string, write func()) {
		if !first {
			o.out.WriteByte(',')
		}
		first = false
		o.space()
		o.name(name)
		write()
	}
	for _, name := range names {
		v := m[name]
		if list, ok := v.([]any); ok && o.hit(3) {
			o.directives(name, list, member)
			continue
		}
		member(name, func() { o.value(v) })
		if o.hit(80) {
			member(name, func() { o.value(v) })
		}
	}
	switch {
	case o.hit(60):
		member(directiveMember, func() { o.out.WriteString([]string{`"replace"`, `"delete"`, `"merge"`, `1`}[o.random.Intn(4)]) })
	case o.hit(60):
		member(retainKeysMember, func() { text, _ := json.Marshal(names); o.out.Write(text) })
	case o.hit(80):
		member("colour", func() { o.out.WriteString(oddValues[o.random.Intn(len(oddValues))]) })
	}
	o.out.WriteByte('}')
}

// directives says of a list, and of its order, and of what to take from it.
func (o *odd) directives(name string, list []any, member func(string, func())) {
	if o.hit(2) {
		member(name, func() { o.value(list) })
	}
	if o.hit(2) {
		member(setOrderPrefix+"/"+name, func() { o.value(list) })
	}
	if o.hit(3) {
		member(deleteFromPrefix+"/"+name, func() { o.value(list) })
	}
}

func (o *odd) list(list []any) {
	o.out.WriteByte('[')
	first := true
	for range 1 + o.random.Intn(3) {
		if len(list) == 0 || o.hit(10) {
			break
		}
		if !first {
			o.out.WriteByte(',')
		}
		first = false
		v := list[o.random.Intn(len(list))]
		if m, ok := v.(map[string]any); ok && o.hit(3) {
			m = maps.Clone(m)
			for _, key := range []string{"name", "type", "key", "uid", "ip"} {
				if _, ok := m[key].(string); ok {
					m[key] = fmt.Sprint("other", o.random.Intn(3))
				}
			}
			if o.hit(6) {
				m[directiveMember] = deleteDirective
			}
			v = m
		}
		o.value(v)
	}
	o.out.WriteByte(']')
}

// TestOddPatchesOfTheCatalog carries out random parts of golden objects, with what is odd in them, both ways.
func TestOddPatchesOfTheCatalog(t *testing.T) {
	var done, all int
	for _, k := range api.Kinds() {
		if k.Form == kind.Tree || !k.Serves("patch") {
			continue
		}
		t.Run(k.GVK.String(), func(t *testing.T) {
			random := rand.New(rand.NewSource(3))
			full := golden(t, k)
			for range 100 {
				old := mutated(random, full)
				canonicalize(t, old)
				o := &odd{random: random, rarity: []int{3, 10, 100}[random.Intn(3)]}
				var doc map[string]any
				if err := json.Unmarshal([]byte(text(t, mutatedFrom(random, old, full))), &doc); err != nil {
					t.Fatal(err)
				}
				if metadata, ok := doc["metadata"].(map[string]any); ok && random.Intn(4) == 0 {
					metadata["managedFields"] = []any{map[string]any{"manager": "a", "operation": "Update", "apiVersion": "v1",
						"fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:metadata": map[string]any{"f:labels": map[string]any{".": map[string]any{}, "f:<": map[string]any{}}}}}}
				}
				delete(doc, "kind")
				delete(doc, "apiVersion")
				o.object(doc)
				for _, pt := range []types.PatchType{types.MergePatchType, types.StrategicMergePatchType} {
					all++
					if bothWays(t, k, pt, o.out.Bytes(), old) {
						done++
					}
				}
			}
		})
	}
	t.Logf("%d of %d in place", done, all)
}
