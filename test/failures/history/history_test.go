package history

import (
	"strings"
	"testing"
	"time"
)

const patience = 10 * time.Second

// op makes an operation from one moment to another.
func op(call, end int, kind Kind, name, value string, expect int64, outcome Outcome, revision int64) Op {
	return Op{Name: name, Kind: kind, Value: value, Expect: expect, Outcome: outcome, Revision: revision, Call: time.Duration(call), Return: time.Duration(end)}
}

// TestCheckObjects judges short histories; those that break a promise must be found.
func TestCheckObjects(t *testing.T) {
	for _, c := range []struct {
		name, want string
		ops        []Op
	}{
		{"one after the other", "", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Get, "a", "v1", 0, Done, 10),
			op(5, 6, Update, "a", "v2", 10, Done, 12),
			op(7, 8, Update, "a", "v3", 10, Conflict, 0),
			op(9, 10, Delete, "a", "", 12, Done, 0),
			op(11, 12, Get, "a", "", 0, Absent, 0),
			op(13, 14, Delete, "a", "", 0, Absent, 0),
			op(15, 16, Create, "a", "v4", 0, Done, 20),
			op(17, 18, Create, "a", "v5", 0, Exists, 0),
		}},
		{"concurrent read of either value", "", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 9, Update, "a", "v2", 10, Done, 12),
			op(4, 5, Get, "a", "v1", 0, Done, 10),
			op(6, 7, Get, "a", "v2", 0, Done, 12),
		}},
		{"stale read", "a is not linearizable", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Update, "a", "v2", 10, Done, 12),
			op(5, 6, Get, "a", "v1", 0, Done, 10),
		}},
		{"read goes back while a write is under way", "a is not linearizable", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 9, Update, "a", "v2", 10, Done, 12),
			op(4, 5, Get, "a", "v2", 0, Done, 12),
			op(6, 7, Get, "a", "v1", 0, Done, 10),
		}},
		{"lost write", "a is not linearizable", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Get, "a", "", 0, Absent, 0),
		}},
		{"two winners of one race", "a is not linearizable", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 6, Update, "a", "v2", 10, Done, 12),
			op(4, 7, Update, "a", "v3", 10, Done, 13),
		}},
		{"two creations", "a is not linearizable", []Op{
			op(1, 5, Create, "a", "v1", 0, Done, 10),
			op(2, 6, Create, "a", "v2", 0, Done, 12),
		}},
		{"deleted object comes back", "a is not linearizable", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Delete, "a", "", 0, Done, 0),
			op(5, 6, Get, "a", "v1", 0, Done, 10),
		}},
		{"refused without a reason", "a is not linearizable", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Update, "a", "v2", 10, Conflict, 0),
		}},
		{"unknown write that happened late", "", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Update, "a", "v2", 0, Unknown, 0),
			op(5, 6, Get, "a", "v1", 0, Done, 10),
			op(7, 8, Get, "a", "v2", 0, Done, 15),
			op(9, 10, Update, "a", "v3", 15, Done, 17),
		}},
		{"unknown write that never happened", "", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Delete, "a", "", 10, Unknown, 0),
			op(5, 6, Get, "a", "v1", 0, Done, 10),
		}},
		{"unknown write that happened and was undone", "a is not linearizable", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Update, "a", "v2", 10, Unknown, 0),
			op(5, 6, Get, "a", "v2", 0, Done, 15),
			op(7, 8, Get, "a", "v1", 0, Done, 10),
		}},
		{"unknown write that happened before it was asked for", "a is not linearizable", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Get, "a", "v2", 0, Done, 15),
			op(5, 6, Update, "a", "v2", 10, Unknown, 0),
		}},
		{"one revision for two values", "a is not linearizable", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Update, "a", "v2", 0, Unknown, 0),
			op(5, 6, Get, "a", "v2", 0, Done, 10),
		}},
		{"revisions of two objects go back", "revisions went back", []Op{
			op(1, 2, Create, "a", "v1", 0, Done, 10),
			op(3, 4, Create, "b", "v2", 0, Done, 9),
		}},
	} {
		t.Run(c.name, func(t *testing.T) { judge(t, CheckObjects(c.ops, patience), c.want) })
	}
}

func judge(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("nothing was wrong: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%q was not found: %v", want, err)
	}
}

// TestCheckWatches breaks one promise after the other in what was good.
func TestCheckWatches(t *testing.T) {
	type experience struct {
		a, b  *Segment
		ops   []Op
		final Segment
	}
	good := func() experience {
		events := []Event{
			{Added, "x", "v1", 11, "m1"}, {Added, "y", "v2", 12, "m1"}, {Type: Bookmark, Revision: 12},
			{Modified, "x", "v3", 14, "m1"}, {Deleted, "y", "", 15, "m2"}, {Deleted, "old", "", 16, "m2"}, {Type: Bookmark, Revision: 20},
		}
		return experience{
			a: &Segment{Revision: 10, Items: map[string]Item{"old": {"v0", 5}}, Events: events},
			b: &Segment{Revision: 12, Items: map[string]Item{"old": {"v0", 5}, "x": {"v1", 11}, "y": {"v2", 12}}, Events: append([]Event(nil), events[3:]...)},
			ops: []Op{
				op(1, 2, Create, "x", "v1", 0, Done, 11), op(3, 4, Create, "y", "v2", 0, Done, 12),
				op(5, 6, Update, "x", "v3", 0, Unknown, 0), op(7, 8, Delete, "y", "", 0, Done, 0), op(7, 8, Delete, "old", "", 0, Unknown, 0),
				op(9, 10, Update, "x", "v9", 11, Conflict, 0),
			},
			final: Segment{Revision: 18, Items: map[string]Item{"x": {"v3", 14}}},
		}
	}
	for _, c := range []struct {
		name, want string
		change     func(e *experience)
	}{
		{"good", "", func(*experience) {}},
		{"order", "after 12", func(e *experience) { e.a.Events[3].Revision = 12 }},
		{"bookmark goes back", "a bookmark of  went back", func(e *experience) { e.b.Events[3].Revision = 13 }},
		{"bookmark too high", "after 14", func(e *experience) { e.a.Events[2].Revision = 14 }},
		{"repeat", "does not fit", func(e *experience) { e.a.Events[3].Type = Added }},
		{"gap", "it missed MODIFIED of x", func(e *experience) { e.b.Events = e.b.Events[1:] }},
		{"gap of a whole life", "does not fit", func(e *experience) { e.a.Events = append(e.a.Events[:1:1], e.a.Events[3:]...) }},
		{"two truths", "revision 14 is", func(e *experience) { e.b.Events[0].Value = "v1" }},
		{"ended early", "ended at revision 16", func(e *experience) { e.b.Events = e.b.Events[:3] }},
		{"list differs", "the list at revision 12", func(e *experience) { e.b.Items["x"] = Item{"v0", 11} }},
		{"final list lacks an object", "at the end: the list at revision 18", func(e *experience) { delete(e.final.Items, "x") }},
		{"final list has too much", "at the end: the list at revision 18", func(e *experience) { e.final.Items["y"] = Item{"v2", 12} }},
		{"acknowledged and lost", "no watch saw what was acknowledged", func(e *experience) { e.ops = append(e.ops, op(11, 12, Create, "z", "v7", 0, Done, 17)) }},
		{"told another revision", "no watch saw what was acknowledged", func(e *experience) { e.ops[0].Revision = 13 }},
		{"refused and done", "what was refused", func(e *experience) { e.ops[2].Outcome = Conflict }},
		{"by nobody", "which nobody wrote", func(e *experience) { e.ops = e.ops[1:] }},
		{"twice", "the same write happened", func(e *experience) {
			twice := Event{Modified, "x", "v3", 17, "m1"}
			e.a.Events = append(e.a.Events[:6:6], twice, e.a.Events[6])
			e.b.Events = append(e.b.Events[:3:3], twice, e.b.Events[3])
			e.final.Items["x"] = Item{"v3", 17}
		}},
		{"deletion that nobody asked for", "y was deleted 1 times", func(e *experience) { e.ops[3].Outcome = Absent }},
		{"deletion that did not happen", "y was deleted 1 times: 2", func(e *experience) { e.ops = append(e.ops, op(20, 21, Delete, "y", "", 0, Done, 0)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := good()
			c.change(&e)
			watches := []*Watch{{Name: "a", Segments: []*Segment{e.a}}, {Name: "b", Segments: []*Segment{e.b}}}
			judge(t, CheckWatches(watches, e.ops, e.final), c.want)
		})
	}
}
