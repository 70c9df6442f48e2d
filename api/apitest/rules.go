package apitest

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Rules is a Backend of the kinds' own rules alone: nothing is stored but the last object of each kind and name.
type Rules struct{ objects map[string]kind.Object }

// NewRules makes an empty Rules.
func NewRules() *Rules { return &Rules{objects: map[string]kind.Object{}} }

func key(i *kind.Kind, o kind.Object) string { return i.GVR().String() + "/" + o.GetName() }

// Replay runs cases with the rules of kinds alone. Those of which differs tells must not be as they were recorded; nil for none.
func Replay(t *testing.T, cases []Case, find func(schema.GroupVersionResource) (*kind.Kind, bool), differs func(Case) bool) {
	for _, c := range cases {
		difference, err := c.Run(find, NewRules())
		if err != nil {
			t.Fatal(err)
		}
		if (difference != "") != (differs != nil && differs(c)) {
			t.Errorf("%s: %s", c.ID, difference)
		}
	}
}

// Create implements Backend.
func (r *Rules) Create(i *kind.Kind, o kind.Object) Answer {
	if o.GetName() == "" && o.GetGenerateName() != "" {
		o.SetName(o.GetGenerateName() + "12345")
	}
	generation := int64(0)
	if i.HasGeneration {
		generation = 1
	}
	o.SetGeneration(min(o.GetGeneration(), 0))
	i.PrepareCreate(o)
	errs := validation.ValidateObjectMetaAccessor(o, i.Namespaced, i.ValidName, field.NewPath("metadata"))
	o.SetGeneration(generation)
	errs = append(errs, i.Validate(o)...)
	if len(errs) > 0 {
		return refusal(errs)
	}
	o.SetUID("u")
	o.SetResourceVersion("1")
	r.objects[key(i, o)] = o
	warnings := i.Warnings(o, nil)
	if i.Deprecation != "" {
		warnings = append(warnings, i.Deprecation)
	}
	return Answer{Object: o, Code: 201, Warnings: warnings}
}

// Update implements Backend.
func (r *Rules) Update(i *kind.Kind, part string, o kind.Object) Answer {
	old, ok := r.objects[key(i, o)]
	if !ok {
		if i.CreateOnUpdate && part == "" {
			return r.Create(i, o)
		}
		return Answer{Code: 404}
	}
	if o.GetResourceVersion() == "" && i.RequireRevision {
		return Answer{Code: 422, Causes: [][]string{{"metadata.resourceVersion", string(field.ErrorTypeInvalid)}}}
	}
	o.SetResourceVersion(old.GetResourceVersion())
	prepare, validate, warn := i.PrepareUpdate, i.ValidateUpdate, i.Warnings
	if part != "" {
		p, ok := i.Part(part)
		if !ok {
			return Answer{Code: 404}
		}
		prepare, validate, warn = p.Prepare, p.ValidateUpdate, p.Warnings
	}
	o.SetGeneration(old.GetGeneration())
	prepare(o, old)
	if i.HasGeneration && part != "status" && i.SpecChanged(o, old) {
		o.SetGeneration(old.GetGeneration() + 1)
	}
	errs := validation.ValidateObjectMetaAccessor(o, i.Namespaced, path.ValidatePathSegmentName, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(o, old, field.NewPath("metadata"))...)
	if errs = append(errs, validate(o, old)...); len(errs) > 0 {
		return refusal(errs)
	}
	r.objects[key(i, o)] = o
	return Answer{Object: o, Code: 200, Warnings: warn(o, old)}
}

func refusal(errs field.ErrorList) Answer {
	a := Answer{Code: 422}
	for _, e := range errs {
		a.Causes = append(a.Causes, []string{e.Field, string(e.Type)})
	}
	return a
}

// stored is an object as clients read it back: it has been through its stored form.
func stored(i *kind.Kind, o kind.Object) (any, error) {
	data, err := o.(kind.Message).Marshal()
	if err != nil {
		return nil, err
	}
	back := i.New()
	if err := back.(kind.Message).Unmarshal(data); err != nil {
		return nil, fmt.Errorf("cannot read back: %w", err)
	}
	i.Default(back)
	if data, err = json.Marshal(back); err != nil {
		return nil, err
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, err
	}
	out["apiVersion"], out["kind"] = i.GVK.GroupVersion().String(), i.GVK.Kind
	return normalise(out, ""), nil
}

// dropped are the members of metadata that every run chooses anew.
var dropped = []string{"uid", "resourceVersion", "creationTimestamp", "managedFields"}

// normalise replaces what a server may choose.
func normalise(v any, in string) any {
	switch t := v.(type) {
	case map[string]any:
		if in == "metadata" {
			for _, k := range dropped {
				delete(t, k)
			}
			prefix, _ := t["generateName"].(string)
			if name, _ := t["name"].(string); prefix != "" && strings.HasPrefix(name, prefix) && len(name) == len(prefix)+5 {
				t["name"] = prefix + "<gen>"
			}
		}
		for k, x := range t {
			t[k] = normalise(x, k)
		}
		if taints, ok := t["taints"].([]any); ok {
			if t["taints"] = unready(taints); len(t["taints"].([]any)) == 0 {
				delete(t, "taints")
			}
		}
	case []any:
		for n, x := range t {
			t[n] = normalise(x, in)
		}
	case string:
		if _, err := netip.ParseAddr(t); err == nil && (in == "clusterIP" || in == "clusterIPs") {
			return "<ip>"
		}
	case float64:
		if t != 0 && (in == "nodePort" || in == "healthCheckNodePort") {
			return "<port>"
		}
	}
	return v
}

// unready takes out what admission, not the kind, has added: the taint of nodes that are not ready yet.
func unready(taints []any) []any {
	out := make([]any, 0, len(taints))
	for _, x := range taints {
		if m, ok := x.(map[string]any); ok && m["key"] == "node.kubernetes.io/not-ready" {
			continue
		}
		out = append(out, x)
	}
	return out
}
