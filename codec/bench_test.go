package codec

import (
	"io"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// discard is an io.Writer alone.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

var _ io.Writer = discard{}

// BenchmarkItem writes one pod in each form.
func BenchmarkItem(b *testing.B) {
	k, item := NewKind(podInfo), pods(1)[0]
	for name, m := range map[string]Media{
		"json": {}, "proto": {Format: Protobuf}, "partial": {Form: Partial, Version: "v1"}, "table": {Form: Table, Version: "v1"},
	} {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if buf, err = k.AppendItem(buf[:0], m, item, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkList writes 500 pods in each form.
func BenchmarkList(b *testing.B) {
	l := List[Item]{Kind: NewKind(podInfo), Meta: metav1.ListMeta{ResourceVersion: "42"}, Items: pods(500)}
	for name, m := range map[string]Media{
		"json": {}, "proto": {Format: Protobuf}, "partial": {Form: PartialList, Version: "v1"}, "table": {Form: Table, Version: "v1"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Write(discard{}, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWatch writes events.
func BenchmarkWatch(b *testing.B) {
	k, item := NewKind(podInfo), pods(1)[0]
	for name, f := range map[string]Format{"json": JSON, "proto": Protobuf} {
		s := k.NewStream(Media{Format: f}, "")
		b.Run(name, func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if buf, err = s.Append(buf[:0], "MODIFIED", item); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStatus(b *testing.B) {
	status := &metav1.Status{Status: "Failure", Message: `pods "x" not found`, Reason: "NotFound", Code: 404}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = AppendObject(buf[:0], Media{}, status, schema.GroupVersionKind{Version: "v1", Kind: "Status"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode reads a pod from a body.
func BenchmarkDecode(b *testing.B) {
	k, item := NewKind(podInfo), pods(1)[0]
	for name, f := range map[string]Format{"json": JSON, "proto": Protobuf} {
		body, err := k.AppendItem(nil, Media{Format: f}, item, "")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Decode(f, body, &corev1.Pod{}, podInfo.GVK, metav1.FieldValidationIgnore); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
