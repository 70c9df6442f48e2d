package compat

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// verdict is the part of an answer that the request's "record" asks to compare.
func (r *run) verdict(req map[string]any, a *answer) any {
	mode := text(req["record"])
	if mode == "" {
		mode = "object"
	}
	got := map[string]any{"code": a.code}
	if names := texts(req["recordHeaders"]); names != nil {
		headers := map[string]any{}
		for _, h := range names {
			headers[strings.ToLower(h)] = nil
			if v := a.header.Values(h); len(v) > 0 {
				headers[strings.ToLower(h)] = r.back(v[0])
			}
		}
		got["headers"] = headers
	}
	if w, _ := req["warnings"].(bool); w {
		got["warnings"] = len(a.header.Values("Warning"))
	}
	switch mode {
	case "code":
		return got
	case "text", "firstlines":
		lines := textLines(string(a.data))
		if mode == "firstlines" {
			n := 2
			if l, ok := req["lines"]; ok {
				n = int(number(l))
			}
			lines = lines[:min(n, len(lines))]
		}
		for i := range lines {
			lines[i] = r.back(lines[i])
		}
		got["text"] = append([]string{}, lines...)
		return got
	case "magic":
		got["magic"] = hex.EncodeToString(a.data[:min(4, len(a.data))])
		return got
	}
	if a.lines != nil {
		got["events"] = r.events(req, mode, a)
		return got
	}
	if len(a.data) == 0 {
		return got
	}
	if contentType, _, _ := strings.Cut(a.header.Get("Content-Type"), ";"); contentType != "application/json" && contentType != "" {
		got["contentType"] = contentType
		if mode != "json" {
			return got
		}
	}
	return r.document(req, mode, a, got)
}

func (r *run) normaliser(req map[string]any) *normaliser {
	return &normaliser{sent: r.c.sent, keep: texts(req["keep"]), me: r.client.me}
}

func (r *run) events(req map[string]any, mode string, a *answer) []any {
	events := []any{}
	for _, line := range a.lines {
		v, ok := parse(r.back(line))
		if !ok {
			v = map[string]any{"type": "UNPARSED"}
		}
		e := object(v)
		if text(e["type"]) == "BOOKMARK" && !strings.Contains(line, "initial-events-end") {
			continue // periodic bookmarks come when the server likes
		}
		o, isObject := e["object"].(map[string]any)
		var shown any
		switch {
		case isObject && text(o["kind"]) == "Status" && text(e["type"]) == "ERROR":
			shown = map[string]any{"code": o["code"], "reason": o["reason"]}
		case isObject && mode == "names":
			shown = map[string]any{"kind": o["kind"], "name": walk(o, path("metadata", "name"))}
		default:
			shown = r.normaliser(req).value(e["object"], "")
		}
		events = append(events, map[string]any{"type": e["type"], "object": shown})
	}
	return events
}

// document judges a JSON answer.
func (r *run) document(req map[string]any, mode string, a *answer, got map[string]any) any {
	whole := r.back(string(a.data))
	v, ok := parse(whole)
	if !ok {
		got["unparsed"] = true
		return got
	}
	doc := object(v)
	prefix, name := text(walk(v, path("metadata", "generateName"))), text(walk(v, path("metadata", "name")))
	if prefix != "" && len(name) == len(prefix)+5 && strings.HasPrefix(name, prefix) { // the name is also copied elsewhere
		v, _ = parse(strings.ReplaceAll(whole, name, prefix+"<gen>"))
		doc = object(v)
	}
	n := r.normaliser(req)
	if text(doc["kind"]) == "Status" && text(doc["status"]) == "Failure" {
		got["reason"], got["causes"] = text(doc["reason"]), causes(doc)
		if mode == "object" || mode == "status" {
			kept := map[string]any{}
			for _, k := range []string{"group", "kind", "name"} {
				if x, ok := object(doc["details"])[k]; ok {
					kept[k] = x
				}
			}
			got["details"] = n.value(kept, "")
		}
		return got
	}
	switch mode {
	case "verdict", "status":
	case "pick":
		n.keep = []string{"uid"}
		values := map[string]any{}
		for _, p := range list(req["pick"]) {
			keys := list(p)
			var words []string
			for _, k := range keys {
				words = append(words, fmt.Sprint(k))
			}
			parent := ""
			if len(words) > 1 {
				parent = words[len(words)-2]
			}
			values[strings.Join(words, ".")] = n.value(walk(v, keys), parent)
		}
		got["values"] = values
	case "names":
		r.names(doc, got)
	case "digest":
		got["values"] = digests[text(req["digest"])](doc, req)
	default:
		got["object"] = n.value(v, "")
	}
	return got
}

func (r *run) names(doc, got map[string]any) {
	items := list(doc["items"])
	if len(items) == 0 {
		items = list(doc["rows"])
	}
	names := []any{}
	for _, i := range items {
		o := object(i)
		if inner := object(o["object"]); len(inner) > 0 {
			o = inner
		}
		names = append(names, walk(o, path("metadata", "name")))
	}
	got["kind"], got["names"] = doc["kind"], names
	meta := object(doc["metadata"])
	got["continue"] = text(meta["continue"]) != ""
	if n, ok := meta["remainingItemCount"]; ok {
		got["remaining"] = n
	}
}
