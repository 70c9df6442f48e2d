package patch

import (
	"bytes"
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/errors"
)

// mergePatch merges a patch into a document, with the results of the JSON patch library. That reads what is in an object anew at each
// level that it goes down.
func mergePatch(doc, patch []byte) ([]byte, error) {
	var present, changes any
	if err := decodeNumbers(doc, &present); err != nil {
		return nil, err
	}
	if err := decodeNumbers(patch, &changes); err != nil {
		return nil, errors.NewBadRequest("Invalid JSON Patch")
	}
	members, ok := present.(map[string]any)
	switch changes := changes.(type) {
	case map[string]any:
		if ok {
			mergeObject(members, changes)
			return json.Marshal(members)
		}
	case []any: // it is the result, which is no object
		dropNulls(changes)
		return json.Marshal(changes)
	}
	return nil, errors.NewBadRequest("Invalid JSON Patch")
}

// decodeNumbers leaves numbers as they are written.
func decodeNumbers(data []byte, into *any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(into)
}

func mergeObject(into, changes map[string]any) {
	for name, v := range changes {
		if v == nil {
			delete(into, name)
			continue
		}
		present, isObject := into[name].(map[string]any)
		inner, isChange := v.(map[string]any)
		switch {
		case !isObject:
			dropNulls(v)
			into[name] = v
		case isChange:
			mergeObject(present, inner)
		default: // with all nulls that are in it
			into[name] = v
		}
	}
}

// dropNulls is for what had nothing to be merged into: null means nothing there, but as an element of a list.
func dropNulls(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if inner == nil {
				delete(v, name)
			} else {
				dropNulls(inner)
			}
		}
	case []any:
		for _, inner := range v {
			dropNulls(inner)
		}
	}
}
