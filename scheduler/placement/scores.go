package placement

import "math"

// scoreMax is the best score of one plugin.
const scoreMax = 100

// Weights of the scores, as in upstream's default profile.
const (
	weightTaints    = 3
	weightAffinity  = 2
	weightFit       = 1
	weightBalanced  = 1
	weightImages    = 1
	imageSizeMin    = 23 << 20
	imageSizePerMax = 1000 << 20
)

// localScores depend on the node alone, so a class orders its nodes by their weighted sum.
var localScores = []struct {
	name   string
	weight int64
	score  func(c *Cluster, s *shape, n *node) int64
}{
	{"NodeResourcesFit", weightFit, leastAllocated},
	{"NodeResourcesBalancedAllocation", weightBalanced, balancedAllocation},
	{"ImageLocality", weightImages, imageLocality},
}

// level is what a node has in the two scores that upstream normalises by the largest value among feasible nodes.
// A class keeps one heap for each level, so that a new largest value changes no heap.
type level struct {
	// taints: PreferNoSchedule taints that the pod does not tolerate.
	taints int32
	// affinity: the weights of the preferred terms that the node matches.
	affinity int32
}

func (c *Cluster) levelOf(s *shape, n *node) level {
	var l level
	for i := range n.unloved {
		if !s.tolerates(&n.unloved[i]) {
			l.taints++
		}
	}
	if s.preferred != nil {
		l.affinity = int32(s.preferred.Score(n.object))
	}
	return l
}

// normalized is the weighted sum of the normalised scores of a level, given the largest values among feasible nodes.
func (l level) normalized(largest level, prefers bool) int64 {
	taints, affinity := int64(scoreMax), int64(0)
	if largest.taints > 0 {
		taints = scoreMax - scoreMax*int64(l.taints)/int64(largest.taints)
	}
	if prefers && largest.affinity > 0 {
		affinity = scoreMax * int64(l.affinity) / int64(largest.affinity)
	}
	return weightTaints*taints + weightAffinity*affinity
}

func (l level) max(o level) level {
	return level{max(l.taints, o.taints), max(l.affinity, o.affinity)}
}

func (c *Cluster) localScore(s *shape, n *node) int32 {
	var sum int64
	for i := range localScores {
		sum += localScores[i].weight * localScores[i].score(c, s, n)
	}
	return int32(sum)
}

// leastAllocated: the larger the free share of cpu and memory, the better.
func leastAllocated(_ *Cluster, s *shape, n *node) int64 {
	var sum, parts int64
	for _, r := range [2][2]int64{
		{n.used.scoredMilliCPU + s.demand.scoredMilliCPU, n.milliCPU},
		{n.used.scoredMemory + s.demand.scoredMemory, n.memory},
	} {
		requested, capacity := r[0], r[1]
		if capacity == 0 {
			continue
		}
		parts++
		if requested <= capacity {
			sum += (capacity - requested) * scoreMax / capacity
		}
	}
	if parts == 0 {
		return 0
	}
	return sum / parts
}

// balancedAllocation: better if the pod brings the used shares of cpu and memory closer to each other. A pod that
// requests neither changes neither.
func balancedAllocation(_ *Cluster, s *shape, n *node) int64 {
	d, u := s.demand, &n.used
	if d.milliCPU == 0 && d.memory == 0 {
		return 0
	}
	with := balance(u.milliCPU+d.milliCPU, n.milliCPU, u.memory+d.memory, n.memory)
	without := balance(u.milliCPU, n.milliCPU, u.memory, n.memory)
	return scoreMax/2 + (scoreMax/2+with-without)/2
}

// balance is 100 less the standard deviation of the two used shares, in percent.
func balance(milliCPU, milliCPUMax, memory, memoryMax int64) int64 {
	if milliCPUMax == 0 || memoryMax == 0 {
		return scoreMax
	}
	a := min(float64(milliCPU)/float64(milliCPUMax), 1)
	b := min(float64(memory)/float64(memoryMax), 1)
	return int64((1 - math.Abs(a-b)/2) * scoreMax)
}
