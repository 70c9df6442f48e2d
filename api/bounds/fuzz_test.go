package bounds

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// hostileMessages mislead who reads a pod's protobuf.
var hostileMessages = []string{
	"", "\x0a", "\x0a\x80", "\x0a\xff\xff\xff\xff\x0f", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "\x0a" + strings.Repeat("\xff", 11),
	"\x8a\x80\x80\x80\x80\x01\x03abc", "\xfa\xff\xff\xff\xff\x01\x03abc", "\x0b\x0c", "\x0c", strings.Repeat("\x0b", 2*MaxDepth), "\x0e\x00", "\x0f\x00",
	"\x0a\x05\x5a\x03\x0a\x01a",         // a label without a value
	"\x12\x05\x9a\x02\x02\x08\x01",      // a map's key that is a number
	"\x12\x04\x12\x02\x42\x00",          // resources of a container
	"\x12\x08\x12\x06\x42\x04\x0a\x02z", // limits that are cut
}

// hostileDocuments mislead who reads a pod's JSON.
var hostileDocuments = []string{
	"", "{", "[", `"`, `"\`, `{"`, `{"a"`, `{"a":`, `{"a":1,`, "[1,", "{]", "[}", "}{", "nul", "-", "1e", `{"spec":[{}]}`, `{"metadata":{"labels":[]}}`,
	strings.Repeat("[", 2*MaxDepth), strings.Repeat(`{"a":`, 2*MaxDepth), `{"spec":{"overhead":{"cpu":"1e999999999"}}}`, "\xff\xfe", `{"\ud800":1}`,
	`{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{"f:b":`,
}

// FuzzScan: whatever the bytes are, a scan ends, and what the decoder takes has been scanned to its end.
func FuzzScan(f *testing.F) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"app": "web"}, ManagedFields: []metav1.ManagedFieldsEntry{{FieldsV1: metav1.NewFieldsV1(`{"f:a":{}}`)}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}}}}}}
	message, err := pod.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	document, err := json.Marshal(pod)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(message)
	f.Add(document)
	for _, text := range append(hostileMessages, hostileDocuments...) {
		f.Add([]byte(text))
		f.Add(wire.AppendBytes(nil, 2, text))
	}
	plan := planOf(reflect.TypeFor[corev1.Pod]())
	f.Fuzz(func(t *testing.T, data []byte) {
		var u use
		whole := u.message(data, plan)
		var p corev1.Pod
		if err := p.Unmarshal(data); err == nil && !whole && u.err == nil {
			t.Fatalf("%q is decoded, but not scanned to its end", data)
		}
		for _, into := range []any{pod, nil} {
			s := scan{data: data}
			s.any(planOf(reflect.TypeOf(into)), 0)
			if s.at > len(data) || s.depth > MaxDepth+1 {
				t.Fatalf("%q: at %d of %d, %d deep", data, s.at, len(data), s.depth)
			}
		}
	})
}
