package patch

import (
	"bytes"
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// crowd is how many entries of updates the library is given as they are. It keeps ten of them, and adds the fields of one after the other to what
// it keeps of older ones, all of which it copies each time: seconds, for the thousands that a request may bring along.
const crowd = 100

// ancient is the manager of older entries' fields, as the library calls it.
const ancient = "ancient-changes"

// mergeOldest does to a crowd of entries what the library would do in the end: the fields of the oldest updates become those of one manager for
// each version, with the time of the newest of them.
func mergeOldest(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	if len(entries) <= crowd {
		return entries
	}
	entries = lastOfEach(entries)
	var updates []int
	for n := range entries {
		if e := &entries[n]; e.Operation == metav1.ManagedFieldsOperationUpdate && e.FieldsV1 != nil {
			updates = append(updates, n)
		}
	}
	if len(updates) <= crowd {
		return entries
	}
	first := func(e *metav1.ManagedFieldsEntry) int { // what was merged before is the oldest, whatever its time
		if e.Manager == ancient && e.Subresource == "" {
			return 0
		}
		return 1
	}
	slices.SortFunc(updates, func(a, b int) int {
		x, y := &entries[a], &entries[b]
		return cmp.Or(first(x)-first(y), cmp.Compare(seconds(x.Time), seconds(y.Time)), cmp.Compare(x.Manager, y.Manager))
	})
	merged := map[int]bool{}
	byVersion := map[string][]int{}
	for _, n := range updates[:len(updates)-crowd] {
		merged[n] = true
		byVersion[entries[n].APIVersion] = append(byVersion[entries[n].APIVersion], n)
	}
	var left []metav1.ManagedFieldsEntry
	for n := range entries {
		if !merged[n] {
			left = append(left, entries[n])
		}
	}
	for version, all := range byVersion {
		one := entries[all[0]]
		if len(all) > 1 {
			fields, err := union(entries, all)
			if err != nil {
				return entries // the library will say what is wrong
			}
			last := &entries[all[len(all)-1]]
			one = metav1.ManagedFieldsEntry{Manager: ancient, Operation: last.Operation, APIVersion: version, Time: last.Time, FieldsType: last.FieldsType, FieldsV1: fields}
		}
		left = append(left, one)
	}
	return left
}

// lastOfEach leaves out entries in whose place a later one stands: the library knows one of each manager, version and subresource.
func lastOfEach(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	last := map[metav1.ManagedFieldsEntry]int{}
	identity := func(e metav1.ManagedFieldsEntry) metav1.ManagedFieldsEntry {
		id := metav1.ManagedFieldsEntry{Manager: e.Manager, Operation: e.Operation, APIVersion: e.APIVersion, Subresource: e.Subresource}
		if e.Operation == metav1.ManagedFieldsOperationApply {
			id.APIVersion = ""
		}
		return id
	}
	for n, e := range entries {
		last[identity(e)] = n
	}
	var left []metav1.ManagedFieldsEntry
	for n, e := range entries {
		if last[identity(e)] == n {
			left = append(left, e)
		}
	}
	return left
}

// union is the fields of entries. It merges two at a time, then two of those, so that nothing is copied more often than there are such rounds.
func union(entries []metav1.ManagedFieldsEntry, of []int) (*metav1.FieldsV1, error) {
	sets := make([]*fieldpath.Set, len(of))
	for n, at := range of {
		sets[n] = &fieldpath.Set{}
		if err := sets[n].FromJSON(bytes.NewReader(entries[at].FieldsV1.GetRawBytes())); err != nil {
			return nil, err
		}
	}
	for len(sets) > 1 {
		half := sets[:0]
		for pair := range slices.Chunk(sets, 2) {
			if len(pair) == 2 {
				pair[0] = pair[0].Union(pair[1])
			}
			half = append(half, pair[0])
		}
		sets = half
	}
	text, err := sets[0].ToJSON()
	if err != nil {
		return nil, err
	}
	return metav1.NewFieldsV1(string(text)), nil
}
