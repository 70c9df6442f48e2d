package placement

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Explanation is why no node can take a pod.
type Explanation struct {
	// Nodes that there are.
	Nodes int
	// Refused is why all nodes refuse for the same reason, which lies in the pod.
	Refused string
	// Refusals in no particular order; empty if Refused is set.
	Refusals []Refusal
	// NoPreemption: the pod's policy forbids it to push others away.
	NoPreemption bool
}

// Refusal is a verdict and the number of nodes that it is the verdict on.
type Refusal struct {
	Verdict Verdict
	Nodes   int
}

func (c *Cluster) explain(p *PendingPod, counts []int32) *Explanation {
	e := &Explanation{Nodes: c.count, Refused: p.refused}
	policy := p.pod.Spec.PreemptionPolicy
	e.NoPreemption = policy != nil && *policy == corev1.PreemptNever
	for id, nodes := range counts {
		if nodes > 0 && uint16(id) != absent && uint16(id) != fits {
			e.Refusals = append(e.Refusals, Refusal{c.verdicts.all[id], int(nodes)})
		}
	}
	return e
}

// String is the message of conditions and events, in upstream's words.
func (e *Explanation) String() string {
	if e.Nodes == 0 {
		return "no nodes available to schedule pods"
	}
	available := fmt.Sprintf("0/%d nodes are available:", e.Nodes)
	reasons, hopeless := map[string]int{}, 0
	for _, r := range e.Refusals {
		for _, reason := range r.Verdict.Reasons {
			reasons[reason] += r.Nodes
		}
		if r.Verdict.Unresolvable {
			hopeless += r.Nodes
		}
	}
	message := available
	if e.Refused != "" {
		message += " " + e.Refused + "."
		hopeless = e.Nodes
	} else {
		message += " " + histogram(reasons) + "."
	}
	message += " no new claims to deallocate, preemption: "
	if e.NoPreemption {
		return message + "not eligible due to preemptionPolicy=Never."
	}
	after := map[string]int{}
	if hopeless > 0 {
		after["Preemption is not helpful for scheduling"] = hopeless
	}
	if hopeless < e.Nodes {
		after["No preemption victims found for incoming pod"] = e.Nodes - hopeless
	}
	return message + available + " " + histogram(after) + "."
}

// histogram joins counted reasons, sorted as text.
func histogram(reasons map[string]int) string {
	parts := make([]string, 0, len(reasons))
	for reason, nodes := range reasons {
		parts = append(parts, fmt.Sprintf("%d %s", nodes, reason))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// HelpedBy are the events of which one must happen before a node may take the pod.
func (e *Explanation) HelpedBy() Events {
	if e.Refused != "" {
		return 0
	}
	events := NodeAdded
	for i := range e.Refusals {
		events |= e.Refusals[i].Verdict.HelpedBy
	}
	return events
}

// Plugins names the plugins that refused, sorted.
func (e *Explanation) Plugins() []string {
	var names []string
	for _, r := range e.Refusals {
		names = append(names, r.Verdict.Plugin)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
