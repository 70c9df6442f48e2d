package bombs

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
)

const (
	pods       = "/api/v1/namespaces/default/pods"
	configMaps = "/api/v1/namespaces/default/configmaps"
	reviews    = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	most       = bounds.MaxItems   // of scalars
	objects    = bounds.MaxObjects // of objects
)

// numbered are n items made by a format with a number in it.
func numbered(format string, n int) string {
	items := make([]string, n)
	for i := range items {
		items[i] = strings.ReplaceAll(format, "#", fmt.Sprint(i))
	}
	return strings.Join(items, ",")
}

func podWith(spec string) string {
	return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bomb"},"spec":{` + spec + `}}`
}

// valid pods have one container, with more in it or beside it.
func valid(container, spec string) string {
	if container != "" {
		container = "," + container
	}
	if spec != "" {
		spec = "," + spec
	}
	return podWith(`"containers":[{"name":"c","image":"i"` + container + `}]` + spec)
}

func configMap(data string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bomb"},"data":{` + data + `}}`
}

func review(spec string) string {
	return `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{` + spec + `}}`
}

func post(name, path, contentType, body string) bomb {
	return bomb{name: name, method: http.MethodPost, path: path, contentType: contentType, body: body}
}

// change is a patch of an object that is made first.
func change(name, path, object, contentType, body string) bomb {
	at := path + "/bomb"
	b := bomb{name: name, method: http.MethodPatch, path: at, contentType: contentType, body: body}
	if contentType == applyType {
		b.path += "?fieldManager=bomber&force=true"
	}
	b.before = removal(at)
	if object != "" {
		b.before = append(b.before, post("", path, jsonType, object))
	}
	return b
}

// removal removes an object, whatever holds it.
func removal(at string) []bomb {
	return []bomb{
		{method: http.MethodPatch, path: at, contentType: mergePatch, body: `{"metadata":{"finalizers":null}}`},
		{method: http.MethodDelete, path: at + "?gracePeriodSeconds=0"},
	}
}

func invented() []bomb {
	var all []bomb
	all = append(reported(), reportedTree())
	for _, some := range [][]bomb{texts(), documents(), patches(), applied(), managed(), messages(), spread(), trees()} {
		for _, b := range some {
			b.often = 5
			all = append(all, b)
		}
	}
	return all
}

// reported are bombs that once worked.
func reported() []bomb {
	env := numbered(`{"name":"E#","value":"v"}`, 5000)
	requirements := func(n int) string {
		return review(`"resourceAttributes":{"labelSelector":{"requirements":[` + repeat("{}", n) + `]},"fieldSelector":{"requirements":[` + repeat("{}", n) + `]}}`)
	}
	return []bomb{
		post("a review of empty requirements", reviews, jsonType, requirements(5000)),
		post("a review of as many empty requirements as fit", reviews, jsonType, requirements(450_000)),
		post("empty containers", pods, jsonType, podWith(`"containers":[`+repeat("{}", 4000)+`]`)),
		post("quantity with a large exponent", pods, jsonType, valid(`"resources":{"limits":{"cpu":"1e9999999"}}`, "")),
		post("quantity with a larger exponent", pods, jsonType, valid(`"resources":{"limits":{"cpu":1e999999999}}`, "")),
		post("quantity with a large negative exponent", pods, jsonType, valid(`"resources":{"limits":{"cpu":"1E-9999999"}}`, "")),
		post("quantity with many digits", pods, jsonType, valid(`"resources":{"limits":{"cpu":"`+strings.Repeat("9", bodySize)+`"}}`, "")),
		post("quantity in YAML", pods, yamlType, "metadata: {name: bomb}\nspec:\n  containers:\n  - name: c\n    image: i\n    resources: {limits: {cpu: 1e9999999}}\n"),
		post("quantity in the name of a resource", pods, jsonType, valid(`"resources":{"limits":{"hugepages-1e9999999":"1"}}`, "")),
		post("quantity in the name of a resource whose lowest bits are 0", pods, jsonType, valid(`"resources":{"limits":{"cpu":"1","hugepages-1e80":"1"}}`, "")),
		post("quantity in the name of a resource, many digits", pods, jsonType, valid(`"resources":{"limits":{"hugepages-`+strings.Repeat("9", bodySize)+`":"1"}}`, "")),
		change("strategic patch of a quantity with escapes", pods, valid("", ""), strategic, `{"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1\u00659999999"}}}]}}`),
		change("apply of a quantity with escapes", pods, "", applyType, valid(`"resources":{"limits":{"cpu":"1\u00659999999"}}`, "")),
		post("many quantities", pods, jsonType, valid(`"resources":{"limits":{`+numbered(`"a.b/r#":"1e99"`, most)+`}}`, "")),
		post("long quantities", pods, jsonType, valid(`"resources":{"limits":{`+numbered(`"a.b/r#":"`+strings.Repeat("9", 120)+`"`, most)+`}}`, "")),
		change("strategic patch of variables", pods, valid("", ""), strategic, `{"spec":{"containers":[{"name":"c","env":[`+env+`]}]}}`),
		change("strategic patch of as many variables", pods, valid(`"env":[`+env+`]`, ""), strategic, `{"spec":{"containers":[{"name":"c","env":[`+env+`]}]}}`),
		change("strategic patch that deletes from a list", pods, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bomb","finalizers":[`+numbered(`"a.b/f#"`, most)+`]},"spec":{"containers":[{"name":"c","image":"i"}]}}`,
			strategic, `{"metadata":{"$deleteFromPrimitiveList/finalizers":[`+numbered(`"a.b/f#"`, most)+`]}}`),
		change("apply of a long map", configMaps, "", applyType, configMap(numbered(`"k#":""`, 150_000))),
		change("apply of a map as long as is allowed", configMaps, "", applyType, configMap(numbered(`"k#":""`, most))),
		post("a review with owner references", "/apis/authentication.k8s.io/v1/selfsubjectreviews", jsonType,
			`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview","metadata":{"ownerReferences":[`+repeat("{}", 1_000_000)+`]}}`),
		post("YAML merge keys", configMaps, yamlType, "metadata: {name: bomb}\nbase: &b {"+numbered("k#: v", 9000)+"}\nlist:\n"+strings.Repeat("- <<: *b\n", 400)),
		post("YAML aliases", configMaps, yamlType, aliases(9, 10)),
		post("YAML aliases, few at each level", configMaps, yamlType, aliases(60, 2)),
		post("YAML aliases of a long list", configMaps, yamlType, "metadata: {name: bomb}\nbase: &b ["+repeat("v", 4000)+"]\nlist:\n"+strings.Repeat("- *b\n", 24)),
		change("apply of YAML aliases", configMaps, "", applyType, aliases(9, 10)),
	}
}

func aliases(levels, width int) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, repeat(fmt.Sprintf("*a%d", i-1), width))
	}
	return b.String()
}

// texts are long.
func texts() []bomb {
	long := func(c string) string { return strings.Repeat(c, bodySize/len(c)) }
	label := func(name, key, value string) bomb {
		return post("long "+name, configMaps, jsonType, `{"metadata":{"name":"bomb","labels":{"`+key+`":"`+value+`"}}}`)
	}
	return []bomb{
		label("label", "a", long("a")), label("label key", long("a"), "a"), label("label prefix", long("a.")+"/a", "a"), label("label with escapes", "a", long(`\u0000`)),
		label("label of quotes", "a", long(`\"`)), label("label of other letters", "a", long("ä")), label("label of slashes", long("/"), "a"),
		post("long name", configMaps, jsonType, `{"metadata":{"name":"`+long("a")+`"}}`),
		post("long name of dots", configMaps, jsonType, `{"metadata":{"name":"`+long("a.")+`"}}`),
		post("long generated name", configMaps, jsonType, `{"metadata":{"generateName":"`+long("a")+`"}}`),
		post("long namespace", configMaps, jsonType, `{"metadata":{"name":"bomb","namespace":"`+long("a")+`"}}`),
		post("long kind", configMaps, jsonType, `{"kind":"`+long("a")+`","metadata":{"name":"bomb"}}`),
		post("long version", configMaps, jsonType, `{"apiVersion":"`+long("a")+`","kind":"ConfigMap","metadata":{"name":"bomb"}}`),
		post("long time", configMaps, jsonType, `{"metadata":{"name":"bomb","creationTimestamp":"`+long("2")+`"}}`),
		post("long unknown field", configMaps, jsonType, `{"`+long("a")+`":1,"metadata":{"name":"bomb"}}`),
		post("long annotation", configMaps, jsonType, `{"metadata":{"name":"bomb","annotations":{"a":"`+long("a")+`"}}}`),
		post("long annotation key", configMaps, jsonType, `{"metadata":{"name":"bomb","annotations":{"`+long("A")+`":""}}}`),
		post("long finalizer", configMaps, jsonType, `{"metadata":{"name":"bomb","finalizers":["`+long("a.")+`/a"]}}`),
		post("long owner", configMaps, jsonType, `{"metadata":{"name":"bomb","ownerReferences":[{"apiVersion":"v1","kind":"`+long("a")+`","name":"`+"a"+`","uid":"a"}]}}`),
		post("long image", pods, jsonType, podWith(`"containers":[{"name":"c","image":"`+long("a/")+`a:b@c"}]`)),
		post("long image of colons", pods, jsonType, podWith(`"containers":[{"name":"c","image":"`+long("a:")+`"}]`)),
		post("long command", pods, jsonType, valid(`"command":["`+long("$(A)")+`"]`, "")),
		post("long path", pods, jsonType, valid(`"volumeMounts":[{"name":"v","mountPath":"`+long("/a")+`"},{"name":"v","mountPath":"/a","subPath":"`+"../"+`"}]`, `"volumes":[{"name":"v","emptyDir":{}}]`)),
		post("long subpath", pods, jsonType, valid(`"volumeMounts":[{"name":"v","mountPath":"/a","subPathExpr":"`+long("$(A)/")+`"}]`, `"volumes":[{"name":"v","emptyDir":{}}]`)),
		post("long host name", pods, jsonType, valid("", `"hostname":"`+long("a")+`","subdomain":"`+"a"+`"`)),
		post("long address", "/api/v1/namespaces/default/endpoints", jsonType, `{"metadata":{"name":"bomb"},"subsets":[{"addresses":[{"ip":"`+long("1.")+`"}]}]}`),
		post("long address of colons", "/api/v1/namespaces/default/services", jsonType, `{"metadata":{"name":"bomb"},"spec":{"clusterIP":"`+long(":")+`","externalIPs":["`+"1.1"+`"]}}`),
		post("long path of an ingress class", "/apis/networking.k8s.io/v1/ingressclasses", jsonType, `{"metadata":{"name":"bomb"},"spec":{"controller":"`+long("a.")+`/b"}}`),
		post("long rule", "/apis/rbac.authorization.k8s.io/v1/clusterroles", jsonType, `{"metadata":{"name":"bomb"},"rules":[{"verbs":["get"],"nonResourceURLs":["`+long("/a")+`"]}]}`),
		post("long attribute", reviews, jsonType, review(`"resourceAttributes":{"verb":"get","resource":"`+long("a")+`"}`)),
		post("long attribute path", reviews, jsonType, review(`"nonResourceAttributes":{"verb":"get","path":"`+long("/a")+`"}`)),
		post("long selector in a review", reviews, jsonType, review(`"resourceAttributes":{"labelSelector":{"rawSelector":"`+long("a,")+`"}}`)),
		post("long token in a review", "/apis/authentication.k8s.io/v1/tokenreviews", jsonType, `{"spec":{"token":"`+long("a.")+`"}}`),
		post("long schedule of an event", "/apis/events.k8s.io/v1/namespaces/default/events", jsonType, `{"metadata":{"name":"bomb"},"note":"`+long("a")+`"}`),
		post("long secret", "/api/v1/namespaces/default/secrets", jsonType, `{"metadata":{"name":"bomb"},"data":{"a":"`+long("aaaa")+`"}}`),
		post("long text in YAML", configMaps, yamlType, "metadata: {name: bomb}\ndata:\n  a: \""+long("a")+"\"\n"),
		post("long key in YAML", configMaps, yamlType, "metadata: {name: bomb}\ndata:\n  "+long("a")+": b\n"),
		post("long comment in YAML", configMaps, yamlType, "metadata: {name: bomb}\n# "+long("a")+"\n"),
		post("long indentation in YAML", configMaps, yamlType, "metadata: {name: bomb}\ndata:\n"+long(" ")+"a: b\n"),
		post("long plain text in YAML", configMaps, yamlType, "metadata: {name: bomb}\ndata:\n  a: "+long("a ")+"\n"),
		post("long block in YAML", configMaps, yamlType, "metadata: {name: bomb}\ndata:\n  a: |\n"+strings.Repeat("    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", 50_000)),
		post("long number in YAML", configMaps, yamlType, "metadata: {name: bomb}\ndata:\n  a: "+long("1")+"\n"),
		post("long number", configMaps, jsonType, `{"metadata":{"name":"bomb","generation":`+long("9")+`}}`),
	}
}

// documents are odd as documents.
func documents() []bomb {
	const deep = 900
	nested := func(open, close string, n int) string { return strings.Repeat(open, n) + strings.Repeat(close, n) }
	var repeated strings.Builder
	repeated.WriteString(`{"metadata":{"name":"bomb"}`)
	for range 50_000 {
		repeated.WriteString(`,"data":{"a":"b"}`)
	}
	return []bomb{
		post("nested lists", configMaps, jsonType, `{"other":`+nested("[", "]", bodySize/2)+`}`),
		post("nested lists as deep as is allowed", configMaps, jsonType, `{"other":[`+repeat(nested("[", "]", 500), 100)+`]}`),
		post("nested objects", configMaps, jsonType, `{"other":`+strings.Repeat(`{"a":`, bodySize/6)+"1"+strings.Repeat("}", bodySize/6)+`}`),
		post("nested lists in YAML", configMaps, yamlType, "other: "+nested("[", "]", bodySize/2)),
		post("nested lists in YAML as deep as is allowed", configMaps, yamlType, "other: "+nested("[", "]", deep)),
		post("nested objects in YAML", configMaps, yamlType, "other: "+strings.Repeat("{a: ", bodySize/5)),
		post("nested dashes in YAML", configMaps, yamlType, "other:\n"+strings.Repeat("- ", bodySize/2)),
		post("nested dashes in YAML, allowed", configMaps, yamlType, "other:\n"+strings.Repeat("- ", 50_000)),
		post("nested indentation in YAML", configMaps, yamlType, indented(2000)),
		post("nested questions in YAML", configMaps, yamlType, strings.Repeat("? ", 50_000)),
		post("many entries in YAML", configMaps, yamlType, "metadata: {name: bomb}\ndata:\n"+strings.ReplaceAll(numbered("  k#: v", 29_000), ",", "\n")),
		post("many values in YAML", configMaps, yamlType, "other: ["+repeat("a", 59_000)+"]"),
		post("many keys in YAML", configMaps, yamlType, "other: {"+numbered("k#", 59_000)+"}"),
		post("the same key in YAML", configMaps, yamlType, strings.Repeat("a: b\n", 29_000)),
		post("many documents in YAML", configMaps, yamlType, strings.Repeat("--- {a: b}\n", 50_000)),
		post("many anchors in YAML", configMaps, yamlType, "other: ["+numbered("&a# x", 50_000)+"]"),
		post("many tags in YAML", configMaps, yamlType, "other: ["+repeat("!!str x", 59_000)+"]"),
		post("tags in YAML", configMaps, yamlType, strings.Repeat("%TAG !a! tag:b\n", 50_000)+"--- {}"),
		post("commas in YAML", configMaps, yamlType, strings.Repeat(",", bodySize)),
		post("quotes in YAML", configMaps, yamlType, "a: "+strings.Repeat("'", bodySize)),
		post("tabs in YAML", configMaps, yamlType, "a:"+strings.Repeat("\t", bodySize)),
		post("stars in YAML", configMaps, yamlType, strings.Repeat("*a ", bodySize/3)),
		post("NULs", configMaps, jsonType, strings.Repeat("\x00", bodySize)),
		post("spaces", configMaps, jsonType, strings.Repeat(" ", bodySize)+"{}"),
		post("the same field over and over", configMaps, jsonType, repeated.String()+"}"),
		post("unknown fields", configMaps, jsonType, `{"metadata":{"name":"bomb"},`+numbered(`"u#":1`, most-1)+`}`),
		post("unknown fields in lists", pods, jsonType, podWith(`"containers":[`+numbered(`{"u#":1}`, objects)+`]`)),
		post("unknown fields, strictly", configMaps+"?fieldValidation=Strict", jsonType, `{"metadata":{"name":"bomb"},`+numbered(`"u#":1`, most-1)+`}`),
		{name: "delete options", method: http.MethodDelete, path: pods + "/absent", contentType: jsonType, body: `{"dryRun":[` + repeat(`""`, 900_000) + `]}`},
		{name: "delete options allowed", method: http.MethodDelete, path: configMaps + "/absent", contentType: jsonType, body: `{"dryRun":[` + numbered(`"a#"`, most) + `]}`},
		{name: "delete options of a collection", method: http.MethodDelete, path: "/apis/apps/v1/namespaces/default/deployments", contentType: jsonType, body: `{"dryRun":[` + numbered(`"a#"`, most) + `]}`},
	}
}

func indented(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// messages are odd in protobuf.
func messages() []bomb {
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	spec := func(fields string) string {
		return envelope(gvk, append(field(1, field(1, []byte("bomb"))), field(2, []byte(fields))...))
	}
	empty := func(number, n int) string { return strings.Repeat(string(field(number, nil)), n) }
	group := string(binary.AppendUvarint(nil, 99<<3|3)) + string(binary.AppendUvarint(nil, 99<<3|4))
	return []bomb{
		post("protobuf of empty containers", pods, protobufType, spec(empty(2, bodySize/2))),
		post("protobuf of empty containers, their number in many bytes", pods, protobufType, spec(strings.Repeat("\x92\x80\x80\x80\x80\x80\x80\x80\x80\x00\x00", bodySize/11))),
		post("protobuf of empty containers, their number cut to its bits", pods, protobufType, spec(strings.Repeat("\x92\x80\x80\x80\x80\x80\x80\x40\x00", bodySize/9))),
		post("protobuf of as many empty containers as are allowed", pods, protobufType, spec(empty(2, objects))),
		post("protobuf of the same spec", pods, protobufType, envelope(gvk, []byte(empty(2, bodySize/2)))),
		post("protobuf of the same security context", pods, protobufType, spec(empty(14, bodySize/2))),
		post("protobuf of the same affinity", pods, protobufType, spec(empty(18, 55_000))),
		post("protobuf of unknown fields", pods, protobufType, spec(empty(200, bodySize/3))),
		post("protobuf of unknown fields as allowed", pods, protobufType, spec(empty(200, 59_000))),
		post("protobuf of groups", pods, protobufType, spec(strings.Repeat(group, bodySize/len(group)))),
		post("protobuf of nested groups", pods, protobufType, spec(strings.Repeat(string(binary.AppendUvarint(nil, 99<<3|3)), bodySize/2))),
		post("protobuf of a group that hides containers", pods, protobufType, spec("\x1b\x12\x01\xff\x1c"+empty(2, bodySize/2))),
		post("protobuf of packed groups", pods, protobufType, spec(string(field(14, field(4, []byte(strings.Repeat("\x01", bodySize))))))),
		post("protobuf of labels", configMaps, protobufType, envelope(corev1.SchemeGroupVersion.WithKind("ConfigMap"), []byte(empty(2, bodySize/2)))),
		post("protobuf of map entries without keys", configMaps, protobufType, envelope(corev1.SchemeGroupVersion.WithKind("ConfigMap"),
			[]byte(strings.Repeat(string(field(2, field(3, nil))), bodySize/5)))),
		post("protobuf envelopes in each other", pods, protobufType, envelopes(2000)),
		post("protobuf envelope of types", pods, protobufType, "k8s\x00"+strings.Repeat(string(field(1, field(1, []byte("v1")))), bodySize/6)),
		post("protobuf of a quantity with a large exponent", pods, protobufType, spec(string(field(2, field(8, field(1, append(field(1, []byte("cpu")), field(2, field(1, []byte("1e9999999")))...))))))),
	}
}

func envelopes(n int) string {
	body := []byte("{}")
	for range n {
		body = []byte(envelope(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, body))
	}
	return string(body)
}

// spread reach the bounds of the whole by many lists that each are far from their own.
func spread() []bomb {
	selector := `{"matchExpressions":[` + repeat(`{"key":"a","operator":"In","values":["a","b","c"]}`, 20) + `]}`
	term := `{"topologyKey":"a","labelSelector":` + selector + `}`
	container := func(name string) string {
		return `{"name":"` + name + `","image":"i","env":[` + numbered(`{"name":"E#","value":"v"}`, 400) + `],"ports":[` + numbered(`{"containerPort":1#}`, 300) + `]}`
	}
	rules := `{"verbs":[` + numbered(`"v#"`, 20) + `],"apiGroups":[` + numbered(`"g#"`, 20) + `],"resources":[` + numbered(`"r#"`, 20) + `]}`
	roles := "/apis/rbac.authorization.k8s.io/v1/clusterroles"
	rule := func(body string) string {
		return `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"bomb"},"rules":[` + body + `]}`
	}
	mounts := numbered(`{"name":"v#","mountPath":"/m#"}`, 4000)
	return []bomb{
		post("affinity terms", pods, jsonType, valid("", `"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[`+repeat(term, 370)+`]}}`)),
		post("containers with variables and ports", pods, jsonType, podWith(`"containers":[`+numbered(container("c#"), 30)+`]`)),
		post("variables", pods, jsonType, valid(`"env":[`+numbered(`{"name":"E#","value":"v"}`, objects)+`]`, "")),
		post("variables that are the same", pods, jsonType, valid(`"env":[`+repeat(`{"name":"E","value":"v"}`, objects)+`]`, "")),
		post("ports that are the same", pods, jsonType, valid(`"ports":[`+repeat(`{"containerPort":80}`, objects)+`]`, "")),
		post("volumes and their mounts", pods, jsonType, valid(`"volumeMounts":[`+mounts+`]`, `"volumes":[`+numbered(`{"name":"v#","emptyDir":{}}`, 4000)+`]`)),
		post("tolerations", pods, jsonType, valid("", `"tolerations":[`+numbered(`{"key":"k#","operator":"Exists"}`, objects)+`]`)),
		post("claims and those who use them", pods, jsonType, valid(`"resources":{"claims":[`+numbered(`{"name":"c#"}`, 5000)+`]}`, `"resourceClaims":[`+numbered(`{"name":"c#","resourceClaimName":"c"}`, 5000)+`]`)),
		post("many containers", pods, jsonType, podWith(`"containers":[`+numbered(`{"name":"c#","image":"i","ports":[{"containerPort":80}]}`, objects)+`]`)),
		post("many valid containers", pods, jsonType, podWith(`"containers":[`+numbered(`{"name":"c#","image":"i"}`, objects)+`]`)),
		post("many valid containers by dry run", pods+"?dryRun=All", jsonType, podWith(`"containers":[`+numbered(`{"name":"c#","image":"i"}`, objects)+`]`)),
		post("rules", roles, jsonType, rule(repeat(rules, 900))),
		post("rules of one resource each", roles, jsonType, rule(numbered(`{"verbs":["get"],"apiGroups":[""],"resources":["r#"]}`, 5000))),
		post("names of a rule", roles, jsonType, rule(`{"verbs":[`+numbered(`"v#"`, 250)+`],"apiGroups":[`+numbered(`"g#"`, 250)+`],"resources":[`+numbered(`"r#"`, 250)+`],"resourceNames":[`+numbered(`"n#"`, 250)+`]}`)),
		post("names of a longer rule", roles, jsonType, rule(`{"verbs":[`+numbered(`"v#"`, most)+`],"apiGroups":[`+numbered(`"g#"`, most)+`],"resources":[`+numbered(`"r#"`, most)+`]}`)),
		post("service ports", "/api/v1/namespaces/default/services", jsonType, `{"metadata":{"name":"bomb"},"spec":{"ports":[`+numbered(`{"name":"p#","port":1#,"nodePort":30001}`, 5000)+`]}}`),
		post("service node ports", "/api/v1/namespaces/default/services", jsonType, `{"metadata":{"name":"bomb"},"spec":{"type":"NodePort","ports":[`+numbered(`{"name":"p#","port":1#}`, 4000)+`]}}`),
		post("endpoints", "/api/v1/namespaces/default/endpoints", jsonType, `{"metadata":{"name":"bomb"},"subsets":[{"addresses":[`+numbered(`{"ip":"10.1.1.1","nodeName":"n#"}`, objects)+`],"ports":[`+numbered(`{"name":"p#","port":80}`, 5000)+`]}]}`),
		post("endpoint subsets", "/api/v1/namespaces/default/endpoints", jsonType, `{"metadata":{"name":"bomb"},"subsets":[`+repeat(`{"addresses":[{"ip":"10.1.1.1"}],"ports":[{"port":80}]}`, 5000)+`]}`),
		post("addresses of a policy", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", jsonType,
			`{"metadata":{"name":"bomb"},"spec":{"podSelector":{},"ingress":[{"from":[`+repeat(`{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16","10.2.0.0/16"]}}`, 5000)+`]}]}}`),
		post("taints of a node", "/api/v1/nodes", jsonType, `{"metadata":{"name":"bomb"},"spec":{"taints":[`+numbered(`{"key":"k#","value":"v","effect":"NoSchedule"}`, objects)+`]}}`),
		post("labels of an object", configMaps, jsonType, `{"metadata":{"name":"bomb","labels":{`+numbered(`"l#":"v"`, most)+`},"annotations":{`+numbered(`"l#":"v"`, most)+`}},"data":{`+numbered(`"l#":"v"`, most)+`}}`),
		post("owners of an object", configMaps, jsonType, `{"metadata":{"name":"bomb","ownerReferences":[`+numbered(`{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u#"}`, objects)+`]}}`),
		post("owners that are the same", configMaps, jsonType, `{"metadata":{"name":"bomb","ownerReferences":[`+repeat(`{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u"}`, objects)+`]}}`),
		post("owners that control", configMaps, jsonType, `{"metadata":{"name":"bomb","ownerReferences":[`+numbered(`{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u#","controller":true,"blockOwnerDeletion":true}`, 5000)+`]}}`),
		post("subjects of a binding", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", jsonType, `{"metadata":{"name":"bomb"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"absent"},"subjects":[`+numbered(`{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"u#"}`, objects)+`]}`),
		post("limits", "/api/v1/namespaces/default/limitranges", jsonType, `{"metadata":{"name":"bomb"},"spec":{"limits":[{"type":"Container","max":{`+numbered(`"r#":"1"`, most)+`},"min":{`+numbered(`"r#":"1"`, most)+`},"default":{`+numbered(`"r#":"1"`, most)+`}}]}}`),
		post("keys of a secret", "/api/v1/namespaces/default/secrets", jsonType, `{"metadata":{"name":"bomb"},"stringData":{`+numbered(`"k#":"v"`, most)+`},"data":{`+numbered(`"l#":"dg=="`, most)+`}}`),
		post("audiences of a token", "/api/v1/namespaces/default/serviceaccounts/user/token", jsonType, `{"spec":{"audiences":[`+numbered(`"a#"`, most)+`]}}`),
		post("audiences of a review", "/apis/authentication.k8s.io/v1/tokenreviews", jsonType, `{"spec":{"token":"a","audiences":[`+numbered(`"a#"`, most)+`]}}`),
		post("groups of a review", "/apis/authorization.k8s.io/v1/subjectaccessreviews", jsonType, `{"spec":{"user":"u","groups":[`+numbered(`"g#"`, most)+`],"resourceAttributes":{"verb":"get","resource":"pods"},"extra":{`+numbered(`"g#":["x"]`, most)+`}}}`),
		post("requirements of a review", reviews, jsonType, review(`"resourceAttributes":{"verb":"list","resource":"pods","labelSelector":{"requirements":[`+repeat(`{"key":"a","operator":"In","values":["a","b"]}`, 5000)+`]}}`)),
		post("events", "/api/v1/namespaces/default/events", jsonType, `{"metadata":{"name":"bomb"},"involvedObject":{"namespace":"default"},"message":"`+strings.Repeat("a", 2<<20)+`"}`),
	}
}
