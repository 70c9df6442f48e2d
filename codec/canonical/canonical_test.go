package canonical

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What has no encoded form is refused with its place.
func TestRefuses(t *testing.T) {
	type odd struct {
		Number float64 `json:"number"`
	}
	far := metav1.Unix(1e15, 0)
	for want, o := range map[string]any{
		"spec.nodeName: the text":                   &corev1.Pod{Spec: corev1.PodSpec{NodeName: "a\xff"}},
		"spec.containers[1].args[0]: the text":      &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{}, {Args: []string{"\xc3"}}}}},
		"metadata.labels: the key":                  &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "\xff"}}},
		"metadata.creationTimestamp: the year":      &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: far}},
		"metadata.deletionTimestamp: the year":      &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &far}},
		"metadata.managedFields[0].fieldsV1: it is": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{FieldsV1: metav1.NewFieldsV1("{")}}}},
		"spec.ports[0].targetPort: it is neither":   &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{TargetPort: intstr.IntOrString{Type: 7}}}}},
		"data[\"a\\xff\"]: the key":                 &corev1.Secret{Data: map[string][]byte{"a\xff": nil}},
		"number: NaN":                               &odd{math.NaN()},
	} {
		err := MakeExact(o, Options{})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s…", err, want)
		}
	}
	type raw struct {
		Data runtime.RawExtension `json:"data"`
	}
	if err := MakeExact(&raw{runtime.RawExtension{Raw: []byte("{")}}, Options{}); err == nil || err.Error() != "data: it is no JSON" {
		t.Error(err)
	}
}

// What stands as it is does not keep the rest from becoming exact.
func TestAgainLeavesTextsAlone(t *testing.T) {
	seen := metav1.NewTime(time.Unix(1, 5))
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "\xff"}, Annotations: map[string]string{},
		ManagedFields: []metav1.ManagedFieldsEntry{{FieldsV1: metav1.NewFieldsV1("{")}}},
		Spec: corev1.NodeSpec{ProviderID: "\xff", Taints: []corev1.Taint{{TimeAdded: &seen}}},
		Status: corev1.NodeStatus{Capacity: corev1.ResourceList{"\xff": resource.MustParse("1000m")}, Config: &corev1.NodeConfigStatus{Error: "\xff"},
			Images: []corev1.ContainerImage{{Names: []string{}}}}}
	if err := MakeExact(o, Options{Again: true}); err != nil {
		t.Fatal(err)
	}
	cpu := o.Status.Capacity["\xff"]
	if o.Spec.Taints[0].TimeAdded.Nanosecond() != 0 || o.Annotations != nil || o.Status.Images[0].Names != nil || cpu.String() != "1" || o.Labels["a"] != "\xff" {
		t.Errorf("%+v", o)
	}
	s := &corev1.Secret{Data: map[string][]byte{"a\xff": nil}}
	if err := MakeExact(s, Options{Again: true}); err != nil || s.Data["a\xff"] == nil {
		t.Error(err, s.Data)
	}
}

func TestReplaces(t *testing.T) {
	e := &corev1.Event{Message: "a\xff", ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"k\xff": "v\xff"}}}
	if err := MakeExact(e, Options{ReplaceInvalid: true}); err != nil {
		t.Fatal(err)
	}
	if e.Message != "a\ufffd" || e.Annotations["k\ufffd"] != "v\ufffd" || len(e.Annotations) != 1 {
		t.Errorf("%q %q", e.Message, e.Annotations)
	}
	s := &corev1.Secret{Data: map[string][]byte{"a\xff": nil}}
	if err := MakeExact(s, Options{ReplaceInvalid: true}); err != nil || s.Data["a\ufffd"] == nil || len(s.Data) != 1 {
		t.Error(err, s.Data)
	}
}

// An exact object is not written to: it may be shared. Its memory is made read-only by comparing a copy of every word.
func TestLeavesWhatIsExact(t *testing.T) {
	now := metav1.Unix(1700000000, 0)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: now, DeletionTimestamp: &now, Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi"), "x": resource.MustParse("100Pi"), "y": resource.MustParse("0")}}}}}}
	if err := MakeExact(p, Options{}); err != nil {
		t.Fatal(err)
	}
	w := walk{}
	planOf(reflect.TypeFor[corev1.Pod]())(&w, unsafe.Pointer(p))
	if w.changed {
		t.Error("an exact pod was changed")
	}
	if p.DeletionTimestamp != &now {
		t.Error("an exact time was replaced")
	}
	// A caller's own time, which many of its objects may share, stays as it is.
	shared := metav1.NewTime(time.Unix(1, 5))
	p.DeletionTimestamp = &shared
	if err := MakeExact(p, Options{}); err != nil || shared.Nanosecond() != 5 || p.DeletionTimestamp.Nanosecond() != 0 {
		t.Error(err, shared, p.DeletionTimestamp)
	}
}

// The library's type must stand in memory as quantity says.
func TestQuantityStandsAsExpected(t *testing.T) {
	theirs, ours := reflect.TypeFor[resource.Quantity](), reflect.TypeFor[quantity]()
	if theirs.Size() != ours.Size() || theirs.NumField() != 4 {
		t.Fatal("resource.Quantity has changed")
	}
	at := func(f reflect.StructField, ok bool) uintptr {
		if !ok {
			t.Fatal("a field is missing")
		}
		return f.Offset
	}
	i := at(theirs.FieldByName("i"))
	for _, c := range []struct{ theirs, ours uintptr }{
		{i + at(theirs.Field(0).Type.FieldByName("value")), unsafe.Offsetof(quantity{}.value)},
		{i + at(theirs.Field(0).Type.FieldByName("scale")), unsafe.Offsetof(quantity{}.scale)},
		{at(theirs.FieldByName("d")), unsafe.Offsetof(quantity{}.dec)},
		{at(theirs.FieldByName("s")), unsafe.Offsetof(quantity{}.text)},
		{at(theirs.FieldByName("Format")), unsafe.Offsetof(quantity{}.format)},
	} {
		if c.theirs != c.ours {
			t.Errorf("offset %d, expected %d", c.theirs, c.ours)
		}
	}
}

// What is taken for canonical without parsing is what parsing gives.
func TestCanonicalQuantities(t *testing.T) {
	try := func(q resource.Quantity) {
		mine := q
		if !(*quantity)(unsafe.Pointer(&mine)).canonical() {
			return
		}
		parsed := resource.MustParse(mine.String())
		_ = parsed.String()
		if !reflect.DeepEqual(parsed, mine) {
			t.Fatalf("%#v is parsed as %#v", mine, parsed)
		}
	}
	for _, digits := range []int64{1, 7, 10, 12, 100, 999, 1001, 1023, 1024, 1500, 1 << 20, 3 << 19, 999999, 1e6 + 1, 1<<30 + 1024, 1 << 39, 976562499 * 1024, 1e14 + 1, 1e15 - 1} {
		for _, sign := range []int64{1, -1} {
			for scale := resource.Scale(-12); scale <= 21; scale++ {
				try(*resource.NewScaledQuantity(sign*digits, scale))
			}
			try(*resource.NewQuantity(sign*digits, resource.BinarySI))
			try(*resource.NewQuantity(sign*digits, resource.DecimalExponent))
		}
	}
	try(resource.Quantity{})
	try(resource.Quantity{Format: resource.DecimalSI})
}

func BenchmarkPod(b *testing.B) {
	yes, now := true, metav1.Unix(1700000000, 0)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "default", Labels: map[string]string{"app": "web", "hash": "x"}, CreationTimestamp: now,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "u", Controller: &yes}},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m", FieldsType: "FieldsV1", Time: &now,
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}},"f:restartPolicy":{}}}`)}}},
		Spec: corev1.PodSpec{RestartPolicy: "Always", DNSPolicy: "ClusterFirst", SchedulerName: "default-scheduler", SecurityContext: &corev1.PodSecurityContext{},
			Containers: []corev1.Container{{Name: "c", Image: "nginx:1.27", ImagePullPolicy: "Always", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi")}}}},
			Tolerations: []corev1.Toleration{{Key: "a", Operator: "Exists", Effect: "NoExecute"}, {Key: "b", Operator: "Exists", Effect: "NoExecute"}}},
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := MakeExact(p, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
