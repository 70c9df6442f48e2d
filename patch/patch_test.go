package patch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var configMaps = define[corev1.ConfigMap]("", "v1", "ConfigMap", true, false)

func configMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", UID: "u"}, Data: map[string]string{"k": "v", "x": "y"}}
}

func TestApply(t *testing.T) {
	many := "[" + strings.Repeat(`{"op":"test","path":"/data/k","value":"v"},`, maxOperations) + `{"op":"test","path":"/data/k","value":"v"}]`
	tests := []struct {
		name     string
		patch    types.PatchType
		data     string
		check    string
		want     string // data, or what the error says
		code     int32
		warnings int
	}{
		{name: "merge", patch: types.MergePatchType, data: `{"data":{"k":null,"z":"1"}}`, want: "map[x:y z:1]"},
		{name: "strategic", patch: types.StrategicMergePatchType, data: `{"data":{"k":"1"}}`, want: "map[k:1 x:y]"},
		{name: "strategic replace", patch: types.StrategicMergePatchType, data: `{"data":{"$patch":"replace","a":"b"}}`, want: "map[a:b]"},
		{name: "operations", patch: types.JSONPatchType, data: `[{"op":"move","from":"/data/k","path":"/data/m"}]`, want: "map[m:v x:y]"},
		{name: "failed test", patch: types.JSONPatchType, data: `[{"op":"test","path":"/data/k","value":"no"}]`, code: 422},
		{name: "bad operation", patch: types.JSONPatchType, data: `[{"op":"frob","path":"/data/k"}]`, code: 422},
		{name: "too many operations", patch: types.JSONPatchType, data: many, code: 413, want: "10000"},
		{name: "no array", patch: types.JSONPatchType, data: `{"op":"add"}`, code: 400},
		{name: "no JSON", patch: types.MergePatchType, data: `{garbage`, code: 400},
		{name: "trailing text", patch: types.StrategicMergePatchType, data: `{} x`, code: 400},
		{name: "empty", patch: types.StrategicMergePatchType, data: ``, code: 400},
		{name: "array", patch: types.StrategicMergePatchType, data: `[]`, code: 400},
		{name: "array without checks", patch: types.MergePatchType, data: `[]`, check: "Ignore", code: 422, want: "patch"},
		{name: "root replaced", patch: types.JSONPatchType, data: `[{"op":"replace","path":"","value":{}}]`, code: 400},
		{name: "wrong type", patch: types.JSONPatchType, data: `[{"op":"add","path":"/data/n","value":5}]`, code: 422, want: "patch"},
		{name: "wrong type, strategic", patch: types.StrategicMergePatchType, data: `{"data":{"n":5}}`, code: 422, want: "patch"},
		{name: "other kind", patch: types.MergePatchType, data: `{"kind":"Secret"}`, code: 422, want: "patch"},
		{name: "other name", patch: types.MergePatchType, data: `{"metadata":{"name":"d"}}`, code: 400, want: "does not match the name"},
		{name: "no name", patch: types.JSONPatchType, data: `[{"op":"remove","path":"/metadata/name"}]`, code: 400},
		{name: "other namespace", patch: types.MergePatchType, data: `{"metadata":{"namespace":"d"}}`, code: 400},
		{name: "no namespace", patch: types.MergePatchType, data: `{"metadata":{"namespace":null}}`, want: "map[k:v x:y]"},
		{name: "unknown field", patch: types.MergePatchType, data: `{"bogus":1}`, want: "map[k:v x:y]", warnings: 1},
		{name: "unknown field, strategic", patch: types.StrategicMergePatchType, data: `{"metadata":{"bogus":1}}`, want: "map[k:v x:y]", warnings: 1},
		{name: "unknown field ignored", patch: types.MergePatchType, data: `{"bogus":1}`, check: "Ignore", want: "map[k:v x:y]"},
		{name: "unknown field refused", patch: types.MergePatchType, data: `{"bogus":1}`, check: "Strict", code: 422, want: `unknown field "bogus"`},
		{name: "unknown field refused, strategic", patch: types.StrategicMergePatchType, data: `{"bogus":1}`, check: "Strict", code: 422, want: "bogus"},
		{name: "duplicate", patch: types.MergePatchType, data: `{"data":{"k":"1"},"data":{"k":"2"}}`, want: "map[k:2 x:y]", warnings: 1},
		{name: "duplicate refused", patch: types.StrategicMergePatchType, data: `{"data":{"k":"1"},"data":{"k":"2"}}`, check: "Strict", code: 422, want: `duplicate field "data"`},
		{name: "unknown member of an operation", patch: types.JSONPatchType, data: `[{"op":"add","path":"/data/k","value":"1","bogus":2}]`, want: "map[k:1 x:y]", warnings: 1},
		{name: "unknown directive", patch: types.StrategicMergePatchType, data: `{"data":{"$patch":"bogus"}}`, code: 500},
		{name: "unknown type", patch: "text/plain", data: `{}`, code: 415},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			old := configMap()
			obj, warnings, err := Apply(configMaps, test.patch, []byte(test.data), old, test.check)
			if test.code != 0 {
				expectError(t, err, test.code, test.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(obj.(*corev1.ConfigMap).Data); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if obj.GetNamespace() != "n" || obj.GetObjectKind().GroupVersionKind().Kind != "" {
				t.Errorf("namespace %q, kind %q", obj.GetNamespace(), obj.GetObjectKind().GroupVersionKind().Kind)
			}
			if len(warnings) != test.warnings {
				t.Errorf("warnings %q, want %d", warnings, test.warnings)
			}
			if fmt.Sprint(old) != fmt.Sprint(configMap()) {
				t.Error("the old object was changed")
			}
		})
	}
}

// expectError wants an error of that code, 500 being any that is no API status.
func expectError(t *testing.T, err error, code int32, text string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("%q does not contain %q", err, text)
	}
	var got int32 = 500
	if status, ok := err.(*errors.StatusError); ok {
		got = status.ErrStatus.Code
	}
	if got != code {
		t.Errorf("code %d, want %d: %v", got, code, err)
	}
}

func TestCopiesAreLimited(t *testing.T) {
	old := configMap()
	old.Data["k"] = strings.Repeat("x", 1<<20)
	steps := make([]string, 4)
	for n := range steps {
		steps[n] = fmt.Sprintf(`{"op":"copy","from":"/data/k","path":"/data/c%d"}`, n)
	}
	_, _, err := Apply(configMaps, types.JSONPatchType, []byte("["+strings.Join(steps, ",")+"]"), old, "")
	expectError(t, err, 422, "rejected")
}

func TestServerSideApply(t *testing.T) {
	tracker := NewTracker()
	now := time.Unix(1_000_000, 0).UTC()
	apply := func(manager, data string, old kind.Object, force bool) (kind.Object, []string, error) {
		return tracker.Apply(Configuration{Kind: configMaps, Namespace: "n", Name: "c", Data: []byte(data), Manager: manager, Force: force, Now: now}, old)
	}
	config := func(data string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata: " + data
	}
	_, _, err := apply("", config("{}"), nil, false)
	expectError(t, err, 422, "fieldManager")
	_, _, err = apply("a", "kind: Secret\napiVersion: v1", nil, false)
	expectError(t, err, 400, "invalid object type")
	_, _, err = apply("a", config("{}")+"\nbogus: 1", nil, false)
	expectError(t, err, 500, "bogus")
	first, _, err := apply("a", config("{k: v, l: w}"), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"manager":"a","operation":"Apply","apiVersion":"v1","time":"1970-01-12T13:46:40Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:k":{},"f:l":{}}}}]`
	if got := text(t, first.GetManagedFields()); got != want || first.GetNamespace() != "n" {
		t.Errorf("got %s in %q", got, first.GetNamespace())
	}
	first.SetUID("u")
	_, _, err = apply("b", config("{k: other}"), first, false)
	expectError(t, err, 409, `conflict with "a": .data.k`)
	forced, _, err := apply("b", config("{k: other}"), first, true)
	if err != nil || len(forced.GetManagedFields()) != 2 {
		t.Fatalf("%v, %v", forced, err)
	}
	removed, warnings, err := apply("a", config("{l: w}")+"\ndata: {l: w}", forced, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(removed.(*corev1.ConfigMap).Data); got != "map[k:other l:w]" {
		t.Errorf("data %s", got)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "data") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestApplyScale(t *testing.T) {
	scales := define[autoscalingv1.Scale]("autoscaling", "v1", "Scale", true, false)
	old := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", UID: "u"}, Spec: autoscalingv1.ScaleSpec{Replicas: 2}}
	old.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "autoscaling/v1",
		Time: &metav1.Time{Time: time.Unix(1, 0)}, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`)}}
	c := Configuration{Kind: scales, Namespace: "n", Name: "c", Manager: "a", Now: time.Unix(2, 0),
		Data: []byte(`{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"c"},"spec":{"replicas":4}}`)}
	tracker := NewTracker()
	_, _, err := tracker.Apply(c, old)
	expectError(t, err, 409, ".spec.replicas")
	c.Force = true
	obj, _, err := tracker.Apply(c, old)
	if err != nil {
		t.Fatal(err)
	}
	if got := obj.(*autoscalingv1.Scale).Spec.Replicas; got != 4 || len(obj.GetManagedFields()) != 1 || obj.GetManagedFields()[0].Manager != "a" {
		t.Errorf("%d replicas, %v", got, obj.GetManagedFields())
	}
}

func TestNullIsNotEmpty(t *testing.T) {
	old, next := &corev1.Pod{}, &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{}}}
	model, err := newTypeModel(pods)
	if err != nil {
		t.Fatal(err)
	}
	plan := newPlan(model, resetFields(pods, ""))
	for _, pair := range [][2]*corev1.Pod{{old, next}, {next, old}} {
		changes := 0
		w := &walk{trace: func(_, change hash) {
			if change == modified {
				changes++
			}
		}}
		if !w.objects(plan, pair[0], pair[1]) || changes != 1 {
			t.Errorf("%d changes", changes)
		}
	}
}

func plainPod() *corev1.Pod {
	yes, grace := true, int64(30)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-7", Namespace: "default", Labels: map[string]string{"app": "web", "pod-template-hash": "1"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "u", Controller: &yes}}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "nginx", ImagePullPolicy: corev1.PullAlways, TerminationMessagePath: "/dev/termination-log",
				TerminationMessagePolicy: corev1.TerminationMessageReadFile, Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: corev1.ProtocolTCP}}}},
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, SchedulerName: "default-scheduler",
			SecurityContext: &corev1.PodSecurityContext{}, TerminationGracePeriodSeconds: &grace, EnableServiceLinks: &yes,
		},
	}
}

func BenchmarkCreated(b *testing.B) {
	tracker, pod, now := NewTracker(), plainPod(), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		pod.ManagedFields = nil
		if err := tracker.Created(pods, pod, "m", "", now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdatedStatus(b *testing.B) {
	tracker, old, now := NewTracker(), plainPod(), time.Now()
	if err := tracker.Created(pods, old, "m", "", now); err != nil {
		b.Fatal(err)
	}
	old.UID = "x"
	next := old.DeepCopy()
	next.Status.Phase = corev1.PodRunning
	next.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	before := next.ManagedFields
	b.ReportAllocs()
	for b.Loop() {
		next.ManagedFields = before
		if err := tracker.Updated(pods, next, old, "kubelet", "status", now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLibrary(b *testing.B) {
	to, err := NewTracker().target(pods, "")
	if err != nil {
		b.Fatal(err)
	}
	pod, empty := plainPod(), &corev1.Pod{}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := to.ask(pod, empty, nil, "m"); !ok {
			b.Fatal("no result")
		}
	}
}
