package patch

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/wheelhouse-k8s/wheelhouse/api"
)

// dice makes documents and strategic merge patches of pods at random.
type dice struct{ *rand.Rand }

func (d dice) chance(n int) bool { return d.IntN(n) == 0 }

func (d dice) name() string { return string(rune('a' + d.IntN(6))) }

func (d dice) names(most int) []any {
	list := []any{}
	for range d.IntN(most + 1) {
		list = append(list, d.name())
	}
	return list
}

// objects is a list of objects told apart by a key.
func (d dice) objects(key string, patch bool, more func(map[string]any)) []any {
	list := []any{}
	for range d.IntN(5) {
		o := map[string]any{key: d.name()}
		switch {
		case patch && d.chance(6):
			o["$patch"] = []any{"delete", "delete", "replace", "merge", "odd"}[d.IntN(5)]
		case patch && d.chance(40):
			delete(o, key)
		case patch && d.chance(40):
			o[key] = map[string]any{"no": "scalar"}
		}
		more(o)
		list = append(list, o)
	}
	if patch && d.chance(60) {
		list = append(list, "odd")
	}
	return list
}

func (d dice) order(key string) []any {
	list := []any{}
	for _, n := range d.Perm(6)[:1+d.IntN(6)] {
		if key == "" {
			list = append(list, string(rune('a'+n)))
		} else {
			list = append(list, map[string]any{key: string(rune('a' + n))})
		}
	}
	return list
}

func (d dice) labels(patch bool) map[string]any {
	m := map[string]any{}
	for range d.IntN(4) {
		m[d.name()] = d.name()
		if patch && d.chance(4) {
			m[d.name()] = nil
		}
	}
	if patch && d.chance(10) {
		m["$patch"] = []any{"replace", "delete", "odd"}[d.IntN(3)]
	}
	return m
}

// pod is a document, or a patch of one.
func (d dice) pod(patch bool) map[string]any {
	metadata := map[string]any{"name": "p"}
	if d.chance(2) {
		metadata["labels"] = d.labels(patch)
	}
	if !patch || d.chance(3) {
		metadata["finalizers"] = d.names(5)
		if !patch { // what is twice in a document, the library moves about
			metadata["finalizers"] = d.order("")
		}
	} else if d.chance(2) {
		metadata["$deleteFromPrimitiveList/finalizers"] = d.names(3)
	}
	if patch && d.chance(4) {
		metadata["$setElementOrder/finalizers"] = d.order("")
	}
	spec := map[string]any{"containers": d.objects("name", patch, func(c map[string]any) {
		c["image"] = d.name()
		if d.chance(2) {
			c["env"] = d.objects("name", patch, func(e map[string]any) { e["value"] = d.name() })
		}
		if d.chance(3) {
			c["args"] = d.names(3)
		}
		if patch && d.chance(5) {
			c["$setElementOrder/env"] = d.order("name")
		}
	})}
	if d.chance(2) {
		spec["volumes"] = d.objects("name", patch, func(v map[string]any) {
			source := []string{"emptyDir", "hostPath", "secret"}[d.IntN(3)]
			v[source] = map[string]any{"medium": d.name()}
			if patch && d.chance(3) {
				v["$retainKeys"] = []any{"name", source}
			}
		})
	}
	if d.chance(3) {
		spec["tolerations"] = d.objects("key", false, func(map[string]any) {})
	}
	if d.chance(4) {
		spec["nodeSelector"] = d.labels(patch)
	}
	if patch && d.chance(3) {
		spec["$setElementOrder/containers"] = d.order("name")
	}
	if patch && d.chance(12) {
		spec["containers"] = []any{nil, "odd", map[string]any{}, 1.5}[d.IntN(4)]
	}
	return map[string]any{"metadata": metadata, "spec": spec}
}

func clone(t *testing.T, m map[string]any) map[string]any {
	t.Helper()
	var c map[string]any
	data, err := json.Marshal(m)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return clip(c).(map[string]any)
}

// clip leaves no room behind lists, as there is none in the documents that objects become: the library appends in place.
func clip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = clip(v[name])
		}
	case []any:
		for i := range v {
			v[i] = clip(v[i])
		}
		return slices.Clip(v)
	}
	return v
}

// TestStrategicMergeIsUpstreams merges random patches here and in the library.
func TestStrategicMergeIsUpstreams(t *testing.T) {
	k, d := api.Of[*corev1.Pod](), dice{rand.New(rand.NewPCG(1, 2))}
	equal, refused, panicked := 0, 0, 0
	for i := range 8_000 {
		doc, change := d.pod(false), d.pod(true)
		want, wantErr := upstreamMerge(clone(t, doc), clone(t, change))
		got, err := mergeStrategic(k, clone(t, doc), clone(t, change))
		switch {
		case wantErr != nil && strings.HasPrefix(wantErr.Error(), "panic"):
			if panicked++; err == nil {
				t.Fatalf("%d: the library panics (%v); here is no error", i, wantErr)
			}
		case err != nil && strings.Contains(show(change), `{"no":"scalar"}`): // a key that the library may not come to compare
			refused++
		case (err == nil) != (wantErr == nil):
			t.Fatalf("%d: error %v, want %v\n%s\n%s", i, err, wantErr, show(doc), show(change))
		case err != nil:
			refused++
		case !reflect.DeepEqual(plain(t, got), plain(t, want)):
			t.Fatalf("%d: %s and %s give\n%s, want\n%s", i, show(doc), show(change), show(got), show(want))
		default:
			equal++
		}
	}
	if equal < 1000 || refused < 300 {
		t.Errorf("%d equal, %d refused, %d panics of the library: the patches do not reach far", equal, refused, panicked)
	}
}

func plain(t *testing.T, m map[string]any) any { return clone(t, m) }

func show(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

func upstreamMerge(doc, change map[string]any) (result map[string]any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return strategicpatch.StrategicMergeMapPatch(doc, change, &corev1.Pod{})
}

// TestStrategicMergeIsLinear merges lists that the library would search for hours.
func TestStrategicMergeIsLinear(t *testing.T) {
	const n = 40_000
	items := func(from int, more map[string]any) []any {
		var list []any
		for i := range n {
			o := map[string]any{"name": fmt.Sprint("n", from+i)}
			for k, v := range more {
				o[k] = v
			}
			list = append(list, o)
		}
		return list
	}
	var finalizers []any
	for i := range n {
		finalizers = append(finalizers, fmt.Sprint("f", i))
	}
	k := api.Of[*corev1.Pod]()
	pod := func(containers []any) map[string]any {
		return map[string]any{"metadata": map[string]any{"finalizers": finalizers}, "spec": map[string]any{"volumes": containers}}
	}
	begun := time.Now()
	for _, change := range []map[string]any{
		pod(items(n/2, nil)),
		pod(items(0, map[string]any{"$patch": "delete"})),
		{"metadata": map[string]any{"$deleteFromPrimitiveList/finalizers": finalizers}},
		{"spec": map[string]any{"volumes": items(0, nil), "$setElementOrder/volumes": items(0, nil)}},
		{"metadata": map[string]any{"finalizers": finalizers, "$setElementOrder/finalizers": finalizers}},
	} {
		if _, err := mergeStrategic(k, pod(items(0, nil)), change); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}
