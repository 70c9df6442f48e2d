package patch

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// mergeRules say how a strategic merge patch treats values of a type, and of a member that has the type: the tags of fields do.
type mergeRules struct {
	of *shape.Type
	// key tells the objects of a list apart; "" if nothing does.
	key string
	// strategy of the member beside retainKeys: merge, replace, or "" for that of its type.
	strategy string
}

// member gives the rules of a member of an object. As for whoever decodes JSON, a name in other letters will do where there is
// none in the same.
func (r mergeRules) member(name string) (mergeRules, error) {
	m, err := r.find(name)
	if err != nil {
		return mergeRules{}, err
	}
	return rulesOf(m, m.Type)
}

// list gives the rules of a member that is a list, for its elements.
func (r mergeRules) list(name string) (mergeRules, error) {
	m, err := r.find(name)
	if err != nil {
		return mergeRules{}, err
	}
	switch t := m.Type; t.Class {
	case shape.List, shape.Bytes:
		if t.Elem.Go.Kind() == reflect.Slice {
			return mergeRules{}, errors.New("unexpected slice of slice")
		}
		return rulesOf(m, t.Elem)
	case shape.Pointer:
		if t = t.Elem; t.Go.Kind() == reflect.Slice {
			t = t.Elem
		}
		return rulesOf(m, t)
	}
	return mergeRules{}, fmt.Errorf("expected slice or array type, but got: %s", r.of.Go.Kind())
}

func (r mergeRules) find(name string) (*shape.Member, error) {
	t := r.of
	if t.Class == shape.Pointer {
		t = t.Elem
	}
	if t.Go.Kind() != reflect.Struct {
		return nil, fmt.Errorf("merging an object in json but data type is not struct, instead is: %s", t.Go.Kind())
	}
	if m, ok := t.Member(name); ok {
		return m, nil
	}
	at := slices.IndexFunc(t.Members, func(m shape.Member) bool { return strings.EqualFold(m.Name, name) })
	if at < 0 {
		return nil, fmt.Errorf("unable to find api field in struct %s for the json field %q", t.Go.Name(), name)
	}
	return &t.Members[at], nil
}

func rulesOf(m *shape.Member, of *shape.Type) (mergeRules, error) {
	const retain = "retainKeys"
	rules := mergeRules{of: of, key: m.MergeKey}
	for _, s := range m.MergeStrategies {
		switch {
		case s == retain:
		case rules.strategy != "" || len(m.MergeStrategies) > 2:
			return mergeRules{}, fmt.Errorf("unexpected patch strategy: %v", m.MergeStrategies)
		default:
			rules.strategy = s
		}
	}
	return rules, nil
}
