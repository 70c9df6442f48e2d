package placement

import (
	corev1 "k8s.io/api/core/v1"
)

// PendingPod is a pod that looks for a node.
type PendingPod struct {
	pod    *corev1.Pod
	demand *demand
	key    string
	// checks of the pod's class, made when they are needed first.
	checks *checks
	// spread and affinity are the pod's rules about other pods; nil for nearly all.
	spread   *spreadRules
	affinity *affinityRules
	// hard: these rules can refuse a node.
	hard bool
	// refused is why no node can take the pod whatever it looks like, empty for nearly all.
	refused string
	// repelled: at the last attempt, pods on nodes kept this one away by their anti-affinity.
	repelled bool
}

// Pending reads a pod that looks for a node.
func (c *Cluster) Pending(pod *corev1.Pod) *PendingPod {
	p := &PendingPod{pod: pod, demand: c.demands.of(pod)}
	c.keyRoom = c.appendKey(c.keyRoom[:0], pod, p.demand)
	if k, ok := c.classes.byKey[string(c.keyRoom)]; ok {
		p.checks, p.key = k.checks, k.checks.key
	} else {
		p.key = string(c.keyRoom)
	}
	for i := range plugins {
		if plugins[i].read != nil {
			p.hard = plugins[i].read(p) || p.hard
		}
		if plugins[i].preFilter != nil && p.refused == "" {
			p.refused = plugins[i].preFilter(pod)
		}
	}
	return p
}

// Pod is the pod itself.
func (p *PendingPod) Pod() *corev1.Pod { return p.pod }

// Key is equal for pods of one class, which every node treats alike: what refuses one refuses the other.
func (p *PendingPod) Key() string { return p.key }

// DependsOnOthers tells that more than its Key decides whether the pod finds a node: other pods, by its rules or by theirs.
func (p *PendingPod) DependsOnOthers() bool {
	return p.hard || p.repelled || p.refused != ""
}

// Remember takes over what the last attempt found out about the same pod.
func (p *PendingPod) Remember(last *PendingPod) { p.repelled = last.repelled }

// classChecks are the plugins' checks for the pod's class.
func (c *Cluster) classChecks(p *PendingPod) *checks {
	if p.checks == nil {
		p.checks = c.checksOf(p.key)
	}
	return p.checks
}

// Judge is what the plugins that look at the node alone say of it for a pod of p's class; ok if they let the pod pass.
func (c *Cluster) Judge(p *PendingPod, nodeName string) (v Verdict, ok bool) {
	n, known := c.byName[nodeName]
	if !known {
		return c.verdicts.all[absent], false
	}
	verdict := c.classChecks(p).judge(n)
	return c.verdicts.all[verdict], verdict == fits
}
