package placement

import (
	"maps"
	"slices"
)

// Trial is a copy of one node, on which pods are taken off and put on to see what it could take then. The cluster does not see it,
// and it does not see what changes in the cluster after it was made.
type Trial struct {
	cluster *Cluster
	node    node
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
func (t *Trial) Remove(p *Pod) { t.node.remove(p) }

// Add puts a pod back that was removed.
func (t *Trial) Add(p *Pod) { t.node.add(p) }

// Assume puts a pod on the node that has none yet.
func (t *Trial) Assume(p *PendingPod) *Pod {
	made := &Pod{Object: p.pod, demand: p.demand, node: &t.node, priority: priorityOf(p.pod)}
	t.node.add(made)
	return made
}

// Judge is what the plugins that look at the node alone say of it now; ok if they let the pod pass.
func (t *Trial) Judge(p *PendingPod) (v Verdict, ok bool) {
	verdict := t.cluster.classChecks(p).judge(&t.node)
	return t.cluster.verdicts.all[verdict], verdict == fits
}
