package registry

import (
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// filter says which objects a list or watch is about. The parts that narrow the search are taken out of the
// selectors: namespace, name, and one indexed field.
type filter struct {
	r               *Resource
	namespace, name string
	// by is the position of the indexed field in the table's indexes, -1 if there is none; value is what it must have.
	by    int
	value string
	// label and field are nil if they select everything.
	label labelMatcher
	field fieldMatcher
}

func (r *Resource) filter(namespace string, label labels.Selector, field fields.Selector) *filter {
	f := &filter{r: r, by: -1}
	if r.info.Namespaced {
		f.namespace = namespace
	}
	if label != nil && !label.Empty() {
		f.label = matchLabels(label)
	}
	if field == nil || field.Empty() {
		return f
	}
	f.field = matchFields(field)
	if ns, ok := field.RequiresExactMatch("metadata.namespace"); ok && f.namespace == "" && r.info.Namespaced {
		if len(validation.ValidateNamespaceName(ns, false)) == 0 {
			f.namespace = ns
		}
	}
	f.name, _ = field.RequiresExactMatch("metadata.name")
	if r.via == nil {
		for n := range r.table.fields {
			if value, ok := field.RequiresExactMatch(r.table.fields[n].name); ok {
				f.by, f.value = n, value
				break
			}
		}
	}
	return f
}

// selects tells whether there are selectors beyond the namespace.
func (f *filter) selects() bool { return f.label != nil || f.field != nil }

// scope is the prefix of the keys that can match.
func (f *filter) scope() string {
	if f.namespace != "" {
		return f.r.layout.prefix + f.namespace + "/"
	}
	return f.r.layout.prefix
}

// single is the one key that can match, "" if there may be more.
func (f *filter) single() string {
	if f.name == "" || f.r.info.Namespaced && f.namespace == "" {
		return ""
	}
	return f.scope() + f.name
}

// matches tells whether an item is within the namespace and the selectors.
func (f *filter) matches(i *Item) bool {
	if f.namespace != "" && i.Namespace() != f.namespace {
		return false
	}
	if f.label != nil && !f.label.Matches(i.labels()) {
		return false
	}
	return f.field == nil || f.field.Matches(itemFields{f.r, i})
}

// itemFields answers a field selector.
type itemFields struct {
	r    *Resource
	item *Item
}

// Has tells whether the kind has the field.
func (s itemFields) Has(field string) bool {
	if field == "metadata.name" || field == "metadata.namespace" {
		return true
	}
	for n := range s.r.info.Fields {
		if s.r.info.Fields[n].Name == field {
			return true
		}
	}
	return false
}

// Get is the field's value.
func (s itemFields) Get(field string) string {
	switch field {
	case "metadata.name":
		return s.item.Name()
	case "metadata.namespace":
		return s.item.Namespace()
	}
	if s.r.via == nil {
		for n := range s.r.table.fields {
			if x := &s.r.table.fields[n]; x.name == field {
				return x.value(s.item)
			}
		}
	}
	for n := range s.r.info.Fields {
		if s.r.info.Fields[n].Name == field {
			return s.r.served(s.item).field(n)
		}
	}
	return ""
}
