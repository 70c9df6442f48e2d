package compat

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

var (
	timeForm    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)
	uuidForm    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	addressForm = regexp.MustCompile(`^(\d+\.){3}\d+$|^[0-9a-f:]*:[0-9a-f:]*$`)
	ageForm     = regexp.MustCompile(`^(\d+[smhdy])+$`)
	agoForm     = regexp.MustCompile(`\b(\d+[smhdy])+ ago\b`)
	quadForm    = regexp.MustCompile(`\b(\d+\.){3}\d+\b`)
	portForm    = regexp.MustCompile(`:3[0-2]\d{3}\b`)
	volumeForm  = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`)
	hashForm    = regexp.MustCompile(`^X509SHA256=[0-9a-f]+$`)
)

var freeMeta = []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "selfLink"}

// normaliser replaces what a server may choose freely.
type normaliser struct {
	sent string
	keep []string // metadata fields that stay
	me   string   // the user's name
}

func (n *normaliser) value(v any, parent string) any {
	switch v := v.(type) {
	case map[string]any:
		return n.fields(v, parent)
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = n.value(x, parent)
		}
		return out
	case string:
		return n.string(v)
	}
	return v
}

func (n *normaliser) string(v string) string {
	if timeForm.MatchString(v) && !strings.Contains(n.sent, v) {
		return "<time>"
	}
	v = uuidForm.ReplaceAllStringFunc(v, func(m string) string {
		if strings.Contains(n.sent, m) {
			return m
		}
		return "<uid>"
	})
	v = volumeForm.ReplaceAllString(v, "kube-api-access-<gen>")
	return hashForm.ReplaceAllString(v, "X509SHA256=<hash>")
}

func (n *normaliser) fields(v map[string]any, parent string) map[string]any {
	out := map[string]any{}
	meta := parent == "metadata"
	prefix := ""
	if meta {
		prefix = text(v["generateName"])
	}
	for k, x := range v {
		if meta && slices.Contains(freeMeta, k) && !slices.Contains(n.keep, k) {
			continue
		}
		s, isText := x.(string)
		switch {
		case meta && k == "managedFields":
			out[k] = withoutTimes(x)
		case meta && k == "continue" && s != "":
			out[k] = "<continue>"
		case meta && k == "name" && prefix != "" && strings.HasPrefix(s, prefix) && len(s) == len(prefix)+5:
			out[k] = prefix + "<gen>"
		case k == "clusterIP" && isText && addressForm.MatchString(s):
			out[k] = "<ip>"
		case k == "clusterIPs" && x != nil:
			out[k] = addresses(x)
		case (k == "nodePort" || k == "healthCheckNodePort") && number(x) != 0:
			out[k] = "<port>"
		case k == "username" && s != "" && s == n.me:
			out[k] = "<me>"
		case k == "token" && parent == "status" && s != "":
			out[k] = "<token>"
		case k == "cells" && list(x) != nil:
			cells := make([]any, len(list(x)))
			for i, c := range list(x) {
				cells[i] = n.cell(c)
			}
			out[k] = cells
		default:
			out[k] = n.value(x, k)
		}
	}
	return out
}

func withoutTimes(v any) any {
	out := []any{}
	for _, e := range list(v) {
		entry := map[string]any{}
		for k, x := range object(e) {
			entry[k] = x
		}
		if _, ok := entry["time"]; ok {
			entry["time"] = "<time>"
		}
		out = append(out, entry)
	}
	return out
}

func addresses(v any) any {
	l, ok := v.([]any)
	if !ok {
		return v
	}
	out := make([]any, len(l))
	for i, x := range l {
		out[i] = x
		if s, ok := x.(string); ok && addressForm.MatchString(s) {
			out[i] = "<ip>"
		}
	}
	return out
}

func (n *normaliser) cell(v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	if s == n.me {
		return "<me>"
	}
	s = uuidForm.ReplaceAllString(s, "<uid>")
	if ageForm.MatchString(s) {
		return "<age>"
	}
	s = agoForm.ReplaceAllString(s, "<age> ago")
	s = quadForm.ReplaceAllString(s, "<ip>")
	s = portForm.ReplaceAllString(s, ":<port>")
	if timeForm.MatchString(s) {
		return "<time>"
	}
	return volumeForm.ReplaceAllString(s, "kube-api-access-<gen>")
}

// causes is the sorted set of [field, reason] of a Status.
func causes(status map[string]any) []any {
	seen := map[[2]string]bool{}
	for _, c := range list(walk(status, path("details", "causes"))) {
		seen[[2]string{text(object(c)["field"]), text(object(c)["reason"])}] = true
	}
	out := []any{}
	pairs := make([][2]string, 0, len(seen))
	for p := range seen {
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(a, b [2]string) int {
		if c := strings.Compare(a[0], b[0]); c != 0 {
			return c
		}
		return strings.Compare(a[1], b[1])
	})
	for _, p := range pairs {
		out = append(out, []any{p[0], p[1]})
	}
	return out
}

var (
	managedLine = regexp.MustCompile(`^\s*"?managedFields"?:`)
	freeLine    = regexp.MustCompile(`^\s*"?(uid|resourceVersion|creationTimestamp)"?:`)
)

// textLines normalises a YAML or pretty JSON text line by line.
func textLines(data string) []string {
	var out []string
	skip := -1
	for _, line := range strings.Split(strings.TrimSuffix(data, "\n"), "\n") {
		body := strings.TrimLeft(line, " \t")
		indent := len(line) - len(body)
		if skip >= 0 && (indent > skip || (indent == skip && strings.HasPrefix(body, "-"))) {
			continue
		}
		if skip >= 0 && indent == skip && strings.HasPrefix(body, "]") {
			skip = -1
			continue
		}
		skip = -1
		switch {
		case managedLine.MatchString(line):
			skip = indent
		case !freeLine.MatchString(line):
			out = append(out, line)
		}
	}
	return out
}

// canonical is the JSON text of a value with sorted keys.
func canonical(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
