package patch

import (
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/util/mergepatch"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// The members of a strategic merge patch that say how to merge instead of what.
const (
	directiveMember  = "$patch"
	retainKeysMember = "$retainKeys"
	deleteFromPrefix = "$deleteFromPrimitiveList"
	setOrderPrefix   = "$setElementOrder"

	replaceDirective = "replace"
	deleteDirective  = "delete"
	mergeDirective   = "merge"
)

// mergeStrategic applies a strategic merge patch to an object's members; it changes both. The result is that of
// strategicpatch.StrategicMergeMapPatch, which looks for each item of a list through the whole list: here items are found by
// their keys, so that the cost grows with the lists and not with their square. Where the library's result depends on the
// order in which Go walks a map, deletions from lists come first.
func mergeStrategic(k *kind.Kind, doc, patch map[string]any) (map[string]any, error) {
	return mergeMembers(doc, patch, mergeRules{of: shape.Of(reflect.TypeOf(k.New()))})
}

func mergeMembers(doc, patch map[string]any, rules mergeRules) (map[string]any, error) {
	if directive, ok := patch[directiveMember]; ok {
		switch directive {
		case replaceDirective:
			delete(patch, directiveMember)
			return patch, nil
		case deleteDirective:
			return map[string]any{}, nil
		}
		return nil, mergepatch.ErrBadPatchType(directive, patch)
	}
	if doc == nil {
		doc = map[string]any{}
	}
	if err := retainKeys(doc, patch); err != nil {
		return nil, err
	}
	for name, order := range patch {
		if strings.HasPrefix(name, setOrderPrefix) {
			if err := mergeOrdered(doc, patch, name, order, rules); err != nil {
				return nil, err
			}
		}
	}
	for name, value := range patch {
		if strings.HasPrefix(name, deleteFromPrefix) {
			list, err := listName(name, deleteFromPrefix, mergepatch.ErrBadPatchFormatForPrimitiveList)
			if err == nil {
				err = mergeMember(doc, list, value, true, rules)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	for name, value := range patch {
		if !strings.HasPrefix(name, deleteFromPrefix) {
			if err := mergeMember(doc, name, value, false, rules); err != nil {
				return nil, err
			}
		}
	}
	return doc, nil
}

// listName is the list that a directive is about.
func listName(name, prefix string, malformed error) (string, error) {
	before, after, ok := strings.Cut(name, "/")
	if !ok || before != prefix {
		return "", malformed
	}
	return after, nil
}

// retainKeys removes from the document what a patch with $retainKeys does not name.
func retainKeys(doc, patch map[string]any) error {
	value, ok := patch[retainKeysMember]
	if !ok {
		return nil
	}
	delete(patch, retainKeysMember)
	list, ok := value.([]any)
	if !ok {
		return mergepatch.ErrBadPatchFormatForRetainKeys
	}
	retained := make(map[string]bool, len(list))
	for _, v := range list {
		if name, ok := v.(string); ok {
			retained[name] = true
		}
	}
	for name, v := range patch {
		if v != nil && !strings.HasPrefix(name, deleteFromPrefix) && !strings.HasPrefix(name, setOrderPrefix) && !retained[name] {
			return mergepatch.ErrBadPatchFormatForRetainKeys
		}
	}
	for name := range doc {
		if !retained[name] {
			delete(doc, name)
		}
	}
	return nil
}

// mergeMember merges one member of a patch; deletions tells that it lists scalars to be deleted from the member.
func mergeMember(doc map[string]any, name string, value any, deletions bool, rules mergeRules) error {
	if value == nil {
		delete(doc, name)
		return nil
	}
	before, ok := doc[name]
	if !ok || reflect.TypeOf(before) != reflect.TypeOf(value) {
		if !deletions {
			discardNulls(value)
			setPlain(doc, name, value)
		}
		return nil
	}
	switch value := value.(type) {
	case map[string]any:
		inner, err := rules.member(name)
		if err != nil {
			return err
		}
		if inner.strategy == replaceDirective {
			doc[name] = value
			return nil
		}
		merged, err := mergeMembers(before.(map[string]any), value, inner)
		if err == nil {
			doc[name] = merged
		}
		return err
	case []any:
		inner, err := rules.list(name)
		if err != nil {
			return err
		}
		if inner.strategy != mergeDirective && !deletions {
			doc[name] = value
			return nil
		}
		merged, err := mergeList(before.([]any), value, inner, deletions)
		if err == nil {
			doc[name] = merged
		}
		return err
	}
	setPlain(doc, name, value)
	return nil
}

// setPlain sets a member to what a patch has, without the directives in it.
func setPlain(doc map[string]any, name string, value any) {
	if plain, keep := withoutDirectives(value); keep {
		doc[name] = plain
	} else {
		delete(doc, name)
	}
}

// withoutDirectives is the value without the objects that are directives; it may change the value.
func withoutDirectives(value any) (any, bool) {
	switch value := value.(type) {
	case map[string]any:
		if _, ok := value[directiveMember]; ok {
			return nil, false
		}
		for name, v := range value {
			setPlain(value, name, v)
		}
		return value, true
	case []any:
		if value == nil {
			return value, true
		}
		kept := make([]any, 0, len(value))
		for _, v := range value {
			if plain, keep := withoutDirectives(v); keep {
				kept = append(kept, plain)
			}
		}
		return kept, true
	}
	return value, true
}

// discardNulls removes the null members of objects at any depth.
func discardNulls(value any) {
	switch value := value.(type) {
	case map[string]any:
		for name, v := range value {
			if v == nil {
				delete(value, name)
			} else {
				discardNulls(v)
			}
		}
	case []any:
		for _, v := range value {
			discardNulls(v)
		}
	}
}
