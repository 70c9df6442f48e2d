package typeschema

import (
	"regexp"

	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// stableName matches the types of stable API versions.
var stableName = regexp.MustCompile(`\.v[0-9]+\.[A-Za-z]+$`)

// Stable picks the types of stable versions and what they refer to, in the schema's order.
func Stable(s *schema.Schema) []Type {
	var types []Type
	found := map[string]Type{}
	var need func(name string)
	need = func(name string) {
		if _, ok := found[name]; ok || name == "" {
			return
		}
		t, ok := s.FindNamedType(name)
		if !ok {
			return
		}
		found[name] = Type{Name: name}
		found[name] = Type{Name: name, Atom: encodeAtom(t.Atom, need)}
	}
	for _, t := range s.Types {
		if stableName.MatchString(t.Name) {
			need(t.Name)
		}
	}
	for _, t := range s.Types {
		if t, ok := found[t.Name]; ok {
			types = append(types, t)
		}
	}
	for _, t := range scale {
		if _, ok := found[t.Name]; !ok {
			types = append(types, t)
		}
	}
	return types
}

// scale is what client-go has no schema of: the kind of the scale subresource.
var scale = []Type{
	{Name: "io.k8s.api.autoscaling.v1.Scale", Atom: record(
		field("apiVersion", Atom{Scalar: "string"}), field("kind", Atom{Scalar: "string"}),
		named("metadata", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
		named("spec", "io.k8s.api.autoscaling.v1.ScaleSpec"), named("status", "io.k8s.api.autoscaling.v1.ScaleStatus"))},
	{Name: "io.k8s.api.autoscaling.v1.ScaleSpec", Atom: record(field("replicas", Atom{Scalar: "numeric"}))},
	{Name: "io.k8s.api.autoscaling.v1.ScaleStatus", Atom: record(
		field("replicas", Atom{Scalar: "numeric"}), field("selector", Atom{Scalar: "string"}))},
}

func record(fields ...Field) Atom { return Atom{Map: &Map{Fields: fields}} }

func field(name string, a Atom) Field { return Field{Name: name, Type: Ref{Atom: a}} }

func named(name, of string) Field { return Field{Name: name, Type: Ref{Name: of}} }

func encodeAtom(a schema.Atom, need func(string)) Atom {
	var to Atom
	if a.Scalar != nil {
		to.Scalar = string(*a.Scalar)
	}
	if a.List != nil {
		to.List = &List{Element: encodeRef(a.List.ElementType, need),
			Relationship: string(a.List.ElementRelationship), Keys: a.List.Keys}
	}
	if a.Map != nil {
		to.Map = &Map{Relationship: string(a.Map.ElementRelationship)}
		if e := a.Map.ElementType; e.NamedType != nil || e.Inlined != (schema.Atom{}) {
			r := encodeRef(e, need)
			to.Map.Element = &r
		}
		for _, f := range a.Map.Fields {
			to.Map.Fields = append(to.Map.Fields, Field{Name: f.Name, Type: encodeRef(f.Type, need), Default: scalar(f.Default)})
		}
	}
	return to
}

func encodeRef(r schema.TypeRef, need func(string)) Ref {
	to := Ref{Atom: encodeAtom(r.Inlined, need)}
	if r.NamedType != nil {
		to.Name = *r.NamedType
		need(to.Name)
	}
	if r.ElementRelationship != nil {
		to.Relationship = string(*r.ElementRelationship)
	}
	return to
}

// scalar drops defaults that are no scalars: only those of list keys are ever used.
func scalar(v any) any {
	switch v.(type) {
	case string, bool, int, int64, float64:
		return v
	}
	return nil
}
