package patch

import (
	"reflect"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api"
)

// TestCatalogHasSchemas looks for kinds whose writes would fail, and for fields that only the library can judge.
func TestCatalogHasSchemas(t *testing.T) {
	for _, k := range api.Kinds() {
		if !k.Serves("update") {
			continue
		}
		model, err := newTypeModel(k)
		if err != nil {
			t.Error(err)
			continue
		}
		seen := map[*node]bool{}
		var look func(n *node, of reflect.Type, path string)
		look = func(n *node, of reflect.Type, path string) {
			if seen[n] {
				return
			}
			seen[n] = true
			if n.form == opaque {
				t.Errorf("%s: %s (%s) is left to the library", k.GVK, path, of)
				return
			}
			if of.Kind() == reflect.Pointer {
				of = of.Elem()
			}
			for _, f := range n.fields {
				field := of.FieldByIndex(f.index)
				look(f.node, field.Type, path+"."+field.Name)
			}
			if n.element != nil && n.form != set {
				look(n.element, of.Elem(), path+"[]")
			}
		}
		look(newPlan(model, resetFields(k, "none")), reflect.TypeOf(k.New()).Elem(), "")
	}
}
