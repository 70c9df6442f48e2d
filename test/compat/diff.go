package compat

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
)

// diffs says in words how two JSON values differ.
func diffs(want, got any, at string) []string {
	if at == "" {
		at = "."
	}
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		all := map[string]bool{}
		for k := range w {
			all[k] = true
		}
		for k := range g {
			all[k] = true
		}
		names := make([]string, 0, len(all))
		for k := range all {
			names = append(names, k)
		}
		sort.Strings(names)
		var out []string
		for _, k := range names {
			wv, inWant := w[k]
			gv, inGot := g[k]
			switch {
			case !inGot:
				out = append(out, fmt.Sprintf("%s/%s: missing, want %s", at, k, short(wv)))
			case !inWant:
				out = append(out, fmt.Sprintf("%s/%s: unexpected %s", at, k, short(gv)))
			default:
				out = append(out, diffs(wv, gv, at+"/"+k)...)
			}
		}
		return out
	case []any:
		g, ok := got.([]any)
		if !ok {
			break
		}
		if len(w) != len(g) {
			return []string{fmt.Sprintf("%s: want %d items %s, got %d items %s", at, len(w), short(want), len(g), short(got))}
		}
		var out []string
		for i := range w {
			out = append(out, diffs(w[i], g[i], fmt.Sprintf("%s[%d]", at, i))...)
		}
		return out
	case json.Number:
		if g, ok := got.(json.Number); ok && number(w) == number(g) {
			return nil
		}
	}
	if reflect.DeepEqual(want, got) {
		return nil
	}
	return []string{fmt.Sprintf("%s: want %s, got %s", at, short(want), short(got))}
}

func short(v any) string {
	s := canonical(v)
	if len(s) > 160 {
		s = s[:157] + "..."
	}
	return s
}

// plain turns a Go value into what JSON decoding gives, so that it compares with a recorded one.
func plain(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	out, _ := parse(string(b))
	return out
}
