package placement

import "math"

// scoreMax is the best score of one plugin.
const scoreMax = 100

// Weights of the scores, as in upstream's default profile.
const (
	weightTaints      = 3
	weightAffinity    = 2
	weightSpread      = 2
	weightPodAffinity = 2
	weightFit         = 1
	weightBalanced    = 1
	weightImages      = 1
	imageSizeMin      = 23 << 20
	imageSizePerMax   = 1000 << 20
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
