package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// What a caller in the process writes is what everybody reads: the caller itself, views of the mirror, HTTP in JSON and in
// protobuf, and whoever decodes the stored bytes. Objects of every kind are filled at random with what only memory can hold.
func TestObjectsInTheProcessAreWhatTheirBytesSay(t *testing.T) {
	kinds := lenient(api.Kinds())
	s := memory.New()
	var r *registry.Registry
	server := newServerOf(t, s, kinds, func(o *apiserver.Options) { r = o.Registry })
	h := newHouseOf(t, server)
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: h.config.TLSClientConfig})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds {
		if !k.Stored() && k.Via == nil {
			continue
		}
		t.Run(k.GVR().Group+"/"+k.Plural, func(t *testing.T) {
			p := &reading{t: t, server: server, registry: r, store: s, http: client, host: h.config.Host, kind: k}
			for seed := range uint64(25) {
				p.random = rand.New(rand.NewPCG(seed, 1))
				p.round(fmt.Sprintf("%s-%s%d", k.Plural, k.GVK.Group, seed))
			}
		})
	}
}

// lenient are kinds whose objects may hold anything.
func lenient(kinds []*kind.Kind) []*kind.Kind {
	var out []*kind.Kind
	for _, k := range kinds {
		c := *k
		c.ValidName = func(string, bool) []string { return nil }
		c.Validate = func(kind.Object) field.ErrorList { return nil }
		c.Warnings = func(_, _ kind.Object) []string { return nil }
		c.ValidateUpdate = func(_, _ kind.Object) field.ErrorList { return nil }
		c.Parts = append([]kind.AnyPart(nil), k.Parts...)
		for n := range c.Parts {
			c.Parts[n].ValidateUpdate = c.ValidateUpdate
		}
		out = append(out, &c)
	}
	return out
}

// reading writes objects of a kind and compares what all readers see.
type reading struct {
	t        *testing.T
	server   *apiserver.Server
	registry *registry.Registry
	store    store.Store
	http     *http.Client
	host     string
	kind     *kind.Kind
	random   *rand.Rand
}

func (p *reading) round(name string) {
	p.t.Helper()
	p.write("create", "", name)
	p.write("update", "", name)
	for _, part := range p.kind.Parts {
		p.write("update", part.Name, name)
	}
}

func (p *reading) write(verb kind.Verb, part, name string) {
	p.t.Helper()
	o := p.object(name)
	r := &apiserver.Request{User: root, Verb: verb, Kind: p.kind, Subresource: part, Object: o, UserAgent: "test"}
	if p.kind.Namespaced {
		r.Namespace = "default"
	}
	if verb == "update" {
		r.Name = name
		if present := p.peek(name); present != nil {
			o.SetResourceVersion(present.GetResourceVersion())
		}
	}
	answer, err := p.server.Do(context.Background(), r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", verb, part, err)
	}
	mine := answer.Item.Object()
	for who, theirs := range map[string]kind.Object{
		"the view": p.peek(name), "the store": p.stored(name),
		"HTTP in JSON": p.overHTTP(name, "application/json"), "HTTP in protobuf": p.overHTTP(name, "application/vnd.kubernetes.protobuf"),
	} {
		if d := difference(reflect.ValueOf(mine).Elem(), reflect.ValueOf(theirs).Elem()); d != "" {
			p.t.Fatalf("after %s %s the writer and %s differ: %s", verb, part, who, d)
		}
	}
}

// peek waits for the mirror.
func (p *reading) peek(name string) kind.Object {
	if _, err := p.registry.Fresh(context.Background()); err != nil {
		p.t.Fatal(err)
	}
	resource, _ := p.registry.ResourceFor(p.kind)
	namespace := ""
	if p.kind.Namespaced {
		namespace = "default"
	}
	if i := resource.Peek(namespace, name); i != nil {
		return i.Object()
	}
	return nil
}

func (p *reading) stored(name string) kind.Object {
	of := p.kind
	for _, k := range api.Kinds() {
		if p.kind.Via != nil && k.GR() == p.kind.Via.Stored {
			of = k
		}
	}
	e, _, err := p.store.Get(context.Background(), of.Key("default", name), 0)
	if err != nil {
		p.t.Fatal(err)
	}
	o := p.unknown(e.Value, of)
	of.Default(o)
	if p.kind.Via != nil {
		if o, err = p.kind.Via.FromStored(o); err != nil {
			p.t.Fatal(err)
		}
	}
	o.SetResourceVersion(fmt.Sprint(e.Revision))
	return o
}

func (p *reading) unknown(b []byte, of *kind.Kind) kind.Object {
	var u runtime.Unknown
	if err := u.Unmarshal(b[len("k8s\x00"):]); err != nil {
		p.t.Fatal(err)
	}
	o := of.New()
	if err := o.(kind.Message).Unmarshal(u.Raw); err != nil {
		p.t.Fatal(err)
	}
	return o
}

func (p *reading) overHTTP(name, accept string) kind.Object {
	path := "/apis/" + p.kind.GVK.Group + "/" + p.kind.GVK.Version
	if p.kind.GVK.Group == "" {
		path = "/api/v1"
	}
	if p.kind.Namespaced {
		path += "/namespaces/default"
	}
	r, err := http.NewRequest("GET", p.host+path+"/"+p.kind.Plural+"/"+name, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer root")
	r.Header.Set("Accept", accept)
	answer, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 200 {
		p.t.Fatal(answer.Status, err, string(body))
	}
	if strings.HasSuffix(accept, "protobuf") {
		return p.unknown(body, p.kind)
	}
	o := p.kind.New()
	if err := json.Unmarshal(body, o); err != nil {
		p.t.Fatal(err)
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return o
}

// object is one at random; its metadata are such as pass.
func (p *reading) object(name string) kind.Object {
	o := p.kind.New()
	p.fill(reflect.ValueOf(o).Elem(), 7)
	var m metav1.ObjectMeta
	p.fill(reflect.ValueOf(&m).Elem(), 3)
	o.SetName(name)
	o.SetGenerateName("")
	o.SetNamespace("")
	if p.kind.Namespaced {
		o.SetNamespace("default")
	}
	for _, set := range []func(){
		func() { o.SetLabels(map[string]string{}) }, func() { o.SetLabels(nil) }, func() { o.SetLabels(map[string]string{"a": ""}) },
	}[p.random.IntN(3):] {
		set()
	}
	o.SetAnnotations(map[string]string{})
	o.SetFinalizers([]string{})
	o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n", UID: "u", Controller: new(bool)}}[:p.random.IntN(2)])
	o.SetManagedFields([]metav1.ManagedFieldsEntry{}[:0])
	o.SetUID("")
	o.SetResourceVersion("")
	o.SetSelfLink("")
	o.SetGeneration(0)
	o.SetCreationTimestamp(m.CreationTimestamp)
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return o
}

// moment is a time that no encoding can hold whole.
func (p *reading) moment() time.Time {
	zones := []*time.Location{time.UTC, time.Local, time.FixedZone("", 5*3600)}
	switch p.random.IntN(8) {
	case 0:
		return time.Time{}
	case 1:
		return time.Time{}.In(zones[2])
	case 2:
		return time.Now() // with the process's own clock
	case 3:
		return time.Unix(0, p.random.Int64N(2)*1500)
	}
	return time.Unix(p.random.Int64N(8e9)-4e9, p.random.Int64N(1e9)).In(zones[p.random.IntN(3)])
}

func (p *reading) quantity() resource.Quantity {
	texts := []string{"0", "1", "100m", "1Gi", "1500", "0.5", "1.500", "1000m", "1024", "1024Ki", "16Ti", "100Pi", "1e3", "1E", "12e6", "-3", "0.1n", "999999999999999999999", "+5", "1.5Gi"}
	q := resource.MustParse(texts[p.random.IntN(len(texts))])
	switch p.random.IntN(6) {
	case 0:
		return resource.Quantity{}
	case 1:
		q.Add(resource.MustParse("1m"))
	case 2:
		q = *resource.NewQuantity(p.random.Int64N(1e13), resource.BinarySI)
	case 3:
		q = *resource.NewScaledQuantity(p.random.Int64N(1e6), resource.Scale(p.random.IntN(20)-9))
	case 4:
		q.Sub(q)
	}
	return q
}

// special fills the types that encode themselves.
func (p *reading) special(v reflect.Value) bool {
	switch o := v.Addr().Interface().(type) {
	case *metav1.Time:
		o.Time = p.moment()
	case *metav1.MicroTime:
		o.Time = p.moment()
	case *resource.Quantity:
		*o = p.quantity()
	case *intstr.IntOrString:
		*o = intstr.IntOrString{Type: intstr.Type(p.random.IntN(2)), IntVal: 5, StrVal: "50%"}
	case *metav1.FieldsV1:
		o.SetRawString([]string{"", "null", `{"f:a":{}}`}[p.random.IntN(3)])
	case *runtime.RawExtension:
		*o = []runtime.RawExtension{
			{}, {Raw: []byte{}}, {Raw: []byte("null")}, {Raw: []byte(`{"a":"b"}`)}, {Object: &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n"}}},
		}[p.random.IntN(5)]
	case *metav1.TypeMeta:
	default:
		return false
	}
	return true
}

func (p *reading) fill(v reflect.Value, depth int) {
	if !v.CanSet() || depth == 0 || v.Kind() != reflect.Struct && p.random.IntN(4) == 0 || p.special(v) {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(p.random.IntN(2) == 0)
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(p.random.Int64N(1000) - 500)
	case reflect.String:
		v.SetString([]string{"", "x", "a<b>&c", "ünï", "\u2028"}[p.random.IntN(5)])
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		p.fill(v.Elem(), depth-1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), p.random.IntN(3), 4))
		for n := range v.Len() {
			if v.Type().Elem().Kind() == reflect.Uint8 {
				v.Index(n).SetUint(7)
			} else {
				p.fill(v.Index(n), depth-1)
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range p.random.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			p.fill(key, depth)
			p.fill(value, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for n := range v.NumField() {
			p.fill(v.Field(n), depth-1)
		}
	}
}

// difference is where two values are not the same to the last bit; a quantity may have been written out or not.
func difference(a, b reflect.Value) string {
	if q, ok := a.Interface().(resource.Quantity); ok {
		r := b.Interface().(resource.Quantity)
		_, _ = q.String(), r.String()
		if !reflect.DeepEqual(q, r) {
			return fmt.Sprintf(": %#v and %#v", q, r)
		}
		return ""
	}
	if x, ok := a.Interface().(metav1.FieldsV1); ok { // JSON that may be written in more than one way
		y := b.Interface().(metav1.FieldsV1)
		var m, n any
		if json.Unmarshal(x.GetRawBytes(), &m) != nil || json.Unmarshal(y.GetRawBytes(), &n) != nil || !reflect.DeepEqual(m, n) {
			return fmt.Sprintf(": %s and %s", x, y)
		}
		return ""
	}
	differ := func() string { return fmt.Sprintf(": %#v and %#v", a.Interface(), b.Interface()) }
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return differ()
			}
			return ""
		}
		return difference(a.Elem(), b.Elem())
	case reflect.Slice:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return differ()
		}
		for n := range a.Len() {
			if d := difference(a.Index(n), b.Index(n)); d != "" {
				return fmt.Sprintf("[%d]%s", n, d)
			}
		}
		return ""
	case reflect.Map:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return differ()
		}
		for _, key := range a.MapKeys() {
			if !b.MapIndex(key).IsValid() {
				return differ()
			}
			if d := difference(a.MapIndex(key), b.MapIndex(key)); d != "" {
				return fmt.Sprintf("[%v]%s", key, d)
			}
		}
		return ""
	case reflect.Struct:
		if a.Type() == reflect.TypeFor[time.Time]() {
			if a.Interface() != b.Interface() {
				return differ()
			}
			return ""
		}
		for n := range a.NumField() {
			if !a.Type().Field(n).IsExported() {
				continue
			}
			if d := difference(a.Field(n), b.Field(n)); d != "" {
				return "." + a.Type().Field(n).Name + d
			}
		}
		return ""
	}
	if !reflect.DeepEqual(a.Interface(), b.Interface()) {
		return differ()
	}
	return ""
}

// A body in protobuf can hold what no JSON can: it is refused before anybody trips over it, and lists in JSON go on.
func TestBodiesThatJSONCannotHold(t *testing.T) {
	h := newHouse(t, nil)
	client := h.client("application/vnd.kubernetes.protobuf")
	ctx := context.Background()
	revision := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Data: runtime.RawExtension{Raw: []byte("\x00garbage")}}
	if _, err := client.AppsV1().ControllerRevisions("default").Create(ctx, revision, metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("data that is no JSON: %v", err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.IntOrString{Type: 7}}}}}
	if _, err := client.CoreV1().Services("default").Create(ctx, service, metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("a port that is neither a number nor a name: %v", err)
	}
	text := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: map[string]string{"k": "a\xff"}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, text, metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("text that is no UTF-8: %v", err)
	}
	text.Data = nil
	text, err := client.CoreV1().ConfigMaps("default").Create(ctx, text, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text.Data = map[string]string{"k": "a\xff"}
	if _, err := client.CoreV1().ConfigMaps("default").Update(ctx, text, metav1.UpdateOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("an update with text that is no UTF-8: %v", err)
	}
	// What a container says may be anything, and its event must not be lost for it.
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}, InvolvedObject: corev1.ObjectReference{Namespace: "default"}, Message: "a\xff"}
	if got, err := client.CoreV1().Events("default").Create(ctx, event, metav1.CreateOptions{}); err != nil || got.Message != "a\ufffd" {
		t.Errorf("an event: %v %v", got, err)
	}
	for _, list := range []func() error{
		func() error {
			_, err := h.client("application/json").AppsV1().ControllerRevisions("").List(ctx, metav1.ListOptions{})
			return err
		},
		func() error {
			_, err := h.client("application/json").CoreV1().Services("").List(ctx, metav1.ListOptions{})
			return err
		},
	} {
		if err := list(); err != nil {
			t.Error(err)
		}
	}
}
