// Package custom holds objects whose type is known only while a server runs, such as those of custom resources: metadata of the usual
// type, and beside it a tree of JSON.
package custom

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is one object. In memory its TypeMeta is empty, as that of generated types.
type Object struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Members are the object's members beyond apiVersion, kind and metadata: nil, bool, int64, float64, string, []any and map[string]any.
	Members map[string]any `json:"-"`
}

// List is a list of objects.
type List struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Object `json:"items"`
}

// own are the members of an object that Members does not hold.
var own = []string{"apiVersion", "kind", "metadata"}

// Owns tells whether a member of an object is one that Members does not hold.
func Owns(name string) bool { return name == own[0] || name == own[1] || name == own[2] }

// DeepCopyObject implements runtime.Object.
func (o *Object) DeepCopyObject() runtime.Object {
	c := &Object{TypeMeta: o.TypeMeta, Members: copyMembers(o.Members)}
	o.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return c
}

// DeepCopyObject implements runtime.Object.
func (l *List) DeepCopyObject() runtime.Object {
	c := &List{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&c.ListMeta)
	if l.Items != nil {
		c.Items = make([]Object, len(l.Items))
		for n := range l.Items {
			c.Items[n] = *l.Items[n].DeepCopyObject().(*Object)
		}
	}
	return c
}

func copyMembers(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	c := make(map[string]any, len(m))
	for name, v := range m {
		c[name] = CopyTree(v)
	}
	return c
}

// CopyTree is a deep copy of a value of a tree.
func CopyTree(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return copyMembers(v)
	case []any:
		if v == nil {
			return v
		}
		c := make([]any, len(v))
		for n := range v {
			c[n] = CopyTree(v[n])
		}
		return c
	}
	return v // what is left never changes
}

// Map is the object as one tree: with its metadata, and with kind and version if it says them. It shares Members' values.
func (o *Object) Map() (map[string]any, error) {
	m := make(map[string]any, len(o.Members)+len(own))
	for name, v := range o.Members {
		m[name] = v
	}
	metadata, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&o.ObjectMeta)
	if err != nil {
		return nil, err
	}
	m["metadata"] = metadata
	if o.APIVersion != "" {
		m["apiVersion"] = o.APIVersion
	}
	if o.Kind != "" {
		m["kind"] = o.Kind
	}
	return m, nil
}

// FromMap is the object that a tree describes. It shares the tree's values.
func FromMap(m map[string]any) (*Object, error) {
	o := &Object{Members: make(map[string]any, len(m))}
	for name, v := range m {
		if !Owns(name) {
			o.Members[name] = v
		}
	}
	if len(o.Members) == 0 {
		o.Members = nil
	}
	var ok bool
	if o.APIVersion, ok = m["apiVersion"].(string); !ok && m["apiVersion"] != nil {
		return nil, errors.New("apiVersion is no text")
	}
	if o.Kind, ok = m["kind"].(string); !ok && m["kind"] != nil {
		return nil, errors.New("kind is no text")
	}
	switch metadata := m["metadata"].(type) {
	case nil:
	case map[string]any:
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(metadata, &o.ObjectMeta); err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
	default:
		return nil, errors.New("metadata is no object")
	}
	return o, nil
}
