package history

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// EventType is the type of a watch event, as on the wire.
type EventType string

// The types of events that a watch can deliver.
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	Bookmark EventType = "BOOKMARK"
)

// Event is what a watch delivered.
type Event struct {
	Type     EventType
	Name     string
	Value    string // empty for deletions and bookmarks
	Revision int64
	// At is the master that delivered it.
	At string
}

// Item is one object of a list.
type Item struct {
	Value    string
	Revision int64
}

// Segment is what one client saw from one list on: the list, and all events after it through any number of connections.
type Segment struct {
	// Revision of the list.
	Revision int64
	Items    map[string]Item
	Events   []Event
}

// last is the revision up to which the segment has surely been told everything.
func (s *Segment) last() int64 {
	if len(s.Events) == 0 {
		return s.Revision
	}
	return s.Events[len(s.Events)-1].Revision
}

// Watch is what one watching client saw. A further segment begins where it had to list again (410 Gone).
type Watch struct {
	Name     string
	Segments []*Segment
}

// Reached is the revision up to which the watch has surely been told everything.
func (w *Watch) Reached() int64 { return w.Segments[len(w.Segments)-1].last() }

// Timeline is every change that any watch saw, by revision.
type Timeline map[int64]Event

// CheckWatches compares what several watches saw with each other, with the operations of the writers, and with the list
// at the end. All watches must have been followed at least to the revision of that list.
func CheckWatches(watches []*Watch, ops []Op, final Segment) error {
	timeline := Timeline{}
	var failed []error
	for _, w := range watches {
		for _, s := range w.Segments {
			if err := errors.Join(s.ordered(), timeline.add(s)); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", w.Name, err))
			}
		}
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	first := watches[0].Segments[0]
	for _, w := range watches {
		if w.Reached() < final.Revision {
			failed = append(failed, fmt.Errorf("%s ended at revision %d before the last list at %d", w.Name, w.Reached(), final.Revision))
		}
		if s := w.Segments[0]; s.Revision < first.Revision {
			first = s
		}
	}
	revisions := slices.Sorted(maps.Keys(timeline))
	for _, w := range watches {
		for _, s := range w.Segments {
			if err := s.complete(timeline, revisions); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", w.Name, err))
			}
			if err := timeline.agrees(first, revisions, *s); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", w.Name, err))
			}
		}
	}
	if err := timeline.agrees(first, revisions, final); err != nil {
		failed = append(failed, fmt.Errorf("at the end: %w", err))
	}
	return errors.Join(append(failed, timeline.matches(first.Revision, ops))...)
}

// ordered tells whether revisions rise and each event fits to what is known of its object: an addition of what was there
// is a repeat, a modification of what was not is a gap.
func (s *Segment) ordered() error {
	there := map[string]bool{}
	for name := range s.Items {
		there[name] = true
	}
	last := s.Revision
	for _, e := range s.Events {
		if e.Type == Bookmark {
			if e.Revision < last {
				return fmt.Errorf("a bookmark of %s went back from revision %d to %d", e.At, last, e.Revision)
			}
			last = e.Revision
			continue
		}
		if e.Revision <= last {
			return fmt.Errorf("%s sent %s of %s at revision %d after %d", e.At, e.Type, e.Name, e.Revision, last)
		}
		if there[e.Name] != (e.Type != Added) {
			return fmt.Errorf("%s sent %s of %s at revision %d: it does not fit to what came before", e.At, e.Type, e.Name, e.Revision)
		}
		there[e.Name] = e.Type != Deleted
		last = e.Revision
	}
	return nil
}

// add enters a segment's events; watches that were told different things disagree.
func (t Timeline) add(s *Segment) error {
	for _, e := range s.Events {
		if e.Type == Bookmark {
			continue
		}
		known, ok := t[e.Revision]
		if ok && (known.Type != e.Type || known.Name != e.Name || known.Value != e.Value) {
			return fmt.Errorf("revision %d is %s of %s with %q at %s, and %s of %s with %q at %s", e.Revision,
				known.Type, known.Name, known.Value, known.At, e.Type, e.Name, e.Value, e.At)
		}
		t[e.Revision] = e
	}
	return nil
}

// complete tells whether the segment has every change of its time.
func (s *Segment) complete(t Timeline, revisions []int64) error {
	have := map[int64]bool{}
	for _, e := range s.Events {
		have[e.Revision] = have[e.Revision] || e.Type != Bookmark
	}
	for _, r := range revisions {
		if r > s.Revision && r <= s.last() && !have[r] {
			e := t[r]
			return fmt.Errorf("it missed %s of %s with %q at revision %d, which %s sent to another", e.Type, e.Name, e.Value, r, e.At)
		}
	}
	return nil
}

// agrees tells whether a list is what the changes have made of an earlier one.
func (t Timeline) agrees(first *Segment, revisions []int64, list Segment) error {
	state := maps.Clone(first.Items)
	if state == nil {
		state = map[string]Item{}
	}
	for _, r := range revisions {
		if r <= first.Revision {
			continue
		}
		if r > list.Revision {
			break
		}
		e := t[r]
		if e.Type == Deleted {
			delete(state, e.Name)
			continue
		}
		state[e.Name] = Item{e.Value, r}
	}
	for name, want := range state {
		if have, ok := list.Items[name]; !ok || have != want {
			return fmt.Errorf("the list at revision %d has %+v for %s, the changes before it made %+v", list.Revision, have, name, want)
		}
	}
	for name, have := range list.Items {
		if _, ok := state[name]; !ok {
			return fmt.Errorf("the list at revision %d has %+v for %s, which the changes before it do not", list.Revision, have, name)
		}
	}
	return nil
}

// matches compares the changes with what writers were told: what was acknowledged has happened, at the revision that was
// told; what was refused has not; nothing happened twice, or without a writer.
func (t Timeline) matches(from int64, ops []Op) error {
	writer := map[string]Op{}
	deletions := map[string][3]int{} // acknowledged, unknown, seen
	var failed []error
	for _, o := range ops {
		if o.Kind == Create || o.Kind == Update {
			writer[o.Value] = o
		}
		if e, ok := t[o.Revision]; o.writes() && o.Revision > from && (!ok || e.Name != o.Name || e.Value != o.Value) {
			failed = append(failed, fmt.Errorf("no watch saw what was acknowledged: %s", o))
		}
		if o.Kind == Delete {
			n := deletions[o.Name]
			if o.Outcome == Done {
				n[0]++
			} else if o.Outcome == Unknown {
				n[1]++
			}
			deletions[o.Name] = n
		}
	}
	seen := map[string]int64{}
	for r, e := range t {
		if e.Type == Deleted {
			n := deletions[e.Name]
			n[2]++
			deletions[e.Name] = n
			continue
		}
		o, ok := writer[e.Value]
		switch {
		case !ok || o.Name != e.Name:
			failed = append(failed, fmt.Errorf("a watch saw %s of %s with %q at revision %d, which nobody wrote", e.Type, e.Name, e.Value, r))
		case o.Outcome != Done && o.Outcome != Unknown:
			failed = append(failed, fmt.Errorf("a watch saw at revision %d what was refused: %s", r, o))
		case seen[e.Value] != 0:
			failed = append(failed, fmt.Errorf("at revisions %d and %d the same write happened: %s", seen[e.Value], r, o))
		}
		seen[e.Value] = r
	}
	for name, n := range deletions {
		if n[2] < n[0] || n[2] > n[0]+n[1] {
			failed = append(failed, fmt.Errorf("%s was deleted %d times: %d deletions were acknowledged, %d had no answer", name, n[2], n[0], n[1]))
		}
	}
	return errors.Join(failed...)
}
