package patch

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api"
)

// TestCrowdsAreMergedAsByTheLibrary: what is merged before the library is asked is what it would have merged.
func TestCrowdsAreMergedAsByTheLibrary(t *testing.T) {
	k := api.Of[*corev1.ConfigMap]()
	to, err := NewTracker().target(k, "")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(15, 16))
	fewer := 0
	for round := range 30 {
		live, next := &corev1.ConfigMap{Data: map[string]string{}}, &corev1.ConfigMap{Data: map[string]string{}}
		var entries []metav1.ManagedFieldsEntry
		for n := range crowd + 20 + random.IntN(100) {
			live.Data[fmt.Sprint("k", n)], next.Data[fmt.Sprint("k", n)] = "v", []string{"v", "v", "v", "w"}[random.IntN(4)]
			at := metav1.Unix(int64(1e9+random.IntN(500)), 0)
			e := metav1.ManagedFieldsEntry{Manager: fmt.Sprint("m", n), Operation: "Update", APIVersion: []string{"v1", "v1", "v2"}[random.IntN(3)], Time: &at, FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(fmt.Sprintf(`{"f:data":{".":{},"f:k%d":{},"f:k%d":{}}}`, n, random.IntN(n+1)))}
			switch random.IntN(12) {
			case 0:
				e.Operation = "Apply"
			case 1:
				e.Subresource = "status"
			case 2:
				e.Manager = "m" // of which there may be several
			}
			entries = append(entries, e)
		}
		if old := metav1.Unix(1e8, 0); round%2 == 0 {
			entries[random.IntN(crowd)] = metav1.ManagedFieldsEntry{Manager: ancient, Operation: "Update", APIVersion: "v1", Time: &old, FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:k1":{},"f:k2":{}}}`)}
		}
		merged := mergeOldest(entries)
		if len(merged) < len(entries) {
			fewer++
		}
		ask := func(before []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
			was, is := withType(k, live), withType(k, next)
			was.SetManagedFields(before)
			after, err := to.library.Update(was, is, "writer")
			if err != nil {
				t.Fatal(err)
			}
			found := after.(*corev1.ConfigMap).ManagedFields
			for n := range found {
				if found[n].Manager == "writer" {
					found[n].Time = nil // now
				}
			}
			sortEntries(found)
			return found
		}
		if got, want := ask(merged), ask(entries); !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d:\n%v\ninstead of\n%v", round, got, want)
		}
	}
	if fewer < 20 {
		t.Errorf("only %d crowds were merged", fewer)
	}
}

// TestCrowdsCostNoMoreThanTheyAreLong: what is brought along does not cost its square.
func TestCrowdsCostNoMoreThanTheyAreLong(t *testing.T) {
	cost := func(n int) uint64 {
		at := metav1.NewTime(time.Unix(1e9, 0))
		var entries []metav1.ManagedFieldsEntry
		for k := range n {
			entries = append(entries, metav1.ManagedFieldsEntry{Manager: fmt.Sprint("m", k), Operation: "Update", APIVersion: "v1", Time: &at, FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(fmt.Sprintf(`{"f:data":{"f:k%d":{}}}`, k))})
		}
		o := &corev1.ConfigMap{}
		o.SetManagedFields(entries)
		tracker := NewTracker()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := tracker.Created(api.Of[*corev1.ConfigMap](), o, "writer", "", time.Now()); err != nil || len(o.ManagedFields) > 20 {
			t.Error(len(o.ManagedFields), err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	cost(1) // what is made once
	few, many := cost(500), cost(4000)
	if t.Logf("%d and %d bytes", few, many); many > 16*few {
		t.Errorf("eight times as many take %d times as much memory", many/few)
	}
}
