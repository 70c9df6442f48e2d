// Package compat replays recorded requests against a running API server and compares its answers with those
// that a Kubernetes API server gave.
package compat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Case is one recorded request with what happened before it and what was answered.
type Case struct {
	// ID is area/group_Kind/name.
	ID      string           `json:"id"`
	NS      string           `json:"ns"`
	Serial  bool             `json:"serial"`
	Seconds float64          `json:"seconds"`
	Setup   []map[string]any `json:"setup"`
	Request map[string]any   `json:"request"`
	After   []map[string]any `json:"after"`
	Dump    map[string]any   `json:"dump"`
	Cleanup []string         `json:"cleanup"`
	Expect  any              `json:"expect"`

	// sent is the text of setup and request: values written in it are compared as they are.
	sent string
}

// Area is the first part of the case's name.
func (c *Case) Area() string { return strings.SplitN(c.ID, "/", 3)[0] }

// Kind is the second part of the case's name: group_Kind, or a topic.
func (c *Case) Kind() string { return strings.SplitN(c.ID, "/", 3)[1] }

// Load reads the *.jsonl.gz files of a folder.
func Load(dir string) ([]*Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl.gz"))
	if err != nil {
		return nil, err
	}
	var cases []*Case
	for _, file := range files {
		more, err := loadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		cases = append(cases, more...)
	}
	return cases, nil
}

func loadFile(file string) ([]*Case, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 64<<20)
	var cases []*Case
	for lines.Scan() {
		var c Case
		if err := decode(lines.Bytes(), &c); err != nil {
			return nil, err
		}
		var raw struct{ Setup, Request json.RawMessage }
		if err := json.Unmarshal(lines.Bytes(), &raw); err != nil {
			return nil, err
		}
		c.sent = string(raw.Setup) + string(raw.Request)
		cases = append(cases, &c)
	}
	return cases, lines.Err()
}

// decode keeps numbers as they were written.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(into)
}

// parse decodes a whole JSON text; ok is false when it is none.
func parse(text string) (v any, ok bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	return v, true
}

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
func list(v any) []any            { l, _ := v.([]any); return l }
func text(v any) string           { s, _ := v.(string); return s }

// number reads a JSON number; missing is 0.
func number(v any) float64 {
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	f, _ := n.Float64()
	return f
}

// strings of a JSON array.
func texts(v any) []string {
	var out []string
	for _, x := range list(v) {
		out = append(out, text(x))
	}
	return out
}

// walk follows keys and indexes; nil when the way ends.
func walk(v any, path []any) any {
	for _, k := range path {
		switch k := k.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				return nil
			}
			v = m[k]
		case json.Number:
			i, err := k.Int64()
			l, ok := v.([]any)
			if err != nil || !ok || int(i) >= len(l) || i < 0 {
				return nil
			}
			v = l[i]
		default:
			return nil
		}
	}
	return v
}

func path(keys ...string) []any {
	out := make([]any, len(keys))
	for i, k := range keys {
		out[i] = k
	}
	return out
}
