package patch

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"reflect"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/canonical"
)

// bothWays applies a patch in place and through JSON; done tells whether the former could.
func bothWays(t *testing.T, k *kind.Kind, pt types.PatchType, data []byte, old kind.Object) (done bool) {
	t.Helper()
	before := text(t, old)
	p := patcher{kind: k, data: data, check: true}
	strategic := pt == types.StrategicMergePatchType
	got, done := p.inPlace(old, strategic)
	if text(t, old) != before {
		t.Fatalf("%s %s changed the object that it was made of", pt, data)
	}
	if !done {
		return false
	}
	slow := patcher{kind: k, data: data, check: true, strict: true}
	var want kind.Object
	var err error
	if strategic {
		want, err = slow.applyStrategic(old)
	} else {
		want, err = slow.throughJSON(old, slow.applyMerge)
	}
	if err != nil {
		t.Errorf("%s %s was carried out in place, though: %v", pt, data, err)
		return true
	}
	for _, o := range []kind.Object{got, want} {
		o.GetObjectKind().SetGroupVersionKind(old.GetObjectKind().GroupVersionKind())
	}
	if text(t, got) != text(t, want) || !reflect.DeepEqual(got, want) {
		t.Errorf("%s %s in place:\n%s\nthrough JSON:\n%s", pt, data, text(t, got), text(t, want))
	}
	return true
}

// TestInPlaceIsThroughJSON carries out random changes of golden objects both ways.
func TestInPlaceIsThroughJSON(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for _, k := range testKinds {
		if k.Form == kind.Tree {
			continue
		}
		t.Run(k.GVK.Kind, func(t *testing.T) {
			full := golden(t, k)
			done, all := map[types.PatchType]int{}, 0
			for range 60 {
				old := mutated(random, full)
				canonicalize(t, old)
				next := mutatedFrom(random, old, full)
				all++
				for pt, data := range patchesBetween(t, k, old, next) {
					if bothWays(t, k, pt, data, old) {
						done[pt]++
					}
				}
			}
			t.Logf("of %d in place: %v", all, done)
		})
	}
}

func canonicalize(t *testing.T, o kind.Object) {
	t.Helper()
	if err := canonical.MakeExact(o, canonical.Options{}); err != nil {
		t.Fatal(err)
	}
}

func patchesBetween(t *testing.T, k *kind.Kind, old, next kind.Object) map[types.PatchType][]byte {
	t.Helper()
	a, errA := json.Marshal(old)
	b, errB := json.Marshal(next)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	out := map[types.PatchType][]byte{}
	if data, err := jsonmergepatch.CreateThreeWayJSONMergePatch(a, b, a); err == nil {
		out[types.MergePatchType] = data
	}
	if data, err := strategicpatch.CreateTwoWayMergePatch(a, b, reflect.New(reflect.TypeOf(k.New()).Elem()).Interface()); err == nil {
		out[types.StrategicMergePatchType] = data
	}
	return out
}

// TestInPlaceLeavesWhatIsInDoubt has patches that are not to be carried out in place, and some that are.
func TestInPlaceLeavesWhatIsInDoubt(t *testing.T) {
	old := largePod()
	old.Spec.NodeSelector = map[string]string{"a": "b"}
	for _, c := range []struct {
		patch             string
		merges, strategic bool
	}{
		{`{"metadata":{"annotations":{"a":"$(b)"}}}`, true, false},
		{`{"metadata":{"annotations":{"a":"b","c":null}}}`, true, true},
		{`{"metadata":{"annotations":null},"spec":{"nodeSelector":{"a":null}}}`, true, true},
		{`{"metadata":{"annotations":{}},"spec":{"securityContext":{}}}`, true, true},
		{`{"apiVersion":"v1","kind":"Pod","spec":{"activeDeadlineSeconds":7}}`, true, true},
		{`{"spec":{"tolerations":[{"operator":"Exists"}]}}`, true, true},
		{`{"spec":{"containers":[{"name":"c1","image":"other"}]}}`, true, true},
		{`{"spec":{"containers":[{"name":"c1","$patch":"delete"}]}}`, false, true},
		{`{"spec":{"$setElementOrder/containers":[{"name":"c1"},{"name":"c0"}],"containers":[{"name":"c1","image":"x"}]}}`, false, true},
		{`{"spec":{"$setElementOrder/containers":[{"name":"c1"},{"name":"c0"}]}}`, false, true},
		{`{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}`, false, true},

		{`{"kind":"Node"}`, false, false},
		{`{"spec":null,"spec":{}}`, false, false},
		{`{"metadata":{"colour":"red"}}`, false, false},
		{`{"Metadata":{"annotations":{"a":"b"}}}`, false, false},
		{`{"spec":{"containers":[{"name":"c1","colour":"red"}]}}`, false, false},
		{`{"spec":{"containers":[{"name":"c1","image":null}]}}`, false, false},
		{`{"spec":{"containers":[{"name":"c1","resources":{"limits":{"cpu":1e3}}}]}}`, false, false},
		{`{"spec":{"activeDeadlineSeconds":7.0}}`, false, false},
		{`{"spec":{"activeDeadlineSeconds":"7"}}`, false, false},
		{`{"spec":{"activeDeadlineSeconds":9223372036854775807}}`, false, false},
		{`{"spec":{"$patch":"replace"}}`, false, false},
		{`{"spec":{"$retainKeys":["containers"]}}`, false, false},
		{`{"metadata":{"annotations":["a"]}}`, false, false},
		{`{"spec":{"tolerations":[{"operator":"Exists"}],"$setElementOrder/tolerations":[{"key":"a"}]}}`, false, false},
		{`{"spec":{"securityContext":{"supplementalGroups":[1],"$deleteFromPrimitiveList/supplementalGroups":[1]}}}`, false, false},
		{`{"spec":{"affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"labelSelector":{"matchLabels":{"\u0024patch":"delete"}}}]}}}}`, true, false},
		{`{"spec":{"readinessGates":[{"conditionType":"\u0024"}]}}`, true, false},
		{`{"metadata":{"managedFields":[{"manager":"a","fieldsV1":{"f:b":{},"f:a":{}}}]}}`, false, false},
		{`{"spec":{"overhead":{"cpu":"1e99"}}}`, true, true},
		{`{"spec":{"overhead":{"cpu":"1e100"}}}`, false, false},
		{`{"spec":{"overhead":{"cpu":"1e-100"}}}`, false, false},
		{`{"spec":{"containers":[{"name":"c0","resources":{"limits":{"cpu":"1E+1000"}}}]}}`, false, false},
		{`{"metadata":{"annotations":{"a":1}}}`, false, false},
		{`{"metadata":{"annotations":{"a":{}}}}`, false, false},
		{`["a"]`, false, false},
		{`null`, false, false},
	} {
		for pt, want := range map[types.PatchType]bool{types.MergePatchType: c.merges, types.StrategicMergePatchType: c.strategic} {
			if got := bothWays(t, pods, pt, []byte(c.patch), old); got != want {
				t.Errorf("%s %s was carried out in place: %v", pt, c.patch, got)
			}
		}
	}
}

// TestInPlaceIsBounded has patches that are dear whichever way they are carried out.
func TestInPlaceIsBounded(t *testing.T) {
	full, n := plainPod(), 4999
	full.Spec.Containers, full.Spec.InitContainers = make([]corev1.Container, n), make([]corev1.Container, n)
	full.Spec.EphemeralContainers, full.Spec.Volumes = make([]corev1.EphemeralContainer, n), make([]corev1.Volume, n)
	full.Spec.TopologySpreadConstraints, full.Spec.HostAliases = make([]corev1.TopologySpreadConstraint, n), make([]corev1.HostAlias, n)
	full.Spec.ImagePullSecrets = make([]corev1.LocalObjectReference, n)
	many := `[` + strings.Repeat(`{},`, 4999) + `{}]`
	for _, c := range []struct {
		old   *corev1.Pod
		patch string
		code  int32
	}{
		{plainPod(), `{"spec":{"overhead":{"cpu":"1e1000000"}}}`, http.StatusBadRequest},
		{full, `{"metadata":{"labels":{"a":"b"}}}`, 0},
		{full, `{"spec":{"tolerations":` + many + `}}`, http.StatusRequestEntityTooLarge},
	} {
		for _, pt := range []types.PatchType{types.MergePatchType, types.StrategicMergePatchType} {
			_, _, err := Apply(pods, pt, []byte(c.patch), c.old, "")
			if c.code == 0 && err == nil {
				continue
			}
			if status, ok := err.(apierrors.APIStatus); !ok || status.Status().Code != c.code {
				t.Errorf("%s %.60s: %v, want %d", pt, c.patch, err, c.code)
			}
		}
	}
}

// largePod has 18 KB as JSON.
func largePod() *corev1.Pod {
	pod := plainPod()
	pod.Finalizers = []string{"example.com/a", "example.com/b"}
	pod.Spec.Containers = nil
	for n := range 10 {
		c := corev1.Container{Name: fmt.Sprint("c", n), Image: "registry.example/image:1", ImagePullPolicy: corev1.PullIfNotPresent,
			TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile}
		for m := range 30 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprint("VARIABLE_", m), Value: "some value of it"})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}

func BenchmarkMergePatch(b *testing.B) {
	old := largePod()
	for _, way := range []string{"in place", "through JSON"} {
		b.Run(way, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := patcher{kind: pods, data: []byte(`{"metadata":{"annotations":{"a":"b"}}}`), check: true}
				var done bool
				var err error
				if way == "in place" {
					_, done = p.inPlace(old, false)
				} else {
					_, err = p.throughJSON(old, p.applyMerge)
					done = err == nil
				}
				if !done {
					b.Fatal("not done", err)
				}
			}
		})
	}
}
