package compat

import (
	"regexp"
	"slices"
	"sort"
	"strings"
)

// digests are the named short forms of large documents.
var digests = map[string]func(doc, request map[string]any) any{
	"openapi_schema":   openapiSchema,
	"openapi_paths":    openapiPaths,
	"openapi_names":    openapiNames,
	"openapi_path":     openapiPath,
	"resource_list":    resourceList,
	"aggregated_group": aggregatedGroup,
	"group_names":      groupNames,
	"keys":             func(doc, _ map[string]any) any { return sortedKeys(doc) },
	"v3_index":         v3Index,
	"hash_param":       hashParam,
	"sorted_rules":     sortedRules,
}

func sortedKeys(m map[string]any) []any {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	return sorted(names)
}

func sorted(names []string) []any {
	sort.Strings(names)
	out := make([]any, len(names))
	for i, n := range names {
		out[i] = n
	}
	return out
}

func schemas(doc map[string]any) map[string]any {
	if d := object(doc["definitions"]); len(d) > 0 {
		return d
	}
	return object(walk(doc, path("components", "schemas")))
}

func openapiSchema(doc, request map[string]any) any {
	d := object(schemas(doc)[text(request["definition"])])
	if d == nil {
		return nil
	}
	properties := map[string]any{}
	for name, p := range object(d["properties"]) {
		e := map[string]any{}
		for k, v := range object(p) {
			if strings.HasPrefix(k, "x-kubernetes") || k == "type" || k == "format" || k == "enum" {
				e[k] = v
			}
		}
		if ref := refOf(object(p)); ref != "" {
			e["ref"] = ref[strings.LastIndex(ref, "/")+1:]
		}
		properties[name] = e
	}
	extensions := map[string]any{}
	for k, v := range d {
		if strings.HasPrefix(k, "x-kubernetes") {
			extensions[k] = v
		}
	}
	return map[string]any{"required": sorted(texts(d["required"])), "properties": properties, "extensions": extensions}
}

func refOf(p map[string]any) string {
	first := func(v any) map[string]any {
		if l := list(v); len(l) > 0 {
			return object(l[0])
		}
		return nil
	}
	items := object(p["items"])
	for _, m := range []map[string]any{p, first(p["allOf"]), items, first(items["allOf"])} {
		if ref := text(m["$ref"]); ref != "" {
			return ref
		}
	}
	return ""
}

func withPrefix(m map[string]any, prefix string) []any {
	var names []string
	for k := range m {
		if strings.HasPrefix(k, prefix) {
			names = append(names, k)
		}
	}
	return sorted(names)
}

func openapiPaths(doc, request map[string]any) any {
	return withPrefix(object(doc["paths"]), text(request["prefix"]))
}

func openapiNames(doc, request map[string]any) any {
	return withPrefix(schemas(doc), text(request["prefix"]))
}

var refSuffix = regexp.MustCompile(`-[\w]{8}$`)

func openapiPath(doc, request map[string]any) any {
	item := object(object(doc["paths"])[text(request["path_key"])])
	if item == nil {
		return nil
	}
	names := func(parameters any, trim bool) []any {
		var out []string
		for _, p := range list(parameters) {
			name := text(object(p)["name"])
			if name == "" {
				name = text(object(p)["$ref"])
				if trim {
					name = refSuffix.ReplaceAllString(name, "")
				}
			}
			out = append(out, name)
		}
		return sorted(out)
	}
	out := map[string]any{}
	for m, op := range item {
		if m == "parameters" {
			out[m] = names(op, false)
			continue
		}
		o := object(op)
		if o == nil {
			continue
		}
		e := map[string]any{}
		for _, k := range []string{"operationId", "x-kubernetes-action", "x-kubernetes-group-version-kind"} {
			if v, ok := o[k]; ok {
				e[k] = v
			}
		}
		e["parameters"] = names(o["parameters"], true)
		e["responses"] = sortedKeys(object(o["responses"]))
		out[m] = e
	}
	return out
}

func sortBy(l []any, key string) {
	slices.SortStableFunc(l, func(a, b any) int { return strings.Compare(text(object(a)[key]), text(object(b)[key])) })
}

func resourceList(doc, _ map[string]any) any {
	rs := slices.Clone(list(doc["resources"]))
	sortBy(rs, "name")
	if strings.Contains(text(doc["groupVersion"]), "example.com") { // the hash covers the group's name
		for _, r := range rs {
			if _, ok := object(r)["storageVersionHash"]; ok {
				object(r)["storageVersionHash"] = "<hash>"
			}
		}
	}
	if rs == nil {
		rs = []any{}
	}
	return rs
}

func aggregatedGroup(doc, request map[string]any) any {
	for _, item := range list(doc["items"]) {
		if text(walk(item, path("metadata", "name"))) != text(request["group"]) {
			continue
		}
		g := object((&normaliser{}).value(item, ""))
		for _, v := range list(g["versions"]) {
			rs := list(object(v)["resources"])
			sortBy(rs, "resource")
			if rs == nil {
				object(v)["resources"] = []any{}
			}
			for _, r := range rs {
				subs := list(object(r)["subresources"])
				for _, s := range subs {
					slices.SortFunc(list(object(s)["verbs"]), func(a, b any) int { return strings.Compare(text(a), text(b)) })
				}
				sortBy(subs, "subresource")
			}
		}
		return g
	}
	return nil
}

func groupNames(doc, _ map[string]any) any {
	groups := list(doc["groups"])
	if len(groups) == 0 {
		groups = list(doc["items"])
	}
	out := []any{}
	for _, g := range groups {
		name := object(g)["name"]
		if text(name) == "" {
			name = walk(g, path("metadata", "name"))
		}
		if !strings.HasSuffix(text(name), "example.com") {
			out = append(out, name)
		}
	}
	return out
}

func v3Index(doc, _ map[string]any) any {
	var names []string
	for p := range object(doc["paths"]) {
		if !strings.Contains(p, ".example.") {
			names = append(names, p)
		}
	}
	return sorted(names)
}

func hashParam(doc, request map[string]any) any {
	url := text(object(object(doc["paths"])[text(request["gv"])])["serverRelativeURL"])
	before, _, _ := strings.Cut(url, "?")
	return map[string]any{"prefix": before, "hashed": strings.Contains(url, "?hash=")}
}

func sortedRules(doc, _ map[string]any) any {
	status := object(doc["status"])
	order := func(v any) []any {
		l := slices.Clone(list(v))
		slices.SortFunc(l, func(a, b any) int { return strings.Compare(canonical(a), canonical(b)) })
		if l == nil {
			l = []any{}
		}
		return l
	}
	return map[string]any{"resourceRules": order(status["resourceRules"]), "nonResourceRules": order(status["nonResourceRules"]), "incomplete": status["incomplete"]}
}
