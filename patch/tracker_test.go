package patch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func define[E any, P interface {
	*E
	kind.Object
}](group, version, name string, namespaced, status bool) *kind.Kind {
	r := kind.Resource{GroupVersion: schema.GroupVersion{Group: group, Version: version}, Kind: name, Plural: strings.ToLower(name) + "s", Namespaced: namespaced}
	if status {
		return kind.Define[E, P](r, kind.Rules[E]{Status: &kind.Part[E]{}})
	}
	return kind.Define[E, P](r, kind.Rules[E]{})
}

var pods = define[corev1.Pod]("", "v1", "Pod", true, true)

// testKinds have their golden objects mutated.
var testKinds = []*kind.Kind{
	pods,
	define[corev1.Node]("", "v1", "Node", false, true),
	define[corev1.Service]("", "v1", "Service", true, true),
	define[corev1.ConfigMap]("", "v1", "ConfigMap", true, false),
	define[corev1.Secret]("", "v1", "Secret", true, false),
	define[corev1.Namespace]("", "v1", "Namespace", false, true),
	define[corev1.Endpoints]("", "v1", "Endpoints", true, false),
	define[corev1.Event]("", "v1", "Event", true, false),
	define[corev1.LimitRange]("", "v1", "LimitRange", true, false),
	define[corev1.PersistentVolume]("", "v1", "PersistentVolume", false, true),
	define[eventsv1.Event]("events.k8s.io", "v1", "Event", true, false),
	define[appsv1.Deployment]("apps", "v1", "Deployment", true, true),
	define[appsv1.ReplicaSet]("apps", "v1", "ReplicaSet", true, true),
	define[appsv1.ControllerRevision]("apps", "v1", "ControllerRevision", true, false),
	define[rbacv1.ClusterRole]("rbac.authorization.k8s.io", "v1", "ClusterRole", false, false),
	define[rbacv1.RoleBinding]("rbac.authorization.k8s.io", "v1", "RoleBinding", true, false),
	define[coordinationv1.Lease]("coordination.k8s.io", "v1", "Lease", true, false),
	define[discoveryv1.EndpointSlice]("discovery.k8s.io", "v1", "EndpointSlice", true, false),
	define[schedulingv1.PriorityClass]("scheduling.k8s.io", "v1", "PriorityClass", false, false),
	define[networkingv1.Ingress]("networking.k8s.io", "v1", "Ingress", true, true),
	define[custom.Object]("example.com", "v1", "Widget", true, true),
	define[custom.Object]("example.com", "v1", "Gadget", false, false),
}

// tree is a custom object with every sort of value.
func tree(t testing.TB) *custom.Object {
	o := &custom.Object{}
	if _, err := o.Decode([]byte(`{"metadata": {"name": "x", "namespace": "y", "labels": {"a": "b"}, "finalizers": ["f/x"],
			"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]},
		"spec": {"replicas": 3, "ratio": 0.5, "on": true, "nothing": null, "text": "x", "empty": {}, "none": [], "list": [1, "a", {"b": [2]}],
			"map": {"a": {"b": {"c": 1, "d": [true]}}, "e": "f"}},
		"status": {"phase": "Ready", "conditions": [{"type": "A", "status": "True"}], "counts": {"x": 1}},
		"scalar": 4, "other": {"deep": {"deeper": {"deepest": "x"}}}}`), true); err != nil {
		t.Fatal(err)
	}
	return o
}

// golden is the fully populated object of the kind from k8s.io/api's test data.
func golden(t testing.TB, k *kind.Kind) kind.Object {
	t.Helper()
	if k.Form == kind.Tree {
		return tree(t)
	}
	group := k.GVK.Group
	if group == "" {
		group = "core"
	}
	data, err := os.ReadFile(filepath.Join(goldenFolder(t), fmt.Sprintf("%s.%s.%s.json", group, k.GVK.Version, k.GVK.Kind)))
	if err != nil {
		t.Fatal(err)
	}
	obj := k.New()
	var short bytes.Buffer // as what an object keeps as JSON is stored
	if err := json.Compact(&short, data); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(short.Bytes(), obj); err != nil {
		t.Fatal(err)
	}
	obj.GetObjectKind().SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind(""))
	reflect.ValueOf(obj).Elem().FieldByName("TypeMeta").SetZero()
	obj.SetManagedFields(nil)
	return obj
}

// reference is the library with client-go's own schema, which reads YAML.
func reference(t *testing.T, k *kind.Kind, subresource string) *target {
	t.Helper()
	model := managedfields.TypeConverter(applyconfigurations.NewTypeConverter(scheme.Scheme))
	if k.Form == kind.Tree {
		model = newTreeModel(k)
	}
	library, err := newFieldManagerWith(model, k, subresource, resetFields(k, subresource))
	if err != nil {
		t.Fatal(err)
	}
	return &target{kind: k, subresource: subresource, library: library}
}

// expected is what the library makes of a write, with the present in the place of its own time.
func (to *target) expected(t *testing.T, next, old kind.Object, manager string, now time.Time) []metav1.ManagedFieldsEntry {
	t.Helper()
	obj, err := to.library.Update(old.DeepCopyObject(), next.DeepCopyObject(), manager)
	if err != nil {
		return old.GetManagedFields()
	}
	entries := obj.(kind.Object).GetManagedFields()
	for n := range entries {
		if time.Since(entries[n].Time.Time) < time.Hour {
			entries[n].Time = &metav1.Time{Time: now}
		}
	}
	sortEntries(entries)
	return entries
}

func TestTrackerEqualsLibrary(t *testing.T) {
	tracker := NewTracker()
	tracker.Warm(testKinds...)
	if len(tracker.targets) != len(testKinds) {
		t.Fatalf("%d of %d kinds are prepared", len(tracker.targets), len(testKinds))
	}
	managers := []string{"kubectl-create", "controller", "kubelet", "", "someone-else"}
	for _, k := range testKinds {
		t.Run(k.GVK.String(), func(t *testing.T) {
			random := rand.New(rand.NewSource(1))
			full := golden(t, k)
			parts := []string{""}
			if _, ok := k.Part("status"); ok {
				parts = append(parts, "status", "scale")
			}
			references := map[string]*target{}
			for _, part := range parts {
				references[part] = reference(t, k, part)
			}
			var old kind.Object
			for round := range 40 {
				now := time.Unix(1_000_000+int64(round/3), 0).UTC()
				manager, part := managers[random.Intn(len(managers))], parts[random.Intn(len(parts))]
				if old == nil || round%10 == 0 {
					old, part = k.New(), ""
				}
				next := mutated(random, full)
				if old.GetUID() != "" && random.Intn(3) > 0 {
					next = mutatedFrom(random, old, full)
				}
				if old.GetUID() != "" {
					next.SetUID(old.GetUID())
					next.SetManagedFields(broughtAlong(random, old))
				} else {
					next.SetUID("")
					next.SetManagedFields(nil)
				}
				want := references[part].expected(t, next, old, manager, now)
				for repeat := range 2 {
					got := kind.Copy(next)
					if err := tracker.Updated(k, got, old, manager, part, now); err != nil {
						t.Fatal(err)
					}
					if a, b := text(t, got.GetManagedFields()), text(t, want); a != b {
						t.Fatalf("round %d.%d, %q writes %q\n got %s\nwant %s", round, repeat, manager, part, a, b)
					}
				}
				next.SetManagedFields(want)
				next.SetUID("uid")
				old = next
			}
		})
	}
}

// TestWalkFindsTheLibrarysPaths compares how many paths are added, removed and modified.
func TestWalkFindsTheLibrarysPaths(t *testing.T) {
	type count struct{ added, removed, modified int }
	for _, k := range testKinds {
		t.Run(k.GVK.String(), func(t *testing.T) {
			random := rand.New(rand.NewSource(2))
			model, err := newTypeModel(k)
			if err != nil {
				t.Fatal(err)
			}
			plan := newPlan(model, fieldpath.NewSet())
			full := golden(t, k)
			old, walked := full, 0
			for range 30 {
				next := mutatedFrom(random, old, full)
				if random.Intn(4) == 0 {
					next = mutated(random, full)
				}
				paths := map[hash]map[hash]bool{added: {}, removed: {}, modified: {}}
				w := &walk{trace: func(path, change hash) { paths[change][path] = true }}
				if w.objects(plan, old, next) {
					walked++
					compared, err := typedValue(t, model, old).Compare(typedValue(t, model, next))
					if err != nil {
						t.Fatal(err)
					}
					got := count{len(paths[added]), len(paths[removed]), len(paths[modified])}
					want := count{compared.Added.Size(), compared.Removed.Size(), compared.Modified.Size()}
					if got != want {
						t.Fatalf("got %v, want %v of\n%v", got, want, compared)
					}
					old = next
				}
			}
			if walked < 15 {
				t.Errorf("only %d of 30 changes were walked", walked)
			}
		})
	}
}

func typedValue(t *testing.T, model *typeModel, obj kind.Object) *typed.TypedValue {
	t.Helper()
	v, err := model.ObjectToTyped(withType(model.kind, obj), typed.AllowDuplicates)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func text(t *testing.T, v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// broughtAlong is what a request says about managed fields.
func broughtAlong(random *rand.Rand, old kind.Object) []metav1.ManagedFieldsEntry {
	switch random.Intn(12) {
	case 0:
		return nil
	case 1:
		return []metav1.ManagedFieldsEntry{{Manager: "x", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV2"}}
	case 2:
		entries := kind.Copy(old).GetManagedFields()
		if len(entries) > 1 {
			entries = entries[1:]
		}
		return entries
	case 3:
		return []metav1.ManagedFieldsEntry{{}}
	}
	return kind.Copy(old).GetManagedFields()
}

func mutated(random *rand.Rand, full kind.Object) kind.Object {
	obj := kind.Copy(full)
	mutate(random, reflect.ValueOf(obj).Elem(), []int{3, 30, 200}[random.Intn(3)])
	return obj
}

// mutatedFrom changes a little of what is there, and takes a little from the full object.
func mutatedFrom(random *rand.Rand, old, full kind.Object) kind.Object {
	obj := kind.Copy(old)
	mutate(random, reflect.ValueOf(obj).Elem(), []int{40, 400}[random.Intn(2)])
	return obj
}

// mutate changes one in so many values: to zero, to empty, to something else, or in number.
func mutate(random *rand.Rand, v reflect.Value, rarity int) {
	hit := random.Intn(rarity) == 0
	switch x := v.Addr().Interface().(type) {
	case *metav1.TypeMeta, *[]metav1.ManagedFieldsEntry:
		return
	case *metav1.Time:
		if hit {
			*x = metav1.Unix(int64(random.Intn(1000)), 0)
		}
		return
	case *metav1.MicroTime:
		if hit {
			*x = metav1.NewMicroTime(time.Unix(int64(random.Intn(1000)), 0))
		}
		return
	case *resource.Quantity:
		if hit {
			*x = resource.MustParse(fmt.Sprint(random.Intn(3)))
		}
		return
	case *intstr.IntOrString:
		if hit {
			*x = intstr.FromInt32(random.Int31n(10))
		}
		return
	case *runtime.RawExtension:
		if hit {
			x.Raw = fmt.Appendf(nil, `{"n":%d}`, random.Intn(10))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			mutate(random, v.Field(i), rarity)
		}
	case reflect.Interface:
		mutateTree(random, v, rarity, hit)
	case reflect.Pointer:
		if hit && random.Intn(2) == 0 {
			v.SetZero()
		} else if !v.IsNil() {
			mutate(random, v.Elem(), rarity)
		}
	case reflect.String:
		if hit {
			v.SetString([]string{"", "a", "b", "TCP"}[random.Intn(4)])
		}
	case reflect.Bool:
		if hit {
			v.SetBool(!v.Bool())
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if hit {
			v.SetInt(int64(random.Intn(4)))
		}
	case reflect.Slice:
		mutateSlice(random, v, rarity, hit)
	case reflect.Map:
		mutateMap(random, v, rarity, hit)
	}
}

func mutateSlice(random *rand.Rand, v reflect.Value, rarity int, hit bool) {
	for i := range v.Len() {
		mutate(random, v.Index(i), rarity)
	}
	if !hit {
		return
	}
	switch random.Intn(5) {
	case 0:
		v.SetZero()
	case 1:
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	case 2:
		if v.Len() > 0 {
			v.Set(v.Slice(1, v.Len()))
		}
	default:
		if v.Len() > 0 && v.Len() < 40 {
			grown := reflect.MakeSlice(v.Type(), 0, v.Len()+1)
			grown = reflect.AppendSlice(grown, v)
			grown = reflect.Append(grown, copyOf(v.Index(random.Intn(v.Len()))))
			mutate(random, grown.Index(grown.Len()-1), 2)
			if random.Intn(2) == 0 {
				reflect.Swapper(grown.Interface())(0, grown.Len()-1)
			}
			v.Set(grown)
		}
	}
}

// copyOf goes through JSON so that nothing is shared.
func copyOf(v reflect.Value) reflect.Value {
	box := reflect.New(v.Type())
	data, err := json.Marshal(v.Interface())
	if err == nil {
		err = json.Unmarshal(data, box.Interface())
	}
	if err != nil {
		panic(err)
	}
	return box.Elem()
}

// mutateTree makes another value of one that is whatever JSON knows, sometimes of another sort.
func mutateTree(random *rand.Rand, v reflect.Value, rarity int, hit bool) {
	if hit && random.Intn(3) == 0 {
		sorts := []any{nil, "a", int64(7), 0.25, false, []any{}, []any{int64(1)}, map[string]any{}, map[string]any{"a": "b"}}
		v.Set(reflect.ValueOf(&sorts[random.Intn(len(sorts))]).Elem())
		return
	}
	if v.IsNil() {
		return
	}
	inner := reflect.New(v.Elem().Type()).Elem()
	inner.Set(v.Elem())
	switch inner.Kind() {
	case reflect.Float64:
	case reflect.Map, reflect.Slice:
		if inner = copyTree(inner); inner.IsNil() {
			return
		}
		mutate(random, inner, rarity)
	default:
		mutate(random, inner, rarity)
	}
	if inner.Kind() != reflect.Map && inner.Kind() != reflect.Slice || !inner.IsNil() {
		v.Set(inner)
	}
}

func copyTree(v reflect.Value) reflect.Value {
	box := reflect.New(v.Type()).Elem()
	box.Set(reflect.ValueOf(custom.CopyTree(v.Interface())))
	return box
}

func mutateMap(random *rand.Rand, v reflect.Value, rarity int, hit bool) {
	for _, key := range v.MapKeys() {
		element := reflect.New(v.Type().Elem()).Elem()
		element.Set(v.MapIndex(key))
		mutate(random, element, rarity)
		v.SetMapIndex(key, element)
	}
	if !hit {
		return
	}
	switch random.Intn(4) {
	case 0:
		v.SetZero()
	case 1:
		v.Set(reflect.MakeMap(v.Type()))
	default:
		if !v.IsNil() {
			key := reflect.New(v.Type().Key()).Elem()
			key.SetString(string(rune('a' + random.Intn(4))))
			v.SetMapIndex(key, reflect.Zero(v.Type().Elem()))
		}
	}
}
