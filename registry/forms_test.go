package registry

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// testForm is a form of the tests' kinds. These have the same names, keys and rules in each form, and a test says what it does to an object
// by the functions below.
type testForm kind.Form

const (
	generated = testForm(kind.Generated)
	trees     = testForm(kind.Tree)
)

func (f testForm) String() string {
	return map[testForm]string{generated: "generated", trees: "trees"}[f]
}

// forEachForm runs a test with kinds of each form.
func forEachForm(t *testing.T, test func(t *testing.T, f testForm)) {
	for _, f := range []testForm{generated, trees} {
		t.Run(f.String(), func(t *testing.T) { test(t, f) })
	}
}

// What differs between the forms stands here.

// keeps: the decoded object stays with an item whose change is long past.
func (f testForm) keeps() bool { return f == generated }

// emptyCounts: a member that is empty is another thing than none.
func (f testForm) emptyCounts() bool { return f == trees }

// statusBringsMetadata: who writes the status may change labels and the like.
func (f testForm) statusBringsMetadata() bool { return f == generated }

// The kinds of these tests: just enough of each to take every path.
func (f testForm) kinds() []*kind.Kind {
	if f == trees {
		list := kind.ListOf[custom.List]
		return []*kind.Kind{configMaps[custom.Object](list), pods(list, kind.TreeHalves()), namespaces[custom.Object](list), services[custom.Object](list), secretKind[custom.Object](list)}
	}
	return []*kind.Kind{
		configMaps[corev1.ConfigMap](kind.ListOf[corev1.ConfigMapList]),
		pods(kind.ListOf[corev1.PodList], kind.SpecAndStatus[corev1.Pod]()),
		namespaces[corev1.Namespace](kind.ListOf[corev1.NamespaceList]),
		services[corev1.Service](kind.ListOf[corev1.ServiceList]),
		secretKind[corev1.Secret](kind.ListOf[corev1.SecretList]),
	}
}

// objectOf is the pointer to a kind's Go type.
type objectOf[E any] interface {
	*E
	kind.Object
}

func configMaps[E any, P objectOf[E]](list func() runtime.Object) *kind.Kind {
	return kind.Define[E, P](kind.Resource{GroupVersion: corev1.SchemeGroupVersion, Kind: "ConfigMap", Plural: "configmaps", Namespaced: true, List: list}, kind.Rules[E]{
		Validate: func(c, old *E) field.ErrorList {
			if bad := dataOf(P(c))["bad"]; old == nil && bad != "" {
				return field.ErrorList{field.Invalid(field.NewPath("data").Key("bad"), bad, "must be empty")}
			}
			return nil
		},
	})
}

func pods[E any, P objectOf[E]](list func() runtime.Object, halves kind.Halves[E]) *kind.Kind {
	return kind.Define[E, P](kind.Resource{
		GroupVersion: corev1.SchemeGroupVersion, Kind: "Pod", Plural: "pods", Namespaced: true, List: list, HasGeneration: true, DeleteReturnsObject: true,
	}, kind.Rules[E]{
		Halves: halves,
		Prepare: func(next, old *E) {
			if old == nil {
				set(P(next), "status.phase", "Pending")
			}
		},
		SpecChanged: func(next, old *E) bool { return get(P(next), "spec.hostname") != get(P(old), "spec.hostname") },
		Grace: func(p *E, o *metav1.DeleteOptions) kind.Grace {
			seconds := int64(30)
			if o.GracePeriodSeconds != nil {
				seconds = *o.GracePeriodSeconds
			}
			if get(P(p), "spec.nodeName") == "" {
				seconds = 0
			}
			return kind.Grace{Graceful: true, Seconds: seconds}
		},
		Fields: []kind.Field[E]{
			{Name: "spec.nodeName", Indexed: true, Value: func(p *E) string { return get(P(p), "spec.nodeName") }},
			{Name: "status.phase", Value: func(p *E) string { return get(P(p), "status.phase") }},
		},
	})
}

func namespaces[E any, P objectOf[E]](list func() runtime.Object) *kind.Kind {
	return kind.Define[E, P](kind.Resource{
		GroupVersion: corev1.SchemeGroupVersion, Kind: "Namespace", Plural: "namespaces", List: list, IsNamespace: true, DeleteReturnsObject: true,
	}, kind.Rules[E]{
		Prepare: func(next, old *E) {
			if old == nil {
				setSpecFinalizers(P(next), "kubernetes")
			}
		},
		Finalized: func(n *E) bool { return !hasSpecFinalizers(P(n)) },
		Deleting:  func(n *E) { set(P(n), "status.phase", "Terminating") },
		Parts: []kind.Part[E]{{Name: "finalize", Prepare: func(next, old *E) {
			set(P(next), "status.phase", get(P(old), "status.phase"))
		}}},
	})
}

func services[E any, P objectOf[E]](list func() runtime.Object) *kind.Kind {
	return kind.Define[E, P](kind.Resource{
		GroupVersion: corev1.SchemeGroupVersion, Kind: "Service", Plural: "services", StoragePath: "services/specs", Namespaced: true, List: list,
		CreateOnUpdate: true, RequireRevision: true,
	}, kind.Rules[E]{})
}

func secretKind[E any, P objectOf[E]](list func() runtime.Object) *kind.Kind {
	return kind.Define[E, P](kind.Resource{GroupVersion: corev1.SchemeGroupVersion, Kind: "Secret", Plural: "secrets", Namespaced: true, List: list}, kind.Rules[E]{})
}

// widgets are a kind that comes and goes; in its second shape it has an index.
func (f testForm) widgets(indexed bool) *kind.Kind {
	if f == trees {
		return widgets[custom.Object](indexed, kind.ListOf[custom.List])
	}
	return widgets[corev1.ConfigMap](indexed, kind.ListOf[corev1.ConfigMapList])
}

func widgets[E any, P objectOf[E]](indexed bool, list func() runtime.Object) *kind.Kind {
	var rules kind.Rules[E]
	if indexed {
		rules.Fields = []kind.Field[E]{{Name: "data.color", Indexed: true, Value: func(o *E) string { return dataOf(P(o))["color"] }}}
	}
	return kind.Define[E, P](kind.Resource{
		GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: "Widget", Plural: "widgets", StoragePath: "widgets", Namespaced: true, List: list,
	}, rules)
}

// make is an object without anything but its name.
func (f testForm) make(plain kind.Object, namespace, name string) kind.Object {
	if f == trees {
		plain = &custom.Object{}
	}
	plain.SetNamespace(namespace)
	plain.SetName(name)
	return plain
}

func (f testForm) configMap(namespace, name string, labels map[string]string) kind.Object {
	o := f.make(&corev1.ConfigMap{}, namespace, name)
	o.SetLabels(labels)
	return o
}

func (f testForm) pod(namespace, name, node string) kind.Object {
	o := f.make(&corev1.Pod{}, namespace, name)
	set(o, "spec.nodeName", node)
	return o
}

func (f testForm) service(namespace, name string) kind.Object {
	return f.make(&corev1.Service{}, namespace, name)
}

func (f testForm) secret(namespace, name string) kind.Object {
	return f.make(&corev1.Secret{}, namespace, name)
}

func (f testForm) widget(name string) kind.Object {
	o := f.configMap("a", name, nil)
	setData(o, map[string]string{"color": "red"})
	return o
}

// meta is the metadata of an object.
func meta(o kind.Object) *metav1.ObjectMeta {
	return o.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
}

// get is a text of an object; a text that is not there is empty.
func get(o kind.Object, path string) string {
	if tree, ok := o.(*custom.Object); ok {
		text, _, _ := unstructured.NestedString(tree.Members, strings.Split(path, ".")...)
		return text
	}
	return *textAt(o, path)
}

// set changes a text of an object.
func set(o kind.Object, path, text string) {
	tree, ok := o.(*custom.Object)
	switch {
	case !ok:
		*textAt(o, path) = text
	case text == "":
		unstructured.RemoveNestedField(tree.Members, strings.Split(path, ".")...)
	default:
		if tree.Members == nil {
			tree.Members = map[string]any{}
		}
		if err := unstructured.SetNestedField(tree.Members, text, strings.Split(path, ".")...); err != nil {
			panic(err)
		}
	}
}

// textAt is where a generated object has a text.
func textAt(o kind.Object, path string) *string {
	switch o := o.(type) {
	case *corev1.Pod:
		return map[string]*string{"spec.nodeName": &o.Spec.NodeName, "spec.hostname": &o.Spec.Hostname, "status.phase": (*string)(&o.Status.Phase)}[path]
	case *corev1.Namespace:
		return map[string]*string{"status.phase": (*string)(&o.Status.Phase)}[path]
	case *corev1.Service:
		return map[string]*string{"spec.clusterIP": &o.Spec.ClusterIP}[path]
	}
	return nil
}

// dataOf are the data of a config map or a secret.
func dataOf(o kind.Object) map[string]string {
	switch o := o.(type) {
	case *custom.Object:
		data, _, _ := unstructured.NestedStringMap(o.Members, "data")
		return data
	case *corev1.Secret:
		return o.StringData
	}
	return o.(*corev1.ConfigMap).Data
}

func setData(o kind.Object, data map[string]string) {
	switch o := o.(type) {
	case *custom.Object:
		o.Members = maps.Clone(o.Members)
		delete(o.Members, "data")
		if data == nil {
			return
		}
		if o.Members == nil {
			o.Members = map[string]any{}
		}
		if err := unstructured.SetNestedStringMap(o.Members, data, "data"); err != nil {
			panic(err)
		}
	case *corev1.Secret:
		o.StringData = data
	case *corev1.ConfigMap:
		o.Data = data
	}
}

// withData is the object with one more of its data.
func withData(o kind.Object, key, value string) kind.Object {
	data := maps.Clone(dataOf(o))
	if data == nil {
		data = map[string]string{}
	}
	data[key] = value
	setData(o, data)
	return o
}

// Namespaces have finalizers in their spec, too.
func setSpecFinalizers(o kind.Object, name string) {
	switch o := o.(type) {
	case *custom.Object:
		set(o, "spec.finalizers", name)
	case *corev1.Namespace:
		o.Spec.Finalizers = nil
		if name != "" {
			o.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerName(name)}
		}
	}
}

func hasSpecFinalizers(o kind.Object) bool {
	if n, ok := o.(*corev1.Namespace); ok {
		return len(n.Spec.Finalizers) > 0
	}
	return get(o, "spec.finalizers") != ""
}

// shown is the object that a client makes of what it is sent of an item.
func shown(t *testing.T, i *Item) kind.Object {
	t.Helper()
	o := i.layout.info.New()
	if m, ok := o.(kind.Message); ok {
		if err := m.Unmarshal(i.Proto()); err != nil {
			t.Fatal(err)
		}
		return o
	}
	if len(i.Proto()) > 0 || i.ProtoSize() != -1 {
		t.Errorf("%s has protobuf", i.key)
	}
	text, err := i.AppendJSON(nil)
	if err == nil {
		_, err = o.(*custom.Object).Decode(text, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}
