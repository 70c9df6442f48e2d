package kind

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Info is a Kind without its type parameter. Optional functions are never nil.
// Every function expects objects of the kind's own Go type and panics on others.
type Info struct {
	GVK                    schema.GroupVersionKind
	ListKind               string
	Plural, Singular       string
	ShortNames, Categories []string
	Namespaced             bool
	Verbs                  []Verb
	// StoragePrefix of keys, with slashes at both ends ("/registry/pods/").
	StoragePrefix  string
	StorageVersion schema.GroupVersion
	Via            *Conversion
	TTL            time.Duration
	// Deprecation is the warning that every request of this kind gets; empty for nearly all.
	Deprecation string

	New     func() Object
	NewList func() runtime.Object

	Default        func(Object)
	ValidName      func(name string, prefix bool) []string
	PrepareCreate  func(Object)
	PrepareUpdate  func(new, old Object)
	Validate       func(Object) field.ErrorList
	ValidateUpdate func(new, old Object) field.ErrorList
	Warnings       func(new, old Object) []string

	HasGeneration       bool
	SpecChanged         func(new, old Object) bool
	CreateOnUpdate      bool
	RequireRevision     bool
	DeleteReturnsObject bool
	OrphanByDefault     bool
	Grace               func(Object, *metav1.DeleteOptions) Grace
	Finalized           func(Object) bool
	Deleting            func(Object)

	Fields  []InfoField
	Columns []InfoColumn
	// RowConditions of a table's row.
	RowConditions func(Object) []metav1.TableRowCondition
	// Parts holds status first, then the others.
	Parts   []InfoPart
	Scale   *InfoScale
	Actions []Action
}

// InfoField is a Field without its type parameter.
type InfoField struct {
	Name    string
	Value   func(Object) string
	Indexed bool
}

// InfoColumn is a Column without its type parameter.
type InfoColumn struct {
	metav1.TableColumnDefinition
	Cell func(Object, time.Time) any
}

// InfoPart is a Part without its type parameter.
type InfoPart struct {
	Name           string
	Verbs          []Verb
	Prepare        func(new, old Object)
	ValidateUpdate func(new, old Object) field.ErrorList
	Warnings       func(new, old Object) []string
}

// InfoScale is a Scale without its type parameter.
type InfoScale struct {
	SpecReplicas   func(Object) int32
	SetReplicas    func(Object, int32)
	StatusReplicas func(Object) int32
	Selector       func(Object) string
}

// GVR is the kind's group, version and resource.
func (i *Info) GVR() schema.GroupVersionResource {
	return i.GVK.GroupVersion().WithResource(i.Plural)
}

// GR is the kind's group and resource.
func (i *Info) GR() schema.GroupResource { return i.GVR().GroupResource() }

// Stored tells whether the registry keeps objects of this kind under keys of its own.
func (i *Info) Stored() bool { return i.StoragePrefix != "" && i.Via == nil }

// Key is the store key of an object; namespace is ignored for cluster-scoped kinds.
func (i *Info) Key(namespace, name string) string {
	if i.Namespaced {
		return i.StoragePrefix + namespace + "/" + name
	}
	return i.StoragePrefix + name
}

// Part returns the whole-object subresource of that name.
func (i *Info) Part(name string) (*InfoPart, bool) {
	for n := range i.Parts {
		if i.Parts[n].Name == name {
			return &i.Parts[n], true
		}
	}
	return nil, false
}

// Serves tells whether the main resource has the verb.
func (i *Info) Serves(verb Verb) bool { return slices.Contains(i.Verbs, verb) }

// groupsInKeys are the groups whose name is part of the storage key.
var groupsInKeys = map[string]bool{
	"apiextensions.k8s.io":   true,
	"apiregistration.k8s.io": true,
}

// Info erases the type parameter and fills in what was left to default.
func (k Kind[T]) Info() *Info {
	i := &Info{
		GVK:      schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind},
		ListKind: k.Kind + "List", Plural: k.Plural, Singular: k.Singular,
		ShortNames: k.ShortNames, Categories: k.Categories, Namespaced: k.Namespaced,
		Verbs: k.Verbs, StorageVersion: k.StorageVersion, Via: k.Via, TTL: k.TTL,
		NewList:       k.NewList,
		HasGeneration: k.HasGeneration, CreateOnUpdate: k.CreateOnUpdate, RequireRevision: k.RequireRevision,
		DeleteReturnsObject: k.DeleteReturnsObject, OrphanByDefault: k.OrphanByDefault, Actions: k.Actions,
	}
	if k.New == nil {
		panic(fmt.Sprintf("kind %s: New is missing", k.Kind))
	}
	i.New = func() Object { return k.New() }
	i.Deprecation = deprecation(k.New(), i.GVK)
	if i.Singular == "" {
		i.Singular = strings.ToLower(k.Kind)
	}
	if i.Verbs == nil {
		i.Verbs = StoredVerbs
	}
	if i.StorageVersion.Empty() {
		i.StorageVersion = i.GVK.GroupVersion()
	}
	if i.Serves(Get) && !k.Computed {
		path := k.StoragePath
		if path == "" {
			path = k.Plural
			if groupsInKeys[k.Group] {
				path = k.Group + "/" + path
			}
		}
		i.StoragePrefix = "/registry/" + path + "/"
	}
	k.eraseRules(i)
	k.eraseShape(i)
	return i
}

func (k Kind[T]) eraseRules(i *Info) {
	i.Default = one(k.Default)
	i.PrepareCreate = one(k.PrepareCreate)
	i.Deleting = one(k.Deleting)
	i.PrepareUpdate = two(k.PrepareUpdate)
	i.ValidateUpdate = judge(k.ValidateUpdate)
	i.Warnings = warn(k.Warnings)
	i.ValidName = k.ValidName
	i.Validate = judgeNew(k.Validate, k.FreeFinalizers)
	i.SpecChanged = func(new, old Object) bool { return false }
	if f := k.SpecChanged; f != nil {
		i.SpecChanged = func(new, old Object) bool { return f(new.(T), old.(T)) }
	}
	i.Grace = func(Object, *metav1.DeleteOptions) Grace { return Grace{} }
	if f := k.Grace; f != nil {
		i.Grace = func(o Object, d *metav1.DeleteOptions) Grace { return f(o.(T), d) }
	}
	i.Finalized = func(Object) bool { return true }
	if f := k.Finalized; f != nil {
		i.Finalized = func(o Object) bool { return f(o.(T)) }
	}
}

func (k Kind[T]) eraseShape(i *Info) {
	for _, f := range k.Fields {
		value := f.Value
		i.Fields = append(i.Fields, InfoField{Name: f.Name, Indexed: f.Indexed, Value: func(o Object) string { return value(o.(T)) }})
	}
	columns := k.Columns
	if columns == nil {
		columns = plainColumns[T]()
	}
	for _, c := range columns {
		cell := c.Cell
		i.Columns = append(i.Columns, InfoColumn{
			TableColumnDefinition: metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description, Priority: c.Priority},
			Cell:                  func(o Object, now time.Time) any { return cell(o.(T), now) },
		})
	}
	i.RowConditions = func(Object) []metav1.TableRowCondition { return nil }
	if f := k.RowConditions; f != nil {
		i.RowConditions = func(o Object) []metav1.TableRowCondition { return f(o.(T)) }
	}
	parts := k.Parts
	if k.Status != nil {
		status := *k.Status
		status.Name = "status"
		parts = append([]Part[T]{status}, parts...)
	}
	for _, p := range parts {
		verbs := p.Verbs
		if verbs == nil {
			verbs = []Verb{Get, Patch, Update}
		}
		i.Parts = append(i.Parts, InfoPart{Name: p.Name, Verbs: verbs, Prepare: two(p.Prepare),
			ValidateUpdate: judge(p.ValidateUpdate), Warnings: warn(p.Warnings)})
	}
	if s := k.Scale; s != nil {
		i.Scale = &InfoScale{
			SpecReplicas:   func(o Object) int32 { return s.SpecReplicas(o.(T)) },
			SetReplicas:    func(o Object, n int32) { s.SetReplicas(o.(T), n) },
			StatusReplicas: func(o Object) int32 { return s.StatusReplicas(o.(T)) },
			Selector:       func(o Object) string { return s.Selector(o.(T)) },
		}
	}
}

// standardFinalizers are those that need no domain.
var standardFinalizers = []string{"kubernetes", metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}

// judgeNew adds to a kind's own rules that a new object's finalizers carry the domain of who acts on them.
func judgeNew[T Object](f func(T) field.ErrorList, freeFinalizers bool) func(Object) field.ErrorList {
	return func(o Object) field.ErrorList {
		var errs field.ErrorList
		if f != nil {
			errs = f(o.(T))
		}
		if freeFinalizers {
			return errs
		}
		for n, name := range o.GetFinalizers() {
			if !strings.Contains(name, "/") && !slices.Contains(standardFinalizers, name) {
				errs = append(errs, field.Invalid(field.NewPath("metadata", "finalizers").Index(n), name,
					"name is neither a standard finalizer name nor is it fully qualified"))
			}
		}
		return errs
	}
}

func one[T Object](f func(T)) func(Object) {
	if f == nil {
		return func(Object) {}
	}
	return func(o Object) { f(o.(T)) }
}

func two[T Object](f func(new, old T)) func(new, old Object) {
	if f == nil {
		return func(new, old Object) {}
	}
	return func(new, old Object) { f(new.(T), old.(T)) }
}

func judge[T Object](f func(new, old T) field.ErrorList) func(new, old Object) field.ErrorList {
	if f == nil {
		return func(new, old Object) field.ErrorList { return nil }
	}
	return func(new, old Object) field.ErrorList { return f(new.(T), old.(T)) }
}

// warn passes a nil old object on as the zero T.
func warn[T Object](f func(new, old T) []string) func(new, old Object) []string {
	if f == nil {
		return func(new, old Object) []string { return nil }
	}
	return func(new, old Object) []string {
		var before T
		if old != nil {
			before = old.(T)
		}
		return f(new.(T), before)
	}
}
