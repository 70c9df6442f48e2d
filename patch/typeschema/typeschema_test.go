package typeschema

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
)

func TestSchemaEqualsClientGo(t *testing.T) {
	pod, err := scheme.Scheme.New(schema.GroupVersionKind{Version: "v1", Kind: "Pod"})
	if err != nil {
		t.Fatal(err)
	}
	pod.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Pod"})
	typed, err := applyconfigurations.NewTypeConverter(scheme.Scheme).ObjectToTyped(pod)
	if err != nil {
		t.Fatal(err)
	}
	stored := Stable(read())
	current := Stable(typed.Schema())
	if len(current) < 400 {
		t.Errorf("only %d types", len(current))
	}
	got, want := encoded(t, stored), encoded(t, current)
	if got != want {
		t.Errorf("the document differs from client-go's schema: run go generate")
	}
}

func encoded(t *testing.T, types []Type) string {
	data, err := json.Marshal(types)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func BenchmarkRead(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if len(read().Types) == 0 {
			b.Fatal("no types")
		}
	}
}
