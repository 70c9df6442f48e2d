// Package patch changes objects by JSON patch, merge patch, strategic merge patch and server-side apply, and keeps
// the record of which manager set which fields (metadata.managedFields).
package patch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

const (
	// maxOperations of one JSON patch.
	maxOperations = 10_000
	// maxCopyBytes that the copy operations of one JSON patch may add up to: the limit of a request body.
	maxCopyBytes = 3 << 20
	// maxMoves of list elements by one JSON patch.
	maxMoves = 10_000_000
	// maxSteps into the document that the operations of one JSON patch take.
	maxSteps = 200_000
	// maxNested bytes of the objects and lists of a document, or of a JSON patch of it: the library reads each of them, with all that is
	// in it, when it comes to it, and writes it for each that it is in.
	maxNested = 24 << 20
)

// setCopyLimit sets the limit of the JSON patch library, which is a variable of that package.
var setCopyLimit = sync.OnceFunc(func() { jsonpatch.AccumulatedCopySizeLimit = maxCopyBytes })

// Apply makes the patched object: a new one, defaulted, with an empty TypeMeta; old is not changed.
// fieldValidation is Ignore, Warn (the meaning of "" too) or Strict and speaks of fields, in the patch or in its result,
// that are unknown or given twice. Errors are *errors.StatusError, except for those that users see as 500.
func Apply(k *kind.Kind, t types.PatchType, data []byte, old kind.Object, fieldValidation string) (kind.Object, []string, error) {
	if !json.Valid(data) {
		return nil, nil, errors.NewBadRequest("invalid JSON patch")
	}
	if !slices.Contains(Types(k), string(t)) {
		return nil, nil, unsupportedType(k, t)
	}
	if err := boundPatch(t, data); err != nil {
		return nil, nil, err
	}
	p := patcher{kind: k, data: data, check: fieldValidation != metav1.FieldValidationIgnore, strict: fieldValidation == metav1.FieldValidationStrict}
	var obj kind.Object
	var err error
	var done bool
	switch t {
	case types.JSONPatchType:
		obj, err = p.throughJSON(old, p.applyOperations)
	case types.MergePatchType:
		if obj, done = p.inPlace(old, false); !done {
			obj, err = p.throughJSON(old, p.applyMerge)
		}
	case types.StrategicMergePatchType:
		if obj, done = p.inPlace(old, true); !done {
			obj, err = p.applyStrategic(old)
		}
	default: // an apply, which is the Tracker's
		return nil, nil, unsupportedType(k, t)
	}
	if err != nil {
		return nil, nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	k.Default(obj)
	if err := keepsIdentity(k, obj, old.GetNamespace(), old.GetName()); err != nil {
		return nil, nil, err
	}
	return obj, p.warnings, nil
}

// Types are those of the patches that objects of a kind may get; nobody changes the slice. A strategic merge patch needs a Go type, which says how lists are merged.
func Types(k *kind.Kind) []string {
	if k.Form == kind.Tree {
		return treeTypes
	}
	return allTypes
}

var (
	allTypes  = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType)}
	treeTypes = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType)}
)

// unsupportedType is the answer to a Content-Type that is no patch of the kind.
func unsupportedType(k *kind.Kind, t types.PatchType) error {
	return &errors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s (got %q)", strings.Join(Types(k), ", "), t),
	}}
}

// patcher is one patch on its way through its steps.
type patcher struct {
	kind *kind.Kind
	data []byte
	// check tells to look for unknown and duplicate fields; strict makes them errors instead of warnings.
	check, strict bool
	warnings      []string
}

// throughJSON applies a patch to the object's JSON form. The steps report what is wrong with the patch's own fields.
func (p *patcher) throughJSON(old kind.Object, apply func(doc []byte) ([]byte, []error, error)) (kind.Object, error) {
	doc, err := json.Marshal(withType(p.kind, old))
	if err != nil {
		return nil, err
	}
	patched, complaints, err := apply(doc)
	if err != nil {
		return nil, err
	}
	obj := p.kind.New()
	// An object that was beyond the bounds before may stay so.
	if err := bounds.JSON(patched, obj); err != nil && (len(patched) > len(doc) || bounds.JSON(doc, obj) == nil) {
		return nil, err
	}
	more, err := objectjson.Decode(patched, obj, p.check)
	if err == nil {
		err = sameType(p.kind, obj)
	}
	if err != nil {
		return nil, invalidResult(string(patched), err)
	}
	return obj, p.report(append(complaints, more...), func() string { return string(patched) })
}

// boundPatch refuses a patch that is dear to read.
func boundPatch(t types.PatchType, data []byte) error {
	if t == types.JSONPatchType {
		if n := bounds.Elements(data); n > maxOperations {
			return errors.NewRequestEntityTooLargeError(fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, n))
		}
	}
	return bounds.JSON(data, nil)
}

// boundNested refuses what is long and nested deep at once.
func boundNested(doc []byte) error {
	if len(doc)*bounds.MaxDepth > maxNested && bounds.Nested(doc) > maxNested {
		return errors.NewRequestEntityTooLargeError("the object is too long, with the patch, to be nested so deep: use a merge patch, or replace the object")
	}
	return nil
}

// operation is a step of a JSON patch, to find members that no step has.
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from"`
	Value json.RawMessage `json:"value"`
}

func (p *patcher) applyOperations(doc []byte) ([]byte, []error, error) {
	setCopyLimit()
	var complaints []error
	if p.check {
		var steps []operation
		found, err := kjson.UnmarshalStrict(p.data, &steps, kjson.DisallowUnknownFields)
		if err != nil {
			return nil, nil, errors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		for _, e := range append(found, custom.Twice(p.data)...) {
			complaints = append(complaints, fmt.Errorf("json patch %v", e))
		}
	}
	steps, err := jsonpatch.DecodePatch(p.data)
	if err != nil {
		return nil, nil, errors.NewBadRequest(err.Error())
	}
	if err := boundMoves(steps, doc); err != nil {
		return nil, nil, err
	}
	for _, text := range [][]byte{doc, p.data} {
		if err := boundNested(text); err != nil {
			return nil, nil, err
		}
	}
	patched, err := steps.Apply(doc)
	if err != nil {
		return nil, nil, unprocessable(err)
	}
	return patched, complaints, nil
}

// boundMoves refuses patches whose operations would move the elements of long lists over and over: each that puts an element
// into a list, or takes one out, copies the list.
func boundMoves(steps jsonpatch.Patch, doc []byte) error {
	moves, steep, longest := 0, 0, bounds.LongestList(doc)
	for _, step := range steps {
		if value := step["value"]; value != nil {
			longest = max(longest, bounds.LongestList(*value))
		}
		for _, name := range []string{"path", "from"} {
			if path := step[name]; path != nil {
				steep += bytes.Count(*path, []byte{'/'})
				if touchesList(*path) {
					moves++
				}
			}
		}
	}
	if steep > maxSteps {
		return errors.NewRequestEntityTooLargeError(fmt.Sprintf("the paths of the patch have more than %d parts", maxSteps))
	}
	if moves*(longest+moves) > maxMoves {
		return errors.NewRequestEntityTooLargeError(fmt.Sprintf("the patch changes long lists at %d places: replace the lists instead", moves))
	}
	return nil
}

// touchesList tells whether a path, in quotes, may end at an element of a list: an index, perhaps in disguise.
func touchesList(path []byte) bool {
	path = bytes.TrimSuffix(path, []byte{'"'})
	last := path[bytes.LastIndexByte(path, '/')+1:]
	return len(bytes.Trim(last, "+-0123456789")) == 0 || bytes.IndexByte(last, '\\') >= 0
}

func (p *patcher) applyMerge(doc []byte) ([]byte, []error, error) {
	var complaints []error
	if p.check {
		var err error
		members := map[string]any{}
		if err = kjson.UnmarshalCaseSensitivePreserveInts(p.data, &members); err != nil {
			return nil, nil, errors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		complaints = custom.Twice(p.data)
	}
	patched, err := mergePatch(doc, p.data)
	return patched, complaints, err
}

func (p *patcher) applyStrategic(old kind.Object) (kind.Object, error) {
	members := map[string]any{}
	var complaints []error
	if err := kjson.UnmarshalCaseSensitivePreserveInts(p.data, &members); err != nil {
		return nil, errors.NewBadRequest(err.Error())
	}
	if p.check {
		complaints = custom.Twice(p.data)
	}
	// The patch has the form of the object, and what the object has already is in bounds: so are quantities in the result.
	if err := bounds.JSON(p.data, p.kind.New()); err != nil {
		return nil, err
	}
	doc, err := runtime.DefaultUnstructuredConverter.ToUnstructured(withType(p.kind, old))
	if err != nil {
		return nil, err
	}
	patched, err := mergeStrategic(p.kind, doc, members)
	if err != nil {
		return nil, strategicError(err)
	}
	obj := p.kind.New()
	show := func() string { return fmt.Sprintf("%+v", members) }
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(patched, obj, p.check); err != nil {
		more, isStrict := runtime.AsStrictDecodingError(err)
		if !isStrict {
			return nil, invalidResult(show(), err)
		}
		complaints = append(complaints, more.Errors()...)
	}
	if err := bounds.Object(obj, old); err != nil {
		return nil, err
	}
	return obj, p.report(complaints, show)
}

// report turns complaints about fields into warnings, or into an error if the request was to be strict.
func (p *patcher) report(complaints []error, show func() string) error {
	if len(complaints) == 0 {
		return nil
	}
	if p.strict {
		return invalidResult(show(), runtime.NewStrictDecodingError(complaints))
	}
	for _, c := range complaints {
		p.warnings = append(p.warnings, c.Error())
	}
	return nil
}

// strategicError tells the mistakes of the patch from those of the object.
func strategicError(err error) error {
	switch err {
	case mergepatch.ErrBadJSONDoc, mergepatch.ErrBadPatchFormatForPrimitiveList, mergepatch.ErrBadPatchFormatForRetainKeys,
		mergepatch.ErrBadPatchFormatForSetElementOrderList, mergepatch.ErrUnsupportedStrategicMergePatchFormat:
		return errors.NewBadRequest(err.Error())
	case mergepatch.ErrNoListOfLists, mergepatch.ErrPatchContentNotMatchRetainKeys:
		return unprocessable(err)
	}
	return err
}

// unprocessable is a 422 without a kind, a name or causes.
func unprocessable(err error) error {
	return errors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}

// invalidResult is the answer to a patch whose result is no object of the kind.
func invalidResult(value string, err error) error {
	return bounds.Invalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), value, err.Error())})
}

// sameType refuses a document that says it is of another kind.
func sameType(k *kind.Kind, obj kind.Object) error {
	got := obj.GetObjectKind().GroupVersionKind()
	if got.Kind != "" && got.Kind != k.GVK.Kind {
		return fmt.Errorf("unable to decode a %s: the patch makes it a %s", k.GVK.Kind, got.Kind)
	}
	if (got.Group != "" || got.Version != "") && got.GroupVersion() != k.GVK.GroupVersion() {
		return fmt.Errorf("unable to decode %s in version %q: the patch makes it version %q", k.GVK.Kind, k.GVK.GroupVersion(), got.GroupVersion())
	}
	return nil
}

// keepsIdentity refuses an object that a patch moved to another name or namespace.
func keepsIdentity(k *kind.Kind, obj kind.Object, namespace, name string) error {
	switch {
	case !k.Namespaced:
		obj.SetNamespace("")
	case obj.GetNamespace() == "":
		obj.SetNamespace(namespace)
	case obj.GetNamespace() != namespace:
		return errors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	switch obj.GetName() {
	case name:
		return nil
	case "":
		return errors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", name))
	}
	return errors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), name))
}
