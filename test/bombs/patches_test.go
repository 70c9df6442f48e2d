package bombs

import (
	"fmt"
	"strings"
)

// patches are of the three kinds that know nothing of managers.
func patches() []bomb {
	keys := numbered(`"k#":"v"`, most)
	env := numbered(`{"name":"E#","value":"v"}`, objects)
	big := configMap(`"a":"` + strings.Repeat("x", 900<<10) + `"`)
	many := configMap(keys)
	pod := valid(`"env":[`+env+`]`, "")
	short := valid("", "")
	container := func(members string) string { return `{"spec":{"containers":[{"name":"c",` + members + `}]}}` }
	ops := func(op string, n int) string { return "[" + numbered(op, n) + "]" }
	return []bomb{
		change("JSON patch of tests", configMaps, big, jsonPatch, ops(`{"op":"test","path":"/data/a","value":"x"}`, most)),
		change("JSON patch of tests that fail late", configMaps, many, jsonPatch, ops(`{"op":"test","path":"/data/k#","value":"v"}`, most)),
		change("JSON patch of tests of the whole", configMaps, many, jsonPatch, ops(`{"op":"test","path":"/kind","value":"ConfigMap"}`, most)),
		change("JSON patch of tests of an object", configMaps, many, jsonPatch, `[`+repeat(`{"op":"test","path":"/data","value":{`+keys+`}}`, 5)+`]`),
		change("JSON patch of copies", configMaps, many, jsonPatch, ops(`{"op":"copy","from":"/data","path":"/x#"}`, most)),
		change("JSON patch of small copies", configMaps, many, jsonPatch, ops(`{"op":"copy","from":"/data/k#","path":"/data/l#"}`, most)),
		change("JSON patch of copies of a long text", configMaps, big, jsonPatch, ops(`{"op":"copy","from":"/data/a","path":"/data/l#"}`, most)),
		change("JSON patch of moves", configMaps, many, jsonPatch, ops(`{"op":"move","from":"/data","path":"/data"}`, most)),
		change("JSON patch of adds to the front", pods, pod, jsonPatch, ops(`{"op":"add","path":"/spec/containers/0/env/0","value":{"name":"A#"}}`, most)),
		change("JSON patch of removals from the front", pods, pod, jsonPatch, ops(`{"op":"remove","path":"/spec/containers/0/env/0"}`, most)),
		change("JSON patch of moves within a list", pods, pod, jsonPatch, ops(`{"op":"move","from":"/spec/containers/0/env/0","path":"/spec/containers/0/env/-"}`, most)),
		change("JSON patch of replacements", pods, pod, jsonPatch, ops(`{"op":"replace","path":"/spec/containers/0/env","value":[]}`, most)),
		change("JSON patch of long paths", configMaps, many, jsonPatch, ops(`{"op":"add","path":"`+strings.Repeat("/a", 140)+`","value":1}`, most)),
		change("JSON patch of a long path", configMaps, many, jsonPatch, `[{"op":"add","path":"`+strings.Repeat("/a", bodySize/2)+`","value":1}]`),
		change("JSON patch of a large index", pods, pod, jsonPatch, `[{"op":"add","path":"/spec/containers/999999999","value":1}]`),
		change("JSON patch of nothing", configMaps, many, jsonPatch, "["+repeat("{}", bodySize/3)+"]"),
		change("JSON patch of nested values", configMaps, many, jsonPatch, `[{"op":"add","path":"/x","value":`+strings.Repeat("[", 900)+strings.Repeat("]", 900)+`}]`),
		change("JSON patch of deep values and ways into them", configMaps, many, jsonPatch, `[{"op":"add","path":"/x","value":`+strings.Repeat(`{"a":`, 900)+"{}"+strings.Repeat("}", 900)+`},`+
			repeat(`{"op":"add","path":"/x`+strings.Repeat("/a", 900)+`","value":1}`, 1500)+`]`),
		change("JSON patch of doubling", configMaps, configMap(`"a":"b"`), jsonPatch, doubling(40)),
		change("JSON patch of unknown members", configMaps, many, jsonPatch, ops(`{"op":"test","path":"/kind","value":"ConfigMap","x#":1}`, most)),
		change("merge patch of keys", configMaps, many, mergePatch, `{"data":{`+numbered(`"l#":"v"`, most)+`}}`),
		change("merge patch of nulls", configMaps, many, mergePatch, `{"data":{`+numbered(`"k#":null`, most)+`}}`),
		change("merge patch of as many nulls as fit", configMaps, many, mergePatch, `{"data":{`+numbered(`"k#":null`, 180_000)+`}}`),
		change("merge patch of unknown fields", configMaps, many, mergePatch, `{`+numbered(`"u#":1`, most)+`}`),
		change("merge patch that nests", configMaps, many, mergePatch, strings.Repeat(`{"a":`, 990)+"1"+strings.Repeat("}", 990)),
		change("merge patch with a quantity", pods, short, mergePatch, `{"spec":{"overhead":{"cpu":"1e9999999"}}}`),
		change("merge patch of a list", pods, short, mergePatch, `{"spec":{"containers":[`+repeat("{}", most)+`]}}`),
		change("strategic patch with a quantity", pods, short, strategic, `{"spec":{"overhead":{"cpu":"1e9999999"}}}`),
		change("strategic patch of the same variables", pods, pod, strategic, container(`"env":[`+env+`]`)),
		change("strategic patch of other variables", pods, pod, strategic, container(`"env":[`+numbered(`{"name":"F#","value":"v"}`, objects)+`]`)),
		change("strategic patch that deletes variables", pods, pod, strategic, container(`"env":[`+numbered(`{"name":"E#","$patch":"delete"}`, objects)+`]`)),
		change("strategic patch that replaces variables", pods, pod, strategic, container(`"env":[{"$patch":"replace"},`+numbered(`{"name":"F#"}`, objects-1)+`]`)),
		change("strategic patch that orders variables", pods, pod, strategic, container(`"env":[`+numbered(`{"name":"E#","value":"w"}`, objects)+`],"$setElementOrder/env":[`+numbered(`{"name":"E#"}`, objects)+`]`)),
		change("strategic patch that orders only", pods, pod, strategic, container(`"$setElementOrder/env":[`+numbered(`{"name":"E#"}`, objects)+`]`)),
		change("strategic patch of orders of unknown lists", pods, pod, strategic, container(numbered(`"$setElementOrder/u#":[]`, most-1))),
		change("strategic patch that retains keys", pods, pod, strategic, `{"spec":{"strategy":{"$retainKeys":[`+numbered(`"k#"`, most)+`]},"$retainKeys":[`+numbered(`"k#"`, most)+`]}}`),
		change("strategic patch of scalars", configMaps, many, strategic, `{"metadata":{"finalizers":[`+numbered(`"a.b/f#"`, most)+`]}}`),
		change("strategic patch of unknown fields", pods, pod, strategic, `{"spec":{`+numbered(`"u#":{}`, most)+`}}`),
		change("strategic patch of unknown lists", pods, pod, strategic, `{"spec":{`+numbered(`"u#":[1]`, most)+`}}`),
		change("strategic patch of values of different types", pods, pod, strategic, container(`"env":[`+repeat("1", most-1)+`,"a"]`)),
		change("strategic patch of objects as keys", pods, pod, strategic, container(`"env":[`+repeat(`{"name":{}}`, objects)+`]`)),
		change("strategic patch without keys", pods, pod, strategic, container(`"env":[`+env+`,{}]`)),
		change("merge patch of what is nested and long", configMaps, configMap(""), mergePatch, `{"data":null,"spec":`+strings.Repeat(`{"s":"`+strings.Repeat("x", 2800)+`","a":`, 990)+"1"+strings.Repeat("}", 991)),
		change("merge patch of duplicate fields below a long name", configMaps, configMap(""), mergePatch, `{"`+strings.Repeat("k", 2<<20)+`":{`+repeat(`"a":1`, most)+`}}`),
		change("JSON patch of what is nested and long", configMaps, configMap(""), jsonPatch, `[{"op":"add","path":"/spec","value":`+strings.Repeat(`{"s":"`+strings.Repeat("x", 2800)+`","a":`, 990)+"{}"+strings.Repeat("}", 990)+`},{"op":"add","path":"/spec`+strings.Repeat("/a", 990)+`/b","value":1}]`),
		change("status patch", pods, short, strategic, `{"status":{"conditions":[`+numbered(`{"type":"T#","status":"True"}`, objects)+`]}}`),
	}
}

// doubling copies what it has copied.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString(`[{"op":"add","path":"/data","value":{"a":"` + strings.Repeat("x", 1000) + `"}}`)
	for i := range n {
		fmt.Fprintf(&b, `,{"op":"copy","from":"/data","path":"/data/n%d"}`, i)
	}
	return b.String() + "]"
}

// applied are configurations of server-side apply.
func applied() []bomb {
	keys := numbered(`"k#":"v"`, most)
	env := func(prefix string, n int) string { return numbered(`{"name":"`+prefix+`#","value":"v"}`, n) }
	pod := func(container string) string { return valid(container, "") }
	return []bomb{
		change("apply of a new map", configMaps, "", applyType, configMap(keys)),
		change("apply of a map that is there", configMaps, configMap(keys), applyType, configMap(keys)),
		change("apply of another map", configMaps, configMap(keys), applyType, configMap(numbered(`"l#":"v"`, most))),
		change("apply of three maps", configMaps, "", applyType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bomb","labels":{`+keys+`},"annotations":{`+keys+`}},"data":{`+keys+`}}`),
		change("apply of variables", pods, "", applyType, pod(`"env":[`+env("E", objects)+`]`)),
		change("apply of variables that are there", pods, pod(`"env":[`+env("E", objects)+`]`), applyType, pod(`"env":[`+env("E", objects)+`]`)),
		change("apply of other variables", pods, pod(`"env":[`+env("E", objects)+`]`), applyType, pod(`"env":[`+env("F", objects)+`]`)),
		change("apply of the same variable", pods, "", applyType, pod(`"env":[`+repeat(`{"name":"E","value":"v"}`, objects)+`]`)),
		change("apply of ports", pods, "", applyType, pod(`"ports":[`+numbered(`{"containerPort":#,"protocol":"TCP"}`, objects)+`]`)),
		change("apply of containers", pods, "", applyType, podWith(`"containers":[`+numbered(`{"name":"c#","image":"i"}`, objects)+`]`)),
		change("apply of containers without names", pods, "", applyType, podWith(`"containers":[`+repeat(`{}`, objects)+`]`)),
		change("apply of finalizers", configMaps, "", applyType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bomb","finalizers":[`+numbered(`"a.b/f#"`, most)+`]}}`),
		change("apply of owners", configMaps, "", applyType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bomb","ownerReferences":[`+numbered(`{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u#"}`, objects)+`]}}`),
		change("apply of unknown fields", configMaps, "", applyType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bomb"},`+numbered(`"u#":1`, most-3)+`}`),
		change("apply of duplicate fields", configMaps, "", applyType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bomb"},"data":{`+repeat(`"k":"v"`, most)+`}}`),
		change("apply of duplicate fields below a long name", configMaps, "", applyType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bomb"},"`+strings.Repeat("k", 2<<20)+`":{`+repeat(`"k":"v"`, most)+`}}`),
		change("apply of YAML", configMaps, "", applyType, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\ndata:\n"+strings.ReplaceAll(numbered("  k#: v", most), ",", "\n")),
		change("apply of as much YAML as fits", configMaps, "", applyType, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\ndata:\n"+strings.ReplaceAll(numbered("  k#: v", 200_000), ",", "\n")),
		change("apply of a quantity", pods, "", applyType, pod(`"resources":{"limits":{"cpu":"1e9999999"}}`)),
		change("apply of a quantity in YAML", pods, "", applyType, "apiVersion: v1\nkind: Pod\nmetadata: {name: bomb}\nspec: {containers: [{name: c, image: i, resources: {limits: {cpu: 1e9999999}}}]}\n"),
		change("apply that nests", configMaps, "", applyType, strings.Repeat(`{"a":`, 990)+"1"+strings.Repeat("}", 990)),
		change("apply that nests deeper", configMaps, "", applyType, strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000)),
		change("apply of rules", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "", applyType,
			`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"bomb"},"rules":[`+numbered(`{"verbs":["get"],"apiGroups":[""],"resources":["r#"]}`, 5000)+`]}`),
		change("apply of service ports", "/api/v1/namespaces/default/services", "", applyType, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"bomb"},"spec":{"ports":[`+numbered(`{"name":"p#","port":#}`, objects)+`]}}`),
	}
}

// managed bring managed fields along.
func managed() []bomb {
	fields := func(set string) string {
		return `{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","time":"2024-01-01T00:00:00Z","fieldsV1":{` + set + `}}`
	}
	object := func(entries, data string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bomb","managedFields":[` + entries + `]},"data":{` + data + `}}`
	}
	backwards := func(format string) string { // the worst order for a sorted list
		var items []string
		for i := most - 1; i >= 0; i-- {
			items = append(items, strings.ReplaceAll(format, "#", fmt.Sprintf("%05d", i)))
		}
		return strings.Join(items, ",")
	}
	keys := numbered(`"k#":"v"`, most)
	many := strings.ReplaceAll(numbered(strings.Replace(fields(`"f:data":{"f:k#":{}}`), `"m"`, `"m#"`, 1), 5000), "", "")
	applies := strings.ReplaceAll(many, `"Update"`, `"Apply"`)
	return []bomb{
		post("managed fields", configMaps, jsonType, object(fields(`"f:data":{`+numbered(`"f:k#":{}`, most)+`}`), keys)),
		post("managed fields backwards", configMaps, jsonType, object(fields(`"f:data":{`+backwards(`"f:k#":{}`)+`}`), keys)),
		post("managed fields of managed fields", configMaps, jsonType, object(fields(strings.Repeat(`"f:a":{`, 900)+strings.Repeat(`}`, 900)), keys)),
		post("managed fields backwards with children", configMaps, jsonType, object(fields(`"f:data":{`+backwards(`"f:k#":{"f:a":{}}`)+`}`), keys)),
		post("managed fields of keys", configMaps, jsonType, object(fields(`"f:data":{`+backwards(`"k:{\"a\":#}":{"f:a":{}}`)+`}`), keys)),
		post("managed fields of long keys", configMaps, jsonType, object(fields(`"f:data":{"k:{`+strings.ReplaceAll(numbered(`\"a#\":1`, most), `"`, `"`)+`}":{}}`), keys)),
		post("managed fields of values", configMaps, jsonType, object(fields(`"f:data":{`+backwards(`"v:[#,[1]]":{}`)+`}`), keys)),
		post("managed fields of many managers", configMaps, jsonType, object(many, keys)),
		post("managed fields of many appliers", configMaps, jsonType, object(applies, keys)),
		post("managed fields of one manager over and over", configMaps, jsonType, object(repeat(fields(`"f:data":{"f:k":{}}`), 5000), keys)),
		change("apply with managed fields", configMaps, object(applies, keys), applyType, configMap(keys)),
		change("patch with managed fields", configMaps, object(many, keys), mergePatch, `{"data":{"k1":"w"}}`),
		change("patch with other managed fields", configMaps, object(applies, keys), mergePatch, `{"data":{`+numbered(`"k#":"w"`, most)+`}}`),
		change("patch that resets managed fields", configMaps, object(applies, keys), mergePatch, `{"metadata":{"managedFields":[{}]},"data":{"k1":"w"}}`),
	}
}
