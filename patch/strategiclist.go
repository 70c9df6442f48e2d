package patch

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/util/mergepatch"
)

// mergeList merges a patch's list into a document's, or removes the patch's scalars from it. The rules are those of its elements.
func mergeList(before, patch []any, rules mergeRules, deletions bool) ([]any, error) {
	key := rules.key
	if len(before) == 0 && len(patch) == 0 {
		return before, nil
	}
	objects, err := elementsAreObjects(before, patch)
	if err != nil {
		return nil, err
	}
	if !objects {
		if deletions {
			unwanted := positions(patch, "")
			kept := make([]any, 0, len(before))
			for _, v := range before {
				if _, ok := unwanted[v]; !ok {
					kept = append(kept, v)
				}
			}
			return kept, nil
		}
		return arrange(distinct(before, patch), patch, before, key)
	}
	if key == "" {
		return nil, fmt.Errorf("cannot merge lists without merge key for %s", rules.of.Go.Kind())
	}
	before, patch, err = applyDirectives(before, patch, key)
	if err != nil {
		return nil, err
	}
	merged, err := mergeObjects(before, patch, rules)
	if err != nil {
		return nil, err
	}
	return arrange(merged, patch, before, key)
}

// elementsAreObjects tells whether lists are of objects or of scalars; all must be of one type.
func elementsAreObjects(lists ...[]any) (bool, error) {
	var first reflect.Type
	for _, list := range lists {
		for _, v := range list {
			t := reflect.TypeOf(v)
			if t != nil && t.Kind() == reflect.Slice {
				return false, mergepatch.ErrNoListOfLists
			}
			if t == nil || first != nil && t != first {
				return false, fmt.Errorf("list element types are not identical: %v", fmt.Sprint(lists))
			}
			first = t
		}
	}
	if first == nil {
		return false, fmt.Errorf("no elements in any of the given slices")
	}
	return first.Kind() == reflect.Map, nil
}

// distinct are the scalars of two lists, each once.
func distinct(lists ...[]any) []any {
	seen := map[any]bool{}
	var all []any
	for _, list := range lists {
		for _, v := range list {
			if !seen[v] {
				seen[v] = true
				all = append(all, v)
			}
		}
	}
	return all
}

// keyOf is what tells an element of a list from others: its key, or the scalar itself if key is empty.
func keyOf(element any, key string) (any, error) {
	if key == "" {
		return scalarKey(element)
	}
	object, ok := element.(map[string]any)
	if !ok {
		return nil, mergepatch.ErrBadArgType(object, element)
	}
	v, ok := object[key]
	if !ok {
		return nil, mergepatch.ErrNoMergeKey(object, key)
	}
	return scalarKey(v)
}

// scalarKey refuses what cannot be compared.
func scalarKey(v any) (any, error) {
	switch v.(type) {
	case map[string]any, []any:
		return nil, mergepatch.ErrBadArgType("", v)
	}
	return v, nil
}

// positions is where the elements of a list stand first, by their keys. Elements without one are left out.
func positions(list []any, key string) map[any]int {
	found := make(map[any]int, len(list))
	for i, v := range list {
		if k, err := keyOf(v, key); err == nil {
			if _, ok := found[k]; !ok {
				found[k] = i
			}
		}
	}
	return found
}

// applyDirectives carries out the directives among a patch's objects and gives the lists that remain to be merged.
func applyDirectives(before, patch []any, key string) (kept, rest []any, err error) {
	unwanted, replace := map[any]bool{}, false
	rest = []any{}
	for _, v := range patch {
		object := v.(map[string]any)
		switch directive, ok := object[directiveMember]; {
		case !ok:
			rest = append(rest, v)
		case directive == deleteDirective:
			k, err := keyOf(v, key)
			if err != nil {
				return nil, nil, err
			}
			unwanted[k] = true
		case directive == replaceDirective:
			replace = true
		case directive == mergeDirective:
			return nil, nil, fmt.Errorf("merging lists cannot yet be specified in the patch")
		default:
			return nil, nil, mergepatch.ErrBadPatchType(directive, object)
		}
	}
	if replace {
		return rest, nil, nil
	}
	if len(unwanted) == 0 {
		return before, rest, nil
	}
	// In place, and what is appended takes the room of what went: the order in which the document's list is compared with
	// the patch's afterwards depends on it, in the library too.
	kept = before[:0]
	for _, v := range before {
		if k, err := keyOf(v, key); err != nil || !unwanted[k] {
			kept = append(kept, v)
		}
	}
	for i := len(kept); i < len(before) && len(kept) > 0; i++ {
		before[i] = kept[len(kept)-1]
	}
	return kept, rest, nil
}

// mergeObjects merges each object of a patch into the first of the same key, or appends it.
func mergeObjects(before, patch []any, rules mergeRules) ([]any, error) {
	key := rules.key
	merged := before
	known := positions(merged, key)
	for _, v := range patch {
		k, err := keyOf(v, key)
		if err != nil {
			return nil, err
		}
		n, ok := known[k]
		if !ok {
			known[k] = len(merged)
			merged = append(merged, v)
			continue
		}
		if merged[n], err = mergeMembers(merged[n].(map[string]any), v.(map[string]any), rules); err != nil {
			return nil, err
		}
	}
	return merged, nil
}

// listed is an element of a merged list, with where it stands in the order of its part and in the document.
type listed struct {
	value     any
	own, live int
	inLive    bool
}

// isDeletion tells whether it is what asks to delete: an object that came with the patch may have such in its lists. They
// go last.
func (p listed) isDeletion() bool {
	directive, _ := directiveOf(p.value)
	return directive == deleteDirective
}

func (p listed) rank() int {
	if p.isDeletion() {
		return 1
	}
	return 0
}

// arrange puts those elements that patchOrder has into its order, and the others into that of the document, each before the
// elements of the patch that followed it there.
func arrange(merged, patchOrder, liveOrder []any, key string) ([]any, error) {
	for _, v := range patchOrder {
		if _, err := keyOf(v, key); err != nil {
			return nil, err
		}
	}
	inPatch, inLive := positions(patchOrder, key), positions(liveOrder, key)
	var left, right []listed
	for _, v := range merged {
		k, err := keyOf(v, key)
		if err != nil {
			return nil, err
		}
		live, ok := inLive[k]
		if n, patched := inPatch[k]; patched {
			right = append(right, listed{v, n, live, ok})
		} else {
			left = append(left, listed{v, live, live, ok})
		}
	}
	for _, list := range [][]listed{left, right} {
		slices.SortStableFunc(list, func(a, b listed) int {
			if a.isDeletion() || b.isDeletion() {
				return cmp.Compare(a.rank(), b.rank())
			}
			return cmp.Compare(a.own, b.own)
		})
	}
	all := make([]any, 0, len(merged))
	for len(left) > 0 || len(right) > 0 {
		if len(right) == 0 || len(left) > 0 && left[0].inLive && right[0].inLive && left[0].live < right[0].live {
			all = append(all, left[0].value)
			left = left[1:]
			continue
		}
		all = append(all, right[0].value)
		right = right[1:]
	}
	return all, nil
}

// mergeOrdered merges a list for which the patch says the order, and takes both from the patch.
func mergeOrdered(doc, patch map[string]any, directive string, value any, rules mergeRules) error {
	delete(patch, directive)
	order, ok := value.([]any)
	if !ok {
		return mergepatch.ErrBadArgType(order, value)
	}
	name, err := listName(directive, setOrderPrefix, mergepatch.ErrBadPatchFormatForSetElementOrderList)
	if err != nil {
		return err
	}
	live, inDoc, err := listMember(doc, name)
	if err != nil {
		return err
	}
	changes, inPatch, err := listMember(patch, name)
	if err != nil {
		return err
	}
	inner, err := rules.list(name)
	if err != nil {
		return err
	}
	if err := followsOrder(changes, order, inner.key); err != nil {
		return err
	}
	merged := live
	switch {
	case !inDoc && !inPatch:
		return nil
	case !inDoc:
		plain, _ := withoutDirectives(changes) // a list is always kept
		merged = plain.([]any)
	case inPatch && inner.strategy == mergeDirective:
		if merged, err = mergeList(live, changes, inner, false); err != nil {
			return err
		}
	case inPatch:
		merged = changes
	}
	if _, err := elementsAreObjects(live, changes); err != nil {
		return err
	}
	if doc[name], err = arrange(merged, order, live, inner.key); err != nil {
		return err
	}
	delete(patch, name)
	return nil
}

func listMember(members map[string]any, name string) ([]any, bool, error) {
	value, ok := members[name]
	if !ok {
		return nil, false, nil
	}
	list, isList := value.([]any)
	if !isList {
		return nil, true, mergepatch.ErrBadArgType(list, value)
	}
	return list, true, nil
}

// followsOrder checks that what a patch's list has, deletions aside, stands in the order, and so in the order.
func followsOrder(changes, order []any, key string) error {
	if len(changes) == 0 || len(order) == 0 {
		return nil
	}
	rest, n := changes, 0
	for ; len(rest) > 0; rest = rest[1:] {
		directive, ok := directiveOf(rest[0])
		if directive == deleteDirective && key != "" || ok && n < len(order) {
			continue
		}
		for same := false; !same; n++ {
			if n == len(order) {
				return fmt.Errorf("The order in patch list:\n%v\n doesn't match %s list:\n%v\n", changes, setOrderPrefix, order) //nolint:revive,stylecheck // upstream's words
			}
			var err error
			if same, err = sameKey(rest[0], order[n], key); err != nil {
				return err
			}
		}
	}
	return nil
}

func directiveOf(element any) (directive any, ok bool) {
	if object, isObject := element.(map[string]any); isObject {
		directive, ok = object[directiveMember]
	}
	return directive, ok
}

func sameKey(a, b any, key string) (bool, error) {
	x, err := keyOf(a, key)
	if err != nil {
		return false, err
	}
	y, err := keyOf(b, key)
	return err == nil && x == y, err
}
