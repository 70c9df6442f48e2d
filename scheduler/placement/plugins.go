package placement

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// plugins are upstream's default ones, in its order, with its names and the weights of their scores. The first that refuses a
// node gives the verdict on it. What runs after the decision is in package scheduler (steps.go).
var plugins = []listed{
	{"NodeUnschedulable", 0, &nodeUnschedulable},
	{"NodeName", 0, &nodeName},
	{"TaintToleration", 3, &taintToleration},
	{"NodeAffinity", 2, &nodeAffinity},
	{"NodePorts", 0, &nodePorts},
	{"NodeResourcesFit", 1, &nodeResourcesFit},
	{"VolumeBinding", 0, &volumeBinding},
	{"PodTopologySpread", 2, &podTopologySpread},
	{"InterPodAffinity", 2, &interPodAffinity},
	{"DynamicResources", 0, &dynamicResources},
	{"NodeResourcesBalancedAllocation", 1, &nodeResourcesBalancedAllocation},
	{"ImageLocality", 1, &imageLocality},
}

// listed is a plugin in the list.
type listed struct {
	name   string
	weight int64
	*plugin
}

// plugin is all that placement knows of one of upstream's plugins, in one file. A field that has no use for it is nil.
//
// Most plugins look at the pod and one node alone. They say in keyPart what they read of the pod, and are prepared from these bytes
// and nothing else: pods whose parts are equal get equal answers, because a plugin has nothing by which to tell them apart. That
// is what a class rests on (class.go). Plugins that look at other pods do so through read and among, outside of the classes.
type plugin struct {
	// reads is what the plugin looks at of nodes. If something else of a node changes, its answers stay.
	reads Events
	// refusals are its verdicts, in upstream's words; filters return them by number.
	refusals []Verdict

	// keyPart appends what the plugin reads of a pod; the less, the more pods share a class. It runs for every pod.
	keyPart func(c *Cluster, b []byte, pod *corev1.Pod, d *demand) []byte
	// prepare makes the checks for all pods that have the part. It runs for every new class.
	prepare func(s *setup) prepared

	// preFilter refuses a pod whatever the nodes are, in upstream's words; empty if it does not.
	preFilter func(pod *corev1.Pod) string
	// read takes note of the pod's rules about other pods, and tells whether they can refuse a node.
	read func(p *PendingPod) (hard bool)
	// among takes stock of the pods on nodes. It runs for every decision, and gives nothing for a pod that no rule concerns.
	among func(s stock) among
}

// setup is what a plugin is prepared from.
type setup struct {
	cluster *Cluster
	keyPart keyPart
	// refusal is the number of the plugin's first refusal.
	refusal uint16
}

// prepared are the checks of one plugin for the pods of one class.
type prepared struct {
	// filter gives the verdict on a node, fits or one of the plugin's refusals.
	filter func(n *node) uint16
	// score is 0 to scoreMax, and depends on the node alone.
	score func(n *node) int64
	// wide: the score of a node depends on what other nodes are, too. When that changes, the plugin calls classes.forgetWide.
	wide bool
	// scaled is a score that depends on the other feasible nodes, too.
	scaled scaled
	// names are the only nodes that can pass, if named is set; the others get the verdict unnamed.
	names   []string
	named   bool
	unnamed uint16
}

// scaled is a score that upstream normalises by its extremes among the feasible nodes of a pod. See class.go.
type scaled struct {
	// level is what the score makes of the node before that.
	level func(n *node) levelPart
	// scale adds the score times weight to each level, given those that occur; the plugin's part of them is at.
	scale func(of []occurrence, at int, weight int64)
}

// stock is what a plugin is given to take stock of the pods on nodes.
type stock struct {
	cluster *Cluster
	pod     *PendingPod
	// trial has other pods on its node than the cluster; nil for a decision.
	trial *Trial
	// refusal is the number of the plugin's first refusal.
	refusal uint16
}

// among is what the pods on nodes mean for one pod at one moment.
type among struct {
	// filter judges a node that passes the filters of the pod's class.
	filter func(n *node) uint16
	// score adds the score times weight to each candidate.
	score func(candidates []candidate, weight int64)
}

// checks are what all plugins have to say on the pods of one class.
type checks struct {
	key     string
	filters []func(n *node) uint16
	scores  []weighted
	scaled  []weightedScaled
	wide    bool
	names   []string
	named   bool
	unnamed uint16
}

type weighted struct {
	score  func(n *node) int64
	weight int64
}

type weightedScaled struct {
	scaled
	weight int64
}

// appendKey appends the parts of all plugins. Each has the plugin's number and its length before it, so that no two lists of
// parts look alike; empty ones are left out.
func (c *Cluster) appendKey(b []byte, pod *corev1.Pod, d *demand) []byte {
	for i := range plugins {
		if plugins[i].keyPart == nil {
			continue
		}
		start := len(b)
		b = append(b, byte(i), 0, 0, 0, 0)
		b = plugins[i].keyPart(c, b, pod, d)
		if size := len(b) - start - partHeader; size > 0 {
			putSize(b[start+1:], size)
		} else {
			b = b[:start]
		}
	}
	return b
}

// prepare makes the checks for a key: each plugin is given its own part.
func (c *Cluster) prepare(key string) *checks {
	k := &checks{key: key}
	rest := keyPart(key)
	for i := range plugins {
		p := &plugins[i]
		own := rest.cut(byte(i))
		if p.prepare == nil {
			continue
		}
		made := p.prepare(&setup{cluster: c, keyPart: own, refusal: c.refusals[i]})
		if made.filter != nil {
			k.filters = append(k.filters, made.filter)
		}
		if made.score != nil {
			k.scores = append(k.scores, weighted{made.score, p.weight})
		}
		k.wide = k.wide || made.wide
		if made.scaled.level != nil {
			k.scaled = append(k.scaled, weightedScaled{made.scaled, p.weight})
		}
		switch {
		case made.named && k.named:
			k.names = slices.DeleteFunc(k.names, func(name string) bool { return !slices.Contains(made.names, name) })
		case made.named:
			k.names, k.named, k.unnamed = made.names, true, made.unnamed
		}
	}
	return k
}

// judge is the verdict of the first filter that refuses the node, or fits.
func (k *checks) judge(n *node) uint16 {
	if n.object == nil {
		return absent
	}
	for _, filter := range k.filters {
		if verdict := filter(n); verdict != fits {
			return verdict
		}
	}
	return fits
}

// score is the weighted sum of the scores that depend on the node alone.
func (k *checks) score(n *node) int32 {
	var sum int64
	for i := range k.scores {
		sum += k.scores[i].weight * k.scores[i].score(n)
	}
	return int32(sum)
}

// level is what the node has in the scaled scores.
func (k *checks) level(n *node) level {
	var l level
	for i := range k.scaled {
		l[i] = k.scaled[i].level(n)
	}
	return l
}

// scale gives each level that occurs the weighted sum of its scaled scores.
func (k *checks) scale(of []occurrence) {
	for i := range k.scaled {
		k.scaled[i].scale(of, i, k.scaled[i].weight)
	}
}
