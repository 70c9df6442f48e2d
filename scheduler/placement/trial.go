package placement

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Trial is a copy of one node, on which pods are taken off and put on to see what it could take then. The cluster does not see it,
// and it does not see what changes in the cluster after it was made.
type Trial struct {
	cluster *Cluster
	node    node
	changes []trialChange
}

// Try makes a trial of a node; nil if there is no such node. It costs microseconds: what a node keeps is small.
func (c *Cluster) Try(nodeName string) *Trial {
	n, ok := c.byName[nodeName]
	if !ok || n.object == nil {
		return nil
	}
	t := &Trial{cluster: c, node: *n}
	t.node.pods, t.node.ports = slices.Clone(n.pods), slices.Clone(n.ports)
	t.node.used.scalars = maps.Clone(n.used.scalars)
	return t
}

// Pods are those on the node now, the highest priority first. The slice is good until the next change of the trial.
func (t *Trial) Pods() []*Pod { return t.node.pods }

// Remove takes a pod of the trial off the node.
func (t *Trial) Remove(p *Pod) {
	t.node.remove(p)
	t.changed(p, -1)
}

// Add puts a pod back that was removed.
func (t *Trial) Add(p *Pod) {
	t.node.add(p)
	t.changed(p, 1)
}

// Assume puts a pod on the node that has none yet.
func (t *Trial) Assume(p *PendingPod) *Pod {
	made := &Pod{Object: p.pod, demand: p.demand, node: &t.node, priority: priorityOf(p.pod)}
	t.Add(made)
	return made
}

// trialChange is a pod that the trial has and the cluster has not (by is 1), or the other way round (-1).
type trialChange struct {
	pod *Pod
	by  int64
}

func (t *Trial) changed(p *Pod, by int64) {
	if at := slices.IndexFunc(t.changes, func(c trialChange) bool { return c.pod == p }); at >= 0 {
		t.changes = slices.Delete(t.changes, at, at+1) // it is back where it was
		return
	}
	t.changes = append(t.changes, trialChange{p, by})
}

// Judge is what the plugins say of the node for the pod now; ok if they let it pass.
func (t *Trial) Judge(p *PendingPod) (v Verdict, ok bool) {
	c := t.cluster
	verdict := c.classChecks(p).judge(&t.node)
	if verdict == fits {
		repelled := p.repelled
		for _, r := range c.amongOthers(p, t) {
			if r.filter != nil && verdict == fits {
				verdict = r.filter(&t.node)
			}
		}
		p.repelled = repelled
	}
	return c.verdicts.all[verdict], verdict == fits
}

// selected is how many more pods the trial has on its node, of those that all selectors select, than the cluster.
func (t *Trial) selected(selectors ...*podSelector) (more int64) {
	if t == nil {
		return 0
	}
	for _, change := range t.changes {
		if (&counter{selectors: selectors}).matches(t.cluster.namespaces, change.pod.Object) {
			more += change.by
		}
	}
	return more
}

// repelling adds to the numbers of pods that repel a pod what the trial has more of them on its node.
func (t *Trial) repelling(l *topologyNumbers, pod *corev1.Pod) {
	if t == nil {
		return
	}
	for _, change := range t.changes {
		for _, affinityTerm := range requiredAntiAffinity(change.pod.Object) {
			made := newAffinityTerm(&affinityTerm, change.pod.Object.Namespace)
			if !made.matches(t.cluster.namespaces, pod) {
				continue
			}
			domains := t.cluster.topologies[made.topologyKey]
			if domains == nil { // no pod of the cluster has such an affinity term
				domains = t.cluster.divide(made.topologyKey)
			}
			l.at(&t.cluster.numbers, domains).add(&t.node, change.by)
		}
	}
}
