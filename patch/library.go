package patch

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/patch/typeschema"
)

// newFieldManager is apimachinery's field manager for one kind and subresource.
func newFieldManager(k *kind.Kind, subresource string, reset *fieldpath.Set) (*managedfields.FieldManager, error) {
	types, err := newTypeModel(k)
	if err != nil {
		return nil, err
	}
	return newFieldManagerWith(types, k, subresource, reset)
}

func newFieldManagerWith(types managedfields.TypeConverter, k *kind.Kind, subresource string, reset *fieldpath.Set) (*managedfields.FieldManager, error) {
	filters := map[fieldpath.APIVersion]fieldpath.Filter{}
	version := fieldpath.APIVersion(k.GVK.GroupVersion().String())
	switch {
	case subresource == "ephemeralcontainers":
		filters[version] = fieldpath.NewIncludeMatcherFilter(fieldpath.MakePrefixMatcherOrDie("spec", "ephemeralContainers"))
	case subresource == "resize":
		filters[version] = fieldpath.NewIncludeMatcherFilter(
			fieldpath.MakePrefixMatcherOrDie("spec", "containers", fieldpath.MatchAnyPathElement(), "resources"),
			fieldpath.MakePrefixMatcherOrDie("spec", "containers", fieldpath.MatchAnyPathElement(), "resizePolicy"),
			fieldpath.MakePrefixMatcherOrDie("spec", "initContainers", fieldpath.MatchAnyPathElement(), "resources"),
			fieldpath.MakePrefixMatcherOrDie("spec", "initContainers", fieldpath.MatchAnyPathElement(), "resizePolicy"),
			fieldpath.MakePrefixMatcherOrDie("spec", "resources"))
	case !reset.Empty():
		filters[version] = fieldpath.NewExcludeSetFilter(reset)
	}
	manager := managedfields.NewDefaultFieldManager
	if k.Form == kind.Tree {
		manager = managedfields.NewDefaultCRDFieldManager // which does without a schema of other versions
	}
	return manager(types, converter{k}, defaulter{k}, creater{k}, k.GVK, k.GVK.GroupVersion(), subresource, filters)
}

// typeModel converts objects of one kind to typed values.
type typeModel struct {
	kind   *kind.Kind
	schema *smdschema.Schema
	ref    smdschema.TypeRef
}

func newTypeModel(k *kind.Kind) (*typeModel, error) {
	if k.Form == kind.Tree {
		return newTreeModel(k), nil
	}
	named, ok := k.New().(interface{ OpenAPIModelName() string })
	if !ok {
		return nil, fmt.Errorf("the type of %s has no model name, so its fields cannot be tracked", k.GVK)
	}
	name := named.OpenAPIModelName()
	s := typeschema.Load()
	if _, ok := s.FindNamedType(name); !ok {
		return nil, fmt.Errorf("no schema of %s (%s): run go generate in patch/typeschema", k.GVK, name)
	}
	return &typeModel{kind: k, schema: s, ref: smdschema.TypeRef{NamedType: &name}}, nil
}

// ObjectToTyped implements managedfields.TypeConverter.
func (t *typeModel) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	if gvk := obj.GetObjectKind().GroupVersionKind(); gvk != t.kind.GVK {
		return nil, runtime.NewNotRegisteredErrForKind("managed fields", gvk)
	}
	parser := typed.ParseableType{TypeRef: t.ref, Schema: t.schema}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return parser.FromUnstructured(u.Object, options...)
	}
	if members, ok, err := asMaps(obj); ok || err != nil {
		if err != nil {
			return nil, err
		}
		return parser.FromUnstructured(members, options...)
	}
	return parser.FromStructured(obj, options...)
}

// TypedToObject implements managedfields.TypeConverter.
func (t *typeModel) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	members, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a value of %s is no object", t.kind.GVK)
	}
	return &unstructured.Unstructured{Object: members}, nil
}

// converter knows the one version of a kind: it gives objects their type. Fields managed in another version are forgotten.
type converter struct{ kind *kind.Kind }

// Convert implements runtime.ObjectConvertor.
func (converter) Convert(in, out, context any) error {
	return fmt.Errorf("conversion from %T to %T is not supported", in, out)
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (c converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	if gvk, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{c.kind.GVK}); !ok || gvk != c.kind.GVK {
		return nil, runtime.NewNotRegisteredGVKErrForTarget("managed fields", c.kind.GVK, target)
	}
	switch obj := in.(type) {
	case *unstructured.Unstructured:
		if c.kind.Form == kind.Tree { // the library's result shares parts with what it was made of
			return custom.FromMap(custom.CopyTree(obj.Object).(map[string]any))
		}
		out := c.kind.New()
		return out, runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, out)
	case kind.Object:
		return withType(c.kind, obj), nil
	}
	return nil, fmt.Errorf("cannot convert a %T to %s", in, c.kind.GVK)
}

// ConvertFieldLabel implements runtime.ObjectConvertor.
func (converter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// defaulter implements runtime.ObjectDefaulter.
type defaulter struct{ kind *kind.Kind }

func (d defaulter) Default(obj runtime.Object) { d.kind.Default(obj.(kind.Object)) }

// creater implements runtime.ObjectCreater.
type creater struct{ kind *kind.Kind }

func (c creater) New(schema.GroupVersionKind) (runtime.Object, error) {
	return withType(c.kind, c.kind.New()), nil
}

// withType is a shallow copy of an object that says its kind and version; it shares everything below the first level.
func withType(k *kind.Kind, obj kind.Object) kind.Object {
	v := reflect.New(reflect.TypeOf(obj).Elem())
	v.Elem().Set(reflect.ValueOf(obj).Elem())
	typed := v.Interface().(kind.Object)
	typed.GetObjectKind().SetGroupVersionKind(k.GVK)
	return typed
}

// resetFields are the fields that a write to the main resource or to a subresource does not change, whatever it says.
// Writers do not become their managers.
func resetFields(k *kind.Kind, subresource string) *fieldpath.Set {
	reset := fieldpath.NewSet()
	if _, ok := k.Part("status"); !ok {
		return reset
	}
	switch subresource {
	case "":
		reset.Insert(fieldpath.MakePathOrDie("status"))
	case "status":
		reset.Insert(fieldpath.MakePathOrDie("spec"))
	}
	for _, path := range alsoKept[part{k.GR(), subresource}] {
		reset.Insert(fieldpath.MakePathOrDie(path...))
	}
	return reset
}

// part is a resource, or one of its subresources.
type part struct {
	schema.GroupResource
	subresource string
}

// alsoKept are the fields that an update of a kind, or of one of its parts, does not change beyond what all kinds keep.
var alsoKept = map[part][][]any{
	{schema.GroupResource{Resource: "pods"}, "status"}:                       {{"metadata", "deletionTimestamp"}, {"metadata", "ownerReferences"}},
	{schema.GroupResource{Group: "apps", Resource: "deployments"}, "status"}: {{"metadata", "labels"}},
	{signingRequests, ""}:         {{"spec"}},
	{signingRequests, "status"}:   {{"status", "conditions"}},
	{signingRequests, "approval"}: {{"spec"}, {"status", "certificate"}},
	{schema.GroupResource{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}, "status"}: {{"metadata"}},
	{schema.GroupResource{Group: "resource.k8s.io", Resource: "devicetaintrules"}, "status"}:           {{"metadata"}},
	{schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}, "status"}:             {{"metadata"}},
}

var signingRequests = schema.GroupResource{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}
