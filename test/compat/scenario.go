package compat

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// dump waits until the listed objects stop changing, and returns them normalised: for controllers, whose way to a
// result is their own.
func (r *run) dump(ctx context.Context, d map[string]any) (any, error) {
	seconds := func(name string, usual float64) time.Duration {
		if v, ok := d[name]; ok {
			usual = number(v)
		}
		return time.Duration(usual * float64(time.Second))
	}
	begin := time.Now()
	limit := begin.Add(seconds("within", 15))
	if end := r.end.Add(-time.Second); end.Before(limit) {
		limit = end
	}
	last, since, first := "", begin, true
	var objects []any
	for {
		var texts []string
		for _, p := range list(d["paths"]) {
			a, err := r.raw(ctx, map[string]any{"method": "GET", "path": p})
			if err != nil {
				return nil, err
			}
			if a.code == 200 {
				texts = append(texts, r.back(string(a.data)))
			} else {
				texts = append(texts, fmt.Sprintf(`{"code":%d}`, a.code))
			}
		}
		now := r.scenario(texts, d)
		if c := canonical(now); first || c != last {
			last, since, objects, first = c, time.Now(), now, false
		}
		quiet := time.Since(since) >= seconds("quiet", 1.5) && time.Since(begin) > seconds("atleast", 0)
		if quiet || time.Now().After(limit) {
			return map[string]any{"objects": objects}, nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// scenario turns lists of objects into normalised, sorted objects: hashes and generated names become placeholders.
func (r *run) scenario(texts []string, d map[string]any) []any {
	names := map[string]string{}
	for _, t := range texts {
		v, _ := parse(t)
		for _, o := range itemsOf(object(v)) {
			collectNames(object(object(o)["metadata"]), names)
		}
	}
	order := make([]string, 0, len(names))
	for n := range names {
		order = append(order, n)
	}
	sort.Slice(order, func(i, j int) bool {
		a, b := names[order[i]] == "<hash>", names[order[j]] == "<hash>"
		if a != b {
			return b
		}
		return len(order[i]) > len(order[j])
	})
	out := []any{}
	for _, t := range texts {
		for _, n := range order {
			t = strings.ReplaceAll(t, n, names[n])
		}
		v, _ := parse(t)
		if m := object(v); len(m) == 1 && m["code"] != nil {
			out = append(out, v)
			continue
		}
		items := []any{}
		for _, o := range itemsOf(object(v)) {
			n := &normaliser{sent: r.c.sent, me: r.client.me}
			items = append(items, dropChance(object(n.value(o, "")), d))
		}
		slices.SortFunc(items, func(a, b any) int { return strings.Compare(canonical(a), canonical(b)) })
		out = append(out, items)
	}
	return out
}

func itemsOf(m map[string]any) []any {
	if items, ok := m["items"]; ok {
		return list(items)
	}
	if m["metadata"] != nil && text(m["kind"]) != "Status" {
		return []any{m}
	}
	return nil
}

func collectNames(meta map[string]any, names map[string]string) {
	for _, k := range []string{"pod-template-hash", "controller-revision-hash"} {
		if h := text(object(meta["labels"])[k]); h != "" {
			names[h[strings.LastIndex(h, "-")+1:]] = "<hash>"
		}
	}
	prefix, name := text(meta["generateName"]), text(meta["name"])
	if prefix != "" && strings.HasPrefix(name, prefix) && len(name) == len(prefix)+5 {
		names[name] = prefix + "<gen>"
	}
}

// dropChance removes what is up to chance in one object: the node chosen, which of equal pods was kept, the number of steps taken.
func dropChance(o, d map[string]any) any {
	keepNode, _ := d["keepNode"].(bool)
	node := func(m map[string]any) {
		if text(m["nodeName"]) != "" && !keepNode {
			m["nodeName"] = "<node>"
		}
	}
	if spec := object(o["spec"]); spec["containers"] != nil {
		node(spec)
	}
	meta, status := object(o["metadata"]), object(o["status"])
	if text(meta["generateName"]) != "" || strings.Contains(text(meta["name"]), "<gen>") {
		for _, k := range []string{"podIP", "podIPs"} {
			if _, ok := status[k]; ok {
				status[k] = "<ip>"
			}
		}
	}
	for _, c := range list(status["conditions"]) {
		delete(object(c), "message")
	}
	for _, e := range list(o["endpoints"]) {
		node(object(e))
	}
	for _, s := range list(o["subsets"]) {
		for _, k := range []string{"addresses", "notReadyAddresses"} {
			l := list(object(s)[k])
			for _, a := range l {
				node(object(a))
			}
			slices.SortFunc(l, func(a, b any) int { return strings.Compare(canonical(a), canonical(b)) })
		}
	}
	annotations := object(meta["annotations"])
	delete(annotations, "endpoints.kubernetes.io/last-change-trigger-time") // only there when the batch had one change
	if len(annotations) == 0 {
		delete(meta, "annotations")
	}
	if e, ok := o["endpoints"]; ok {
		delete(meta, "generation")
		l := append([]any{}, list(e)...)
		slices.SortFunc(l, func(a, b any) int { return strings.Compare(canonical(a), canonical(b)) })
		o["endpoints"] = l
	}
	fields := list(d["fields"])
	if len(fields) == 0 {
		return o
	}
	var kept any = map[string]any{"metadata": map[string]any{"name": meta["name"]}}
	for _, f := range fields {
		if v := walk(o, list(f)); v != nil {
			kept = editAt(kept, list(f), []any{v})
		}
	}
	return kept
}
