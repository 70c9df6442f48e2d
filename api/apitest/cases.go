// Package apitest replays recorded requests against kinds, for tests: what a request is given, and which object, which
// complaints and how many warnings it must get.
package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	kjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Case is one recorded exchange: the last step is judged, those before it set up.
type Case struct {
	ID     string  `json:"id"`
	Steps  []Step  `json:"steps"`
	Expect Outcome `json:"expect"`
}

// Step is one request. From and Edit take an object that an earlier step saved and change it.
type Step struct {
	Method, Path string
	Body         json.RawMessage
	From         string
	Edit         [][]any
	Save         string
}

// Outcome is the answer: the code, the set of [field, reason] of a refusal, or the object.
type Outcome struct {
	Code     int        `json:"code"`
	Causes   [][]string `json:"causes,omitempty"`
	Object   any        `json:"object,omitempty"`
	Warnings *int       `json:"warnings,omitempty"`
}

// Backend does what the cases ask: it owns an object that it is given. An answer without causes is a success.
type Backend interface {
	Create(*kind.Kind, kind.Object) Answer
	// Update writes the main resource, or the part if it is not empty.
	Update(i *kind.Kind, part string, o kind.Object) Answer
}

// Answer of a Backend.
type Answer struct {
	Object   kind.Object
	Code     int
	Causes   [][]string
	Warnings []string
}

// Read reads the cases of all files in a folder, by file name without its ending.
func Read(folder string) (map[string][]Case, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no cases in %s", folder)
	}
	out := map[string][]Case{}
	for _, f := range files {
		cases, err := lines[Case](f)
		if err != nil {
			return nil, err
		}
		out[strings.TrimSuffix(filepath.Base(f), ".jsonl")] = cases
	}
	return out, nil
}

// lines are the values in a file, one a line.
func lines[T any](file string) ([]T, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []T
	for line := range bytes.Lines(data) {
		var value T
		if err := json.Unmarshal(line, &value); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, value)
	}
	return out, nil
}

// Words that stand in cases for what a run chooses.
const (
	word      = "u1u2u3u4"
	namespace = "ns-u1u2u3u4"
)

var words = strings.NewReplacer("${u}", word, "${ns}", namespace)

// Run replays a case and tells how the answer differs from what is expected; empty if it does not.
func (c Case) Run(find func(schema.GroupVersionResource) (*kind.Kind, bool), b Backend) (string, error) {
	saved := map[string]any{}
	for n, s := range c.Steps {
		a, err := s.run(find, b, saved)
		if err != nil {
			return "", fmt.Errorf("%s: %w", c.ID, err)
		}
		if n == len(c.Steps)-1 {
			return c.compare(find, s, a)
		}
		if a.Code >= 400 {
			return fmt.Sprintf("step %d fails: %d %v", n, a.Code, a.Causes), nil
		}
		if s.Save != "" {
			if saved[s.Save], err = toJSON(a.Object); err != nil {
				return "", err
			}
		}
	}
	return "", fmt.Errorf("%s has no steps", c.ID)
}

func (s Step) run(find func(schema.GroupVersionResource) (*kind.Kind, bool), b Backend, saved map[string]any) (Answer, error) {
	info, part, name, err := s.target(find)
	if err != nil {
		return Answer{}, err
	}
	body := []byte(words.Replace(string(s.Body)))
	if s.From != "" {
		if body, err = edit(saved[s.From], s.Edit); err != nil {
			return Answer{}, err
		}
	}
	o := info.New()
	if err := kjson.UnmarshalCaseSensitivePreserveInts(body, o); err != nil {
		return Answer{}, err
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if info.Namespaced {
		o.SetNamespace(namespace)
	}
	if name != "" {
		o.SetName(name)
	}
	info.Default(o)
	if s.Method == "POST" {
		return b.Create(info, o), nil
	}
	return b.Update(info, part, o), nil
}

func (s Step) target(find func(schema.GroupVersionResource) (*kind.Kind, bool)) (info *kind.Kind, part, name string, err error) {
	p := strings.Split(strings.Trim(words.Replace(s.Path), "/"), "/")
	var gvr schema.GroupVersionResource
	if p[0] == "api" {
		gvr.Version, p = p[1], p[2:]
	} else {
		gvr.Group, gvr.Version, p = p[1], p[2], p[3:]
	}
	if len(p) > 2 && p[0] == "namespaces" && p[2] != "status" && p[2] != "finalize" {
		p = p[2:]
	}
	gvr.Resource = p[0]
	if len(p) > 1 {
		name = p[1]
	}
	if len(p) > 2 {
		part = p[2]
	}
	info, ok := find(gvr)
	if !ok {
		return nil, "", "", fmt.Errorf("no kind for %s", gvr)
	}
	return info, part, name, nil
}

func edit(from any, edits [][]any) ([]byte, error) {
	data, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	var o any
	if err := utiljson.Unmarshal(data, &o); err != nil {
		return nil, err
	}
	for _, e := range edits {
		path := e[0].([]any)
		var value any
		if len(e) > 1 {
			value = e[1]
		}
		if o, err = set(o, path, value, len(e) == 1); err != nil {
			return nil, err
		}
	}
	data, err = json.Marshal(o)
	return []byte(words.Replace(string(data))), err
}

// set changes one value of a JSON tree: "+" appends to a list, remove deletes a member.
func set(o any, path []any, value any, remove bool) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch key := path[0].(type) {
	case string:
		if key == "+" {
			list, _ := o.([]any)
			return append(list, value), nil
		}
		m, _ := o.(map[string]any)
		if m == nil {
			m = map[string]any{}
		}
		if len(path) == 1 && remove {
			delete(m, key)
			return m, nil
		}
		v, err := set(m[key], path[1:], value, remove)
		m[key] = v
		return m, err
	case float64:
		list, _ := o.([]any)
		n := int(key)
		if n >= len(list) {
			return nil, fmt.Errorf("no element %d", n)
		}
		if len(path) == 1 && remove {
			return append(list[:n:n], list[n+1:]...), nil
		}
		v, err := set(list[n], path[1:], value, remove)
		list[n] = v
		return list, err
	}
	return nil, fmt.Errorf("bad path %v", path)
}

func toJSON(o kind.Object) (any, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(data, &out)
}

func (c Case) compare(find func(schema.GroupVersionResource) (*kind.Kind, bool), s Step, a Answer) (string, error) {
	if c.Expect.Code != a.Code {
		return fmt.Sprintf("code %d %v, want %d %v", a.Code, a.Causes, c.Expect.Code, c.Expect.Causes), nil
	}
	if a.Code >= 400 {
		got, want := pairs(a.Causes), pairs(c.Expect.Causes)
		if !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("causes %v, want %v", got, want), nil
		}
		return "", nil
	}
	if w := c.Expect.Warnings; w != nil && *w != len(a.Warnings) {
		return fmt.Sprintf("warnings %q, want %d", a.Warnings, *w), nil
	}
	if c.Expect.Object == nil {
		return "", nil
	}
	info, _, _, err := s.target(find)
	if err != nil {
		return "", err
	}
	got, err := stored(info, a.Object)
	if err != nil {
		return "", err
	}
	want := normalise(replaceWords(c.Expect.Object), "")
	if !reflect.DeepEqual(got, want) {
		g, _ := json.Marshal(got)
		w, _ := json.Marshal(want)
		return fmt.Sprintf("object\n got %s\nwant %s", g, w), nil
	}
	return "", nil
}

// pairs is the sorted set of causes.
func pairs(list [][]string) []string {
	seen := map[string]bool{}
	out := []string{}
	for _, p := range list {
		if s := words.Replace(strings.Join(p, " ")); !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	sort.Strings(out)
	return out
}

func replaceWords(v any) any {
	data, _ := json.Marshal(v)
	var out any
	if err := json.Unmarshal([]byte(words.Replace(string(data))), &out); err != nil {
		return v
	}
	return out
}
