package placement

import "strings"

// Verdict is why a node cannot take a pod.
type Verdict struct {
	// Plugin that refused.
	Plugin string
	// Reasons in upstream's words.
	Reasons []string
	// Unresolvable: the node would refuse the pod even if it were empty, so that no preemption would help.
	Unresolvable bool
	// HelpedBy are the events after which the plugin may let the pod pass on a node that it refused. Without any of them it
	// never does. A node that is new may take any pod, so NodeAdded goes without saying.
	HelpedBy Events
}

// Verdicts of no plugin. A verdict's number is its index in verdicts.all; those of the plugins follow.
const (
	fits uint16 = iota
	// absent: the slot holds no node.
	absent
)

// verdicts gives each verdict a number.
type verdicts struct {
	all   []Verdict
	byKey map[string]uint16
}

// verdictsMax bounds the table; past it a new combination of missing resources is not told apart.
const verdictsMax = 1<<16 - 1

// number of a verdict, and otherwise if the table is full.
func (t *verdicts) number(v Verdict, otherwise uint16) uint16 {
	key := v.Plugin + "\n" + strings.Join(v.Reasons, "\n")
	if v.Unresolvable {
		key += "\n!"
	}
	if id, ok := t.byKey[key]; ok {
		return id
	}
	if len(t.all) == verdictsMax {
		return otherwise
	}
	id := uint16(len(t.all))
	t.all = append(t.all, v)
	t.byKey[key] = id
	return id
}

// learn numbers the refusals of all plugins, and returns the number of the first of each.
func (t *verdicts) learn() []uint16 {
	t.byKey = map[string]uint16{}
	t.all = append(t.all, Verdict{}, Verdict{Plugin: "none"})
	first := make([]uint16, len(plugins))
	for i := range plugins {
		first[i] = uint16(len(t.all))
		for _, v := range plugins[i].refusals {
			v.Plugin = plugins[i].name
			t.number(v, fits)
		}
	}
	return first
}
