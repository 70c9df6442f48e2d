package patch

import (
	"cmp"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// maxUpdateManagers is how many managers an object has from updates before the oldest become one, "ancient-changes".
const maxUpdateManagers = 10

// Tracker keeps metadata.managedFields as apimachinery's field manager does, at a fraction of its cost.
//
// The field manager's result depends on three things: the entries before, who writes, and which fields the write adds,
// removes and modifies: their paths, not their values. A Tracker computes a hash of those (see walk) and remembers
// results under it, without times. An object of a shape that has been seen, say another pod of a template, costs one walk
// over its fields; the library is asked only about new shapes. What the walk cannot express (lists with duplicate
// keys) is always left to the library.
type Tracker struct {
	results cache

	// mu guards targets.
	mu      sync.RWMutex
	targets map[targetKey]*target
}

type targetKey struct {
	kind        *kind.Kind
	subresource string
}

// target is what is written to: a kind or a subresource of it.
type target struct {
	kind        *kind.Kind
	subresource string
	plan        *node
	id          hash
	library     *managedfields.FieldManager
}

// NewTracker returns a Tracker for built-in kinds.
func NewTracker() *Tracker {
	return &Tracker{targets: map[targetKey]*target{}}
}

// Warm reads the schema and plans the walks of kinds, so that the first write of each is about as quick as later ones.
// It may run beside writes.
func (t *Tracker) Warm(kinds ...*kind.Kind) {
	for _, k := range kinds {
		if to, err := t.target(k, ""); err == nil {
			to.ask(k.New(), k.New(), nil, "")
		}
	}
}

// Created sets the managed fields of an object that is about to be created; the object is changed in place.
// It belongs before mutating admission, whose changes have no manager. An error says that the kind has no schema.
func (t *Tracker) Created(k *kind.Kind, obj kind.Object, manager, subresource string, now time.Time) error {
	return t.Updated(k, obj, k.New(), manager, subresource, now)
}

// Updated sets the managed fields of next, which is about to replace old; next is changed in place. manager is the
// field manager of the request or the beginning of its user agent.
func (t *Tracker) Updated(k *kind.Kind, next, old kind.Object, manager, subresource string, now time.Time) error {
	to, err := t.target(k, subresource)
	if err != nil {
		return err
	}
	before := entriesBefore(next, old, subresource)
	if len(before) == 0 && old.GetUID() != "" {
		// Tracking begins with an object's creation or its first apply.
		next.SetManagedFields(nil)
		return nil
	}
	stamp := &metav1.Time{Time: now.UTC().Truncate(time.Second)}
	w := newWalk()
	defer w.release()
	if !memorable(before) || !w.objects(to.plan, old, next) {
		to.compute(next, old, before, manager, stamp)
		return nil
	}
	key := w.key(to.id, manager, before)
	result, ok := t.results.get(key)
	if !ok {
		if result, ok = to.remember(next, old, before, manager); !ok {
			next.SetManagedFields(old.GetManagedFields())
			return nil
		}
		t.results.add(key, result)
	}
	next.SetManagedFields(result.entries(before, stamp))
	return nil
}

func (t *Tracker) target(k *kind.Kind, subresource string) (*target, error) {
	key := targetKey{k, subresource}
	t.mu.RLock()
	to := t.targets[key]
	t.mu.RUnlock()
	if to != nil {
		return to, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if to := t.targets[key]; to != nil {
		return to, nil
	}
	reset := resetFields(k, subresource)
	library, err := newFieldManager(k, subresource, reset)
	if err != nil {
		return nil, err
	}
	types, err := newTypeModel(k)
	if err != nil {
		return nil, err
	}
	to = &target{kind: k, subresource: subresource, library: library,
		plan: newPlan(types, reset), id: hashString(k.GVK.String() + "/" + subresource)}
	t.targets[key] = to
	return to, nil
}

// entriesBefore are the managed fields that a write starts from: those that the request brings along, unless it brings
// none or unusable ones, or is for a subresource. A single empty entry, or an empty list, asks to begin anew.
func entriesBefore(next, old kind.Object, subresource string) []metav1.ManagedFieldsEntry {
	brought, present := next.GetManagedFields(), old.GetManagedFields()
	if subresource == "" {
		if isReset(brought) {
			return nil
		}
		if len(brought) > 0 && (sameEntries(brought, present) || managedfields.ValidateManagedFields(brought) == nil) {
			return brought
		}
	}
	return present
}

func isReset(entries []metav1.ManagedFieldsEntry) bool {
	switch len(entries) {
	case 0:
		return entries != nil
	case 1:
		return entries[0] == metav1.ManagedFieldsEntry{}
	}
	return false
}

func sameEntries(a, b []metav1.ManagedFieldsEntry) bool {
	return slices.EqualFunc(a, b, sameEntry)
}

func sameEntry(a, b metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.APIVersion == b.APIVersion && a.FieldsType == b.FieldsType &&
		a.Subresource == b.Subresource && a.Time.Equal(b.Time) &&
		(a.FieldsV1 == b.FieldsV1 || a.FieldsV1 != nil && b.FieldsV1 != nil && a.FieldsV1.Equal(*b.FieldsV1))
}

// memorable tells whether a result can be reused with other times: every entry has one, and no entry has to make room.
func memorable(before []metav1.ManagedFieldsEntry) bool {
	updates := 0
	for _, e := range before {
		if e.Time == nil {
			return false
		}
		if e.Operation == metav1.ManagedFieldsOperationUpdate {
			updates++
		}
	}
	return updates < maxUpdateManagers
}

// compute asks the library.
func (to *target) compute(next, old kind.Object, before []metav1.ManagedFieldsEntry, manager string, stamp *metav1.Time) {
	after, ok := to.ask(next, old, before, manager)
	if !ok {
		next.SetManagedFields(old.GetManagedFields())
		return
	}
	for n := range after {
		kept := func(e metav1.ManagedFieldsEntry) bool { return e.Time == after[n].Time }
		if !slices.ContainsFunc(before, kept) {
			after[n].Time = stamp
		}
	}
	sortEntries(after)
	next.SetManagedFields(after)
}

// ask runs the library on shallow copies of the objects, with the entries given. It is not ok for an object that the
// schema does not describe; such an object keeps the managers it had.
func (to *target) ask(updated, old kind.Object, before []metav1.ManagedFieldsEntry, manager string) ([]metav1.ManagedFieldsEntry, bool) {
	live, next := withType(to.kind, old), withType(to.kind, updated)
	live.SetManagedFields(mergeOldest(before))
	next.SetManagedFields(nil)
	after, err := to.library.Update(live, next, manager)
	if err != nil {
		return nil, false
	}
	return after.(kind.Object).GetManagedFields(), true
}

// remember asks the library with times that stand for positions in before, so that the result says where each came from.
func (to *target) remember(next, old kind.Object, before []metav1.ManagedFieldsEntry, manager string) (*result, bool) {
	numbered := slices.Clone(before)
	for n := range numbered {
		numbered[n].Time = &metav1.Time{Time: time.Unix(int64(n), 0)}
	}
	after, ok := to.ask(next, old, numbered, manager)
	if !ok {
		return nil, false
	}
	r := &result{}
	for _, e := range after {
		from := present
		if n := e.Time.Unix(); n < int64(len(before)) {
			from = int(n)
		}
		e.Time = nil
		r.list = append(r.list, origin{e, from})
	}
	return r, true
}

// result is a remembered answer of the library. It never changes.
type result struct{ list []origin }

// origin is an entry without its time, and the number of the earlier entry that has it.
type origin struct {
	entry metav1.ManagedFieldsEntry
	from  int
}

// present, as an origin, is the time of the write.
const present = -1

// entries fills the times in. FieldsV1 is shared by all objects of the shape: nobody changes it in place.
func (r *result) entries(before []metav1.ManagedFieldsEntry, stamp *metav1.Time) []metav1.ManagedFieldsEntry {
	if len(r.list) == 0 {
		return nil
	}
	entries := make([]metav1.ManagedFieldsEntry, len(r.list))
	for n, o := range r.list {
		entries[n] = o.entry
		entries[n].Time = stamp
		if o.from != present {
			entries[n].Time = before[o.from].Time
		}
	}
	sortEntries(entries)
	return entries
}

// sortEntries puts entries in the order in which clients see them.
func sortEntries(entries []metav1.ManagedFieldsEntry) {
	slices.SortFunc(entries, func(a, b metav1.ManagedFieldsEntry) int {
		return cmp.Or(cmp.Compare(a.Operation, b.Operation), cmp.Compare(seconds(a.Time), seconds(b.Time)),
			cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.APIVersion, b.APIVersion), cmp.Compare(a.Subresource, b.Subresource))
	})
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}
