package history

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// object is what the model knows of one object.
type object struct {
	exists bool
	value  string
	// revision of the present object; 0 after a write whose revision nobody was told yet.
	revision int64
	// floor is the highest revision that the object is known to have had, in this life or an earlier one.
	floor int64
}

// CheckObjects tells whether each object behaved as one register: every operation as if it had happened at one moment
// between its call and its return, updates and deletions only from the revision that they name, revisions rising.
// patience bounds the search for each object.
func CheckObjects(ops []Op, patience time.Duration) error {
	byName := map[string][]porcupine.Operation{}
	for _, o := range ops {
		end := int64(o.Return)
		if o.Outcome == Unknown {
			if o.Kind == Get {
				continue // tells nothing
			}
			end = math.MaxInt64
		}
		byName[o.Name] = append(byName[o.Name], porcupine.Operation{ClientId: o.Client, Input: o, Output: o.Outcome, Call: int64(o.Call), Return: end})
	}
	model := porcupine.Model{
		Init: func() any { return object{} },
		Step: func(state, input, _ any) (bool, any) { return step(state.(object), input.(Op)) },
	}
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		switch porcupine.CheckOperationsTimeout(model, byName[name], patience) {
		case porcupine.Illegal:
			failed = append(failed, fmt.Errorf("%s is not linearizable:\n%s", name, list(ops, name)))
		case porcupine.Unknown:
			failed = append(failed, fmt.Errorf("%s: no verdict on %d operations within %s", name, len(byName[name]), patience))
		}
	}
	return errors.Join(append(failed, checkRevisions(ops))...)
}

// step is the model: whether an operation can have happened in a state, and the state after it.
func step(s object, o Op) (bool, object) {
	if o.Outcome == Unknown {
		return true, maybe(s, o)
	}
	// An expected revision was seen before, so a write of unknown revision that came after cannot have it.
	expected := o.Expect == 0 || s.revision == o.Expect
	switch o.Outcome {
	case Absent:
		return !s.exists && o.Kind != Create, s
	case Exists:
		return s.exists && o.Kind == Create, s
	case Conflict:
		return s.exists && !expected && (o.Kind == Update || o.Kind == Delete), s
	}
	switch o.Kind {
	case Get:
		if !s.exists || s.value != o.Value || s.revision != o.Revision && (s.revision != 0 || o.Revision <= s.floor) {
			return false, s
		}
		return true, object{exists: true, value: o.Value, revision: o.Revision, floor: o.Revision}
	case Create, Update:
		if s.exists == (o.Kind == Create) || !expected || o.Revision <= s.floor {
			return false, s
		}
		return true, object{exists: true, value: o.Value, revision: o.Revision, floor: o.Revision}
	case Delete:
		return s.exists && expected, object{floor: s.floor}
	}
	return false, s
}

// maybe is the state after an operation of unknown outcome at the moment at which it took effect, if it did: since it
// has no end, it may also stand after everything else.
func maybe(s object, o Op) object {
	expected := o.Expect == 0 || s.revision == o.Expect
	switch {
	case o.Kind == Create && !s.exists, o.Kind == Update && s.exists && expected:
		return object{exists: true, value: o.Value, floor: s.floor}
	case o.Kind == Delete && s.exists && expected:
		return object{floor: s.floor}
	}
	return s
}

// checkRevisions tells whether writes that came after another had been acknowledged got higher revisions, over all
// objects.
func checkRevisions(ops []Op) error {
	var writes []Op
	for _, o := range ops {
		if o.writes() {
			writes = append(writes, o)
		}
	}
	byCall, byReturn := slices.Clone(writes), writes
	slices.SortFunc(byCall, func(a, b Op) int { return int(a.Call - b.Call) })
	slices.SortFunc(byReturn, func(a, b Op) int { return int(a.Return - b.Return) })
	var before Op // of the highest revision among those that had returned
	next := 0
	for _, o := range byCall {
		for ; next < len(byReturn) && byReturn[next].Return < o.Call; next++ {
			if byReturn[next].Revision > before.Revision {
				before = byReturn[next]
			}
		}
		if o.Revision <= before.Revision {
			return fmt.Errorf("revisions went back:\n%s\n%s", before, o)
		}
	}
	return nil
}

// list shows the operations on one object in the order of their calls.
func list(ops []Op, name string) string {
	var mine []Op
	for _, o := range ops {
		if o.Name == name {
			mine = append(mine, o)
		}
	}
	slices.SortStableFunc(mine, func(a, b Op) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, o := range mine {
		fmt.Fprintln(&b, o)
	}
	return b.String()
}
