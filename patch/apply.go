package patch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Configuration is a server-side apply: what a manager wants to be true of an object.
type Configuration struct {
	Kind                         *kind.Kind
	Namespace, Name, Subresource string
	// Data is YAML or JSON.
	Data []byte
	// Manager is the request's fieldManager, which apply requires.
	Manager string
	// Force takes fields over from other managers instead of refusing with a conflict.
	Force           bool
	FieldValidation string
	Now             time.Time
}

// Apply makes the object that a configuration asks for out of old, which is nil if there is none yet and is not changed.
// The result is defaulted, has its managed fields and an empty TypeMeta.
func (t *Tracker) Apply(c Configuration, old kind.Object) (kind.Object, []string, error) {
	if c.Manager == "" {
		return nil, nil, bounds.Invalid(metav1.SchemeGroupVersion.WithKind("PatchOptions").GroupKind(), "",
			field.ErrorList{field.Required(field.NewPath("fieldManager"), "is required for apply patch")})
	}
	to, err := t.target(c.Kind, c.Subresource)
	if err != nil {
		return nil, nil, err
	}
	wanted := &unstructured.Unstructured{Object: map[string]any{}}
	if err := c.decode(&wanted.Object); err != nil {
		return nil, nil, err
	}
	present := old
	if present == nil {
		present = c.Kind.New()
	}
	result, err := to.library.Apply(withType(c.Kind, present), wanted, c.Manager, c.Force)
	if err != nil {
		return nil, nil, err
	}
	obj := result.(kind.Object)
	if err := bounds.Object(obj, old); err != nil {
		return nil, nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	stampNew(obj, present.GetManagedFields(), c.Now)
	warnings, err := c.check()
	if err != nil {
		return nil, nil, err
	}
	return obj, warnings, c.fits(obj, old)
}

// decode reads the configuration. Clients send JSON, though they may send YAML, which takes many times as long to read.
func (c Configuration) decode(into *map[string]any) error {
	data, err := c.Data, error(nil)
	if !c.isJSON() {
		if err := bounds.YAML(data); err != nil {
			return err
		}
		if data, err = yaml.YAMLToJSON(data); err != nil {
			return errors.NewBadRequest(fmt.Sprintf("error decoding patch: error converting YAML to JSON: %v", err))
		}
	}
	if err := bounds.JSON(data, c.Kind.New()); err != nil {
		return err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, into); err != nil { // a float64 does not hold all whole numbers
		return errors.NewBadRequest(fmt.Sprintf("error decoding patch: error unmarshaling JSON: while decoding JSON: %v", err))
	}
	return nil
}

func (c Configuration) isJSON() bool {
	return bytes.HasPrefix(bytes.TrimLeft(c.Data, " \t\r\n"), []byte("{")) && json.Valid(c.Data)
}

// stampNew gives the entries that the library has just timed the time of the request.
func stampNew(obj kind.Object, before []metav1.ManagedFieldsEntry, now time.Time) {
	stamp := &metav1.Time{Time: now.UTC().Truncate(time.Second)}
	entries := obj.GetManagedFields()
	for n := range entries {
		known := func(e metav1.ManagedFieldsEntry) bool { return e.Time.Equal(entries[n].Time) }
		if entries[n].Time != nil && !slices.ContainsFunc(before, known) {
			entries[n].Time = stamp
		}
	}
	sortEntries(entries)
	obj.SetManagedFields(entries)
}

// check looks for members that are given twice.
func (c Configuration) check() ([]string, error) {
	if c.FieldValidation == metav1.FieldValidationIgnore {
		return nil, nil
	}
	if c.isJSON() {
		if len(custom.Twice(c.Data)) == 0 {
			return nil, nil
		}
		if err := bounds.YAML(c.Data); err != nil {
			return nil, errors.NewBadRequest("the configuration has members that are given twice")
		}
	}
	err := yaml.UnmarshalStrict(c.Data, &map[string]any{})
	if err == nil {
		return nil, nil
	}
	if c.FieldValidation == metav1.FieldValidationStrict {
		return nil, errors.NewBadRequest(fmt.Sprintf("error strict decoding patch: %v", err))
	}
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	var warnings []string
	for _, line := range strings.Split(strings.TrimPrefix(text, "yaml: unmarshal errors:\n"), "\n") {
		warnings = append(warnings, strings.TrimSpace(line))
	}
	return warnings, nil
}

// fits refuses an object that is not the one of the request's URL.
func (c Configuration) fits(obj, old kind.Object) error {
	if old == nil && obj.GetUID() != "" {
		return errors.NewConflict(c.Kind.GR(), c.Name,
			fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", obj.GetUID()))
	}
	return keepsIdentity(c.Kind, obj, c.Namespace, c.Name)
}
