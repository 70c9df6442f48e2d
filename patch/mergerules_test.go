package patch

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// TestMergeRulesAreUpstreams asks here and in the library for every member of every type of the API, by its name and by others.
func TestMergeRulesAreUpstreams(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var compare func(of reflect.Type)
	compare = func(of reflect.Type) {
		if seen[of] {
			return
		}
		seen[of] = true
		ours, theirs := mergeRules{of: shape.Of(of)}, strategicpatch.PatchMetaFromStruct{T: of}
		names := []string{"", "none"}
		for _, m := range ours.of.Target().Members {
			names = append(names, m.Name, strings.ToUpper(m.Name))
		}
		for _, name := range names {
			inner, err := ours.member(name)
			wantInner, want, wantErr := theirs.LookupPatchMetadataForStruct(name)
			if sameRules(t, of, name, inner, err, wantInner, want, wantErr) {
				compare(inner.of.Go)
			}
			inner, err = ours.list(name)
			wantInner, want, wantErr = theirs.LookupPatchMetadataForSlice(name)
			if sameRules(t, of, name, inner, err, wantInner, want, wantErr) {
				compare(inner.of.Go)
			}
		}
	}
	for _, k := range api.Kinds() {
		compare(reflect.TypeOf(k.New()))
	}
	if len(seen) < 500 {
		t.Errorf("only %d types", len(seen))
	}
}

func sameRules(t *testing.T, of reflect.Type, name string, inner mergeRules, err error,
	wantInner strategicpatch.LookupPatchMeta, want strategicpatch.PatchMeta, wantErr error) bool {
	t.Helper()
	switch {
	case err != nil || wantErr != nil:
		if err == nil || wantErr == nil || err.Error() != wantErr.Error() {
			t.Errorf("%v, %q: error %v, want %v", of, name, err, wantErr)
		}
		return false
	case inner.of.Go != wantInner.(strategicpatch.PatchMetaFromStruct).T:
		t.Errorf("%v, %q: of the type %v, want %v", of, name, inner.of.Go, wantInner)
	case inner.key != want.GetPatchMergeKey():
		t.Errorf("%v, %q: merged by %q, want %q", of, name, inner.key, want.GetPatchMergeKey())
	case !slices.Equal(strategies(inner.strategy), strategies(want.GetPatchStrategies()...)):
		t.Errorf("%v, %q: strategy %q, want %q", of, name, inner.strategy, want.GetPatchStrategies())
	}
	return true
}

// strategies but retainKeys, which a patch speaks of itself.
func strategies(all ...string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "" || s == "retainKeys" })
}

// BenchmarkStrategicMerge merges an image and a label into a pod of ten containers.
func BenchmarkStrategicMerge(b *testing.B) {
	k := api.Of[*corev1.Pod]()
	var containers []any
	for i := range 10 {
		containers = append(containers, map[string]any{"name": string(rune('a' + i)), "image": "i"})
	}
	doc := map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "web"}}, "spec": map[string]any{"containers": containers}}
	b.ReportAllocs()
	for b.Loop() {
		change := map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "x"}},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "image": "x"}}}}
		if _, err := mergeStrategic(k, doc, change); err != nil {
			b.Fatal(err)
		}
	}
}
