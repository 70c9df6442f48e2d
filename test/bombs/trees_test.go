package bombs

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// widget is a kind whose objects have members that nobody knew when the program was made.
var widget = kind.Define(kind.Resource{
	GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: "Widget", Plural: "widgets", Namespaced: true, HasGeneration: true,
	List: kind.ListOf[custom.List],
}, kind.Rules[custom.Object]{Halves: kind.TreeHalves()})

const widgets = "/apis/example.com/v1/namespaces/default/widgets"

// tree is a widget with members of its own and more metadata.
func tree(metadata, members string) string {
	if metadata != "" {
		metadata = "," + metadata
	}
	if members != "" {
		members = "," + members
	}
	return `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"bomb"` + metadata + `}` + members + `}`
}

// nested is a value within so many objects, or lists.
func nested(open, value, closing string, depth int) string {
	return strings.Repeat(open, depth) + value + strings.Repeat(closing, depth)
}

// trees are objects of which no type says what may be in them.
func trees() []bomb {
	long := strings.Repeat("k", 1<<20)
	spec := func(value string) string { return tree("", `"spec":`+value) }
	list := func(item string, n int) string { return spec("[" + repeat(item, n) + "]") }
	all := []bomb{
		post("a tree that nests", widgets, jsonType, spec(nested(`{"a":`, "1", "}", 900))),
		post("a tree of lists that nest", widgets, jsonType, spec(nested("[", "1", "]", 900))),
		post("a tree that nests deeper", widgets, jsonType, spec(nested(`{"a":`, "1", "}", 400_000))),
		post("a tree of lists that nest deeper", widgets, jsonType, spec(nested("[", "1", "]", 1_400_000))),
		post("a tree that nests in all its members", widgets, jsonType, list(nested(`{"a":`, "1", "}", 400), 1000)),
		post("a tree whose last member nests too deep", widgets, jsonType, tree("", `"data":{`+numbered(`"k#":"v"`, most-100)+`},"spec":`+nested(`{"a":`, "1", "}", 2000))),
		post("a tree in YAML that nests", widgets, yamlType, spec(nested(`{"a":`, "1", "}", 900))),
		post("a tree of a number of many digits", widgets, jsonType, spec(strings.Repeat("9", bodySize))),
		post("a tree of a fraction of many digits", widgets, jsonType, spec("0."+strings.Repeat("1", bodySize))),
		post("a tree of a number with a large exponent", widgets, jsonType, spec("1e999999999")),
		post("a tree of a number with a large negative exponent", widgets, jsonType, spec("1e-999999999")),
		post("a tree of a number with an exponent of many digits", widgets, jsonType, spec("1e"+strings.Repeat("9", bodySize))),
		post("a tree of numbers that are hard to round", widgets, jsonType, list("9007199254740993.00000000000000000000000000000000000000000000000000000000001e-300", most-10)),
		post("a tree of large numbers", widgets, jsonType, list("179769313486231570000000000000000000000000000000000e250", most-10)),
		post("a tree of a member that is given many times", widgets, jsonType, spec("{"+repeat(`"k":1`, 40_000)+"}")),
		post("a tree of many members that are given twice", widgets, jsonType, spec("{"+numbered(`"k#":1`, 40_000)+","+numbered(`"k#":2`, 40_000)+"}")),
		post("a tree of an own member that is given many times", widgets, jsonType, tree("", repeat(`"kind":"Widget"`, 40_000))),
		post("a tree of metadata that is given many times", widgets, jsonType, tree("", repeat(`"metadata":{"name":"bomb"}`, 40_000))),
		post("a tree of labels that are given twice", widgets, jsonType, tree(`"labels":{`+repeat(`"k":"v"`, 40_000)+`}`, "")),
		post("a tree of members that are given twice below a long name", widgets, jsonType, spec(`{"`+long+`":{`+repeat(`"k":1`, 40_000)+"}}")),
		post("a tree of members that are given twice deep down", widgets, jsonType, spec(nested(`{"`+long[:1000]+`":`, "{"+repeat(`"k":1`, 40_000)+"}", "}", 900))),
		post("a tree of a long name", widgets, jsonType, spec(`{"`+long+long+`":1}`)),
		post("a tree of long names", widgets, jsonType, spec("{"+numbered(`"`+long[:2000]+`#":1`, 1200)+"}")),
		post("a tree of a long name of escapes", widgets, jsonType, spec(`{"`+strings.Repeat(`\u0061`, 400_000)+`":1}`)),
		post("a tree of a long text of escapes", widgets, jsonType, spec(`"`+strings.Repeat(`\u003c`, 400_000)+`"`)),
		post("a tree of texts of escapes", widgets, jsonType, list(`"\n"`, most-10)),
		post("a tree of a text that does not end", widgets, jsonType, `{"spec":"`+strings.Repeat(`\"`, 1_400_000)),
		post("a tree of as many members as fit", widgets, jsonType, spec("{"+numbered(`"#":1`, 280_000)+"}")),
		post("a tree of as many members as are allowed", widgets, jsonType, spec("{"+numbered(`"k#":1`, most-10)+"}")),
		post("a tree of as many lists as fit", widgets, jsonType, list("[]", 900_000)),
		post("a tree of as many lists as are allowed", widgets, jsonType, list("[]", most-10)),
		post("a tree of as many objects as are allowed", widgets, jsonType, list(`{"a":{}}`, objects-10)),
		post("a tree of as many members beside its metadata as are allowed", widgets, jsonType, tree("", numbered(`"k#":{"a":1}`, objects-10))),
		post("a tree of blanks", widgets, jsonType, spec("["+strings.Repeat(" ", bodySize)+"]")),
		post("trees in protobuf", widgets, protobufType, envelope(widget.GVK, []byte(strings.Repeat("\x0a\x00", bodySize/2)))),
	}
	return append(all, changedTrees()...)
}

// entry is one of managed fields.
func entry(n int, set string) string {
	return fmt.Sprintf(`{"manager":"m%d","operation":"Update","apiVersion":"example.com/v1","fieldsType":"FieldsV1","time":"2024-01-01T00:00:00Z","fieldsV1":{%s}}`, n, set)
}

// managers are managed fields of as many managers as are allowed.
func managers() string {
	var entries []string
	for n := range objects - 100 {
		entries = append(entries, entry(n, fmt.Sprintf(`"f:spec":{"f:k%d":{}}`, n)))
	}
	return `"managedFields":[` + strings.Join(entries, ",") + `]`
}

// reportedTree once worked: the library that merges the managers copied all fields for each of them.
func reportedTree() bomb {
	return post("a tree with managed fields of many managers", widgets, jsonType, tree(managers(), `"spec":{"a":1}`))
}

// changedTrees bring managed fields, or change what was made before.
func changedTrees() []bomb {
	many := managers()
	keys := `"spec":{` + numbered(`"k#":{"a":1}`, objects-100) + `}`
	wide := tree("", keys)
	deep := tree("", `"spec":`+nested(`{"a":`, "1", "}", 900))
	patched := func(name, before, contentType, patch string) bomb {
		return change(name, widgets, before, contentType, patch)
	}
	return []bomb{
		post("a tree with managed fields of many managers, and members", widgets, jsonType, tree(many, `"spec":{`+numbered(`"k#":1`, objects-100)+`}`)),
		post("a tree with managed fields that nest", widgets, jsonType, tree(`"managedFields":[`+entry(0, nested(`"f:a":{`, "", "}", 900))+`]`, `"spec":1`)),
		post("a tree with managed fields that nest deeper", widgets, jsonType, tree(`"managedFields":[`+entry(0, nested(`"f:a":{`, "", "}", 300_000))+`]`, `"spec":1`)),
		post("a tree with managed fields of many fields", widgets, jsonType, tree(`"managedFields":[`+entry(0, `"f:spec":{`+numbered(`"f:k#":{}`, most-100)+`}`)+`]`, `"spec":{"k1":1}`)),
		patched("a patch of a wide tree", wide, mergePatch, `{"spec":{`+numbered(`"k#":{"a":2}`, objects-100)+`}}`),
		patched("a patch of a deep tree", deep, mergePatch, `{"spec":`+nested(`{"a":`, "2", "}", 900)+`}`),
		patched("a patch that adds a deep member to a tree", deep, jsonPatch, `[{"op":"add","path":"/spec`+strings.Repeat("/a", 899)+`/b","value":`+nested(`{"a":`, "2", "}", 900)+`}]`),
		patched("a patch of a tree with managed fields", tree(many, keys), mergePatch, `{"spec":{"k1":2}}`),
		patched("an apply of a wide tree", "", applyType, wide),
		patched("an apply to a wide tree", wide, applyType, wide),
		patched("an apply of a deep tree", "", applyType, deep),
		patched("an apply of a tree of texts", "", applyType, tree("", `"spec":[`+numbered(`"t#"`, most-10)+`]`)),
		patched("an apply of members that are given twice to a tree", "", applyType, tree("", `"spec":{`+repeat(`"k":1`, 40_000)+`}`)),
	}
}
