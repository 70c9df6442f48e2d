package shape

import (
	"encoding/json"
	"reflect"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

func TestPod(t *testing.T) {
	pod := Of(reflect.TypeFor[*corev1.Pod]()).Target()
	if pod.Class != Struct || !pod.Plain || !pod.Message || pod.EncodesJSON || len(pod.Fields) != 4 || len(pod.Members) != 5 {
		t.Fatalf("%+v", pod)
	}
	version, _ := pod.Member("apiVersion")
	if !slices.Equal(version.Path, []int{0, 1}) || version.Begin != reflect.TypeFor[metav1.TypeMeta]().Field(1).Offset {
		t.Errorf("apiVersion %+v", version)
	}
	spec, ok := pod.Member("spec")
	if !ok || spec.Number != 2 || spec.Encoding != "bytes" || spec.Begin != reflect.TypeFor[corev1.Pod]().Field(2).Offset {
		t.Fatalf("spec %+v", spec)
	}
	containers, _ := spec.Type.Member("containers")
	if containers.MergeKey != "name" || !slices.Equal(containers.MergeStrategies, []string{"merge"}) || containers.Type.Class != List || containers.OmitEmpty {
		t.Errorf("containers %+v", containers)
	}
	volumes, _ := spec.Type.Member("volumes")
	if !slices.Equal(volumes.MergeStrategies, []string{"merge", "retainKeys"}) || !volumes.OmitEmpty {
		t.Errorf("volumes %+v", volumes)
	}
	secret, ok := volumes.Type.Elem.Member("secret") // of an embedded struct
	if !ok || len(secret.Path) != 2 || secret.Type.Class != Pointer || secret.Type.Target().Class != Struct {
		t.Errorf("secret %+v", secret)
	}
	if _, ok := pod.Member("Spec"); ok {
		t.Error("a name in Go is taken for one in JSON")
	}
}

// What belongs to a type that contains itself is whole when anybody sees it, and there is one description of each type.
func TestSelfContaining(t *testing.T) {
	type inner struct {
		Deep []struct{ X int } `json:"deep"`
	}
	type outer struct {
		inner
		Next *outer             `json:"next"`
		Map  map[string][]outer `json:"map"`
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			o := Of(reflect.TypeFor[outer]())
			next, _ := o.Member("next")
			deep, ok := next.Type.Elem.Member("deep")
			if next.Type.Elem != o || !ok || len(deep.Path) != 2 || len(deep.Type.Elem.Members) != 1 {
				t.Errorf("%+v", o)
			}
		})
	}
	wait.Wait()
}

func TestNotPlain(t *testing.T) {
	type embedded struct{ A int }
	type Pointed struct{ B int }
	for _, o := range []any{
		struct {
			embedded
			A string
		}{},
		struct{ *Pointed }{},
		struct{ metav1.Time }{},
		struct {
			N int `json:",string"`
		}{},
	} {
		if Of(reflect.TypeOf(o)).Plain {
			t.Errorf("%T is taken for plain", o)
		}
	}
	plain := Of(reflect.TypeOf(struct {
		embedded
		hidden int
		Left   int `json:"-"`
		Right  int
	}{}))
	if !plain.Plain || len(plain.Members) != 2 || plain.Members[1].Name != "Right" {
		t.Errorf("%+v", plain)
	}
}

// For every type of the scheme: decoding JSON finds each member under its name, at its place.
func TestMembersAreThoseOfJSON(t *testing.T) {
	for _, of := range scheme.Scheme.AllKnownTypes() {
		d := Of(of)
		for _, m := range d.Members {
			if m.Type.Go.Kind() != reflect.String {
				continue
			}
			v := reflect.New(of)
			if err := json.Unmarshal([]byte(`{"`+m.Name+`":"x"}`), v.Interface()); err != nil {
				continue // a type that reads itself
			}
			if got := v.Elem().FieldByIndex(m.Path).String(); d.Plain && got != "x" {
				t.Errorf("%v: %s is %q", of, m.Name, got)
			}
		}
	}
}
