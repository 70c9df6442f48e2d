package compat

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
)

var (
	variable     = regexp.MustCompile(`\$\{(\w+)\}`)
	onlyVariable = regexp.MustCompile(`^\$\{(\w+)\}$`)
)

// fill replaces ${name} by the variable's value.
func fill(v any, vars map[string]any) any {
	switch v := v.(type) {
	case string:
		if m := onlyVariable.FindStringSubmatch(v); m != nil {
			if x, ok := vars[m[1]]; ok {
				return x
			}
		}
		return variable.ReplaceAllStringFunc(v, func(m string) string {
			if x, ok := vars[m[2:len(m)-1]]; ok {
				return fmt.Sprint(x)
			}
			return m
		})
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = fill(x, vars)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[fmt.Sprint(fill(k, vars))] = fill(x, vars)
		}
		return out
	}
	return v
}

func clone(v any) any { return plain(v) }

// edit applies [[path, value]] (set) and [[path]] (delete); "+" at the end of a path appends.
func edit(v any, edits []any) any {
	for _, e := range edits {
		pair := list(e)
		v = editAt(v, list(pair[0]), pair[1:])
	}
	return v
}

func editAt(v any, at []any, value []any) any {
	if len(at) == 0 {
		return value[0]
	}
	last := len(at) == 1
	switch k := at[0].(type) {
	case json.Number:
		l := list(v)
		i64, _ := k.Int64()
		i := int(i64)
		switch {
		case last && len(value) == 0:
			if i < len(l) {
				l = slices.Delete(l, i, i+1)
			}
		case i >= len(l):
			l = append(l, editAt(nil, at[1:], value))
		default:
			l[i] = editAt(l[i], at[1:], value)
		}
		return l
	case string:
		if k == "+" {
			return append(list(v), editAt(nil, at[1:], value))
		}
		m := object(v)
		if m == nil {
			m = map[string]any{}
		}
		if last && len(value) == 0 {
			delete(m, k)
		} else {
			m[k] = editAt(m[k], at[1:], value)
		}
		return m
	}
	return v
}
