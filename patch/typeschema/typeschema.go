// Package typeschema holds the structure of the built-in API types as structured-merge-diff needs it: which lists are
// maps with which keys, which are sets, and what is atomic. It is the schema of client-go's apply configurations, without
// types that only alpha and beta versions use, in a form that is read in milliseconds.
package typeschema

import (
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"sync"

	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

//go:generate go run ./generate types.json.gz

//go:embed types.json.gz
var files embed.FS

// Load returns the schema. It is read once, at the first call.
var Load = sync.OnceValue(read)

func read() *schema.Schema {
	types, err := stored()
	if err != nil {
		panic(fmt.Sprintf("the embedded schema of the built-in types is damaged: %v", err))
	}
	return decode(types)
}

func stored() ([]Type, error) {
	f, err := files.Open("types.json.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var types []Type
	err = json.NewDecoder(r).Decode(&types)
	return types, err
}

// Type is a named type in the document.
type Type struct {
	Name string `json:"n"`
	Atom
}

// Atom is the shape of a type: any of scalar, list and map.
type Atom struct {
	Scalar string `json:"s,omitempty"`
	List   *List  `json:"l,omitempty"`
	Map    *Map   `json:"m,omitempty"`
}

// Ref names a type or holds its shape.
type Ref struct {
	Name         string `json:"n,omitempty"`
	Relationship string `json:"r,omitempty"`
	Atom
}

// List is a list, with the fields that are its items' keys if it is a map by meaning.
type List struct {
	Element      Ref      `json:"e"`
	Relationship string   `json:"r,omitempty"`
	Keys         []string `json:"k,omitempty"`
}

// Map is a struct or a map.
type Map struct {
	Fields       []Field `json:"f,omitempty"`
	Element      *Ref    `json:"e,omitempty"`
	Relationship string  `json:"r,omitempty"`
}

// Field is a member of a struct.
type Field struct {
	Name    string `json:"n"`
	Type    Ref    `json:"t"`
	Default any    `json:"d,omitempty"`
}

func decode(types []Type) *schema.Schema {
	s := &schema.Schema{Types: make([]schema.TypeDef, 0, len(types))}
	for _, t := range types {
		s.Types = append(s.Types, schema.TypeDef{Name: t.Name, Atom: t.Atom.decode()})
	}
	return s
}

func (a Atom) decode() schema.Atom {
	var to schema.Atom
	if a.Scalar != "" {
		s := schema.Scalar(a.Scalar)
		to.Scalar = &s
	}
	if a.List != nil {
		to.List = &schema.List{ElementType: a.List.Element.decode(),
			ElementRelationship: schema.ElementRelationship(a.List.Relationship), Keys: a.List.Keys}
	}
	if a.Map != nil {
		to.Map = &schema.Map{ElementRelationship: schema.ElementRelationship(a.Map.Relationship)}
		if a.Map.Element != nil {
			to.Map.ElementType = a.Map.Element.decode()
		}
		for _, f := range a.Map.Fields {
			to.Map.Fields = append(to.Map.Fields, schema.StructField{Name: f.Name, Type: f.Type.decode(), Default: f.Default})
		}
	}
	return to
}

func (r Ref) decode() schema.TypeRef {
	to := schema.TypeRef{Inlined: r.Atom.decode()}
	if r.Name != "" {
		name := r.Name
		to.NamedType = &name
	}
	if r.Relationship != "" {
		relationship := schema.ElementRelationship(r.Relationship)
		to.ElementRelationship = &relationship
	}
	return to
}
