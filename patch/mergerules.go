package patch

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// mergeRules say how a strategic merge patch treats values of a type: the tags of its fields do.
type mergeRules struct{ of *shape.Type }

// member finds a member of an object, and the rules of its values. As for whoever decodes JSON, a name in other letters will do
// where there is none in the same.
func (r mergeRules) member(name string) (mergeRules, *shape.Member, error) {
	t := r.of
	if t.Class == shape.Pointer {
		t = t.Elem
	}
	if t.Go.Kind() != reflect.Struct {
		return mergeRules{}, nil, fmt.Errorf("merging an object in json but data type is not struct, instead is: %s", t.Go.Kind())
	}
	m, ok := t.Member(name)
	if !ok {
		at := slices.IndexFunc(t.Members, func(m shape.Member) bool { return strings.EqualFold(m.Name, name) })
		if at < 0 {
			return mergeRules{}, nil, fmt.Errorf("unable to find api field in struct %s for the json field %q", t.Go.Name(), name)
		}
		m = &t.Members[at]
	}
	return mergeRules{m.Type}, m, nil
}

// list finds a member that is a list, and the rules of its elements.
func (r mergeRules) list(name string) (mergeRules, *shape.Member, error) {
	inner, m, err := r.member(name)
	if err != nil {
		return inner, nil, err
	}
	switch t := inner.of; t.Class {
	case shape.List, shape.Bytes:
		if t.Elem.Go.Kind() == reflect.Slice {
			return mergeRules{}, nil, errors.New("unexpected slice of slice")
		}
		return mergeRules{t.Elem}, m, nil
	case shape.Pointer:
		if t = t.Elem; t.Go.Kind() == reflect.Slice {
			t = t.Elem
		}
		return mergeRules{t}, m, nil
	}
	return mergeRules{}, nil, fmt.Errorf("expected slice or array type, but got: %s", r.of.Go.Kind())
}

// strategyOf is the strategy of a field beside retainKeys; "" if there is none.
func strategyOf(f *shape.Member) (string, error) {
	const retain = "retainKeys"
	all := f.MergeStrategies
	rest := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == retain })
	switch {
	case len(rest) == 0:
		return "", nil
	case len(rest) == 1 && len(all) <= 2:
		return rest[0], nil
	}
	return "", fmt.Errorf("unexpected patch strategy: %v", all)
}
