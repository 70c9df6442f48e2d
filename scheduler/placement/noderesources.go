package placement

import (
	"math"

	corev1 "k8s.io/api/core/v1"
)

// nodeResourcesFit keeps pods from nodes that have too little left for what they request, and prefers nodes of which a larger
// share of cpu and memory is free.
var nodeResourcesFit = plugin{
	reads: NodeAllocatable,
	refusals: []Verdict{
		{Reasons: []string{"Insufficient resources"}, HelpedBy: PodDeparted | NodeAllocatable},
	},
	keyPart: func(_ *Cluster, b []byte, _ *corev1.Pod, d *demand) []byte { return append(b, d.resourcesKey()...) },
	prepare: func(s *setup) prepared {
		f := &fit{demand: readResources(s.keyPart), verdicts: &s.cluster.verdicts, short: s.refusal, lacks: map[uint64]uint16{}}
		return prepared{filter: f.filter, score: f.leastAllocated}
	},
}

// nodeResourcesBalancedAllocation prefers nodes on which the pod brings the used shares of cpu and memory closer to each other.
var nodeResourcesBalancedAllocation = plugin{
	reads: NodeAllocatable,
	keyPart: func(_ *Cluster, b []byte, _ *corev1.Pod, d *demand) []byte {
		if d.milliCPU == 0 && d.memory == 0 {
			return b // a pod that requests neither changes neither
		}
		return appendInt(appendInt(b, d.milliCPU), d.memory)
	},
	prepare: func(s *setup) prepared {
		if !s.keyPart.more() {
			return prepared{}
		}
		milliCPU, memory := s.keyPart.int(), s.keyPart.int()
		return prepared{score: func(n *node) int64 {
			u := &n.used
			with := balance(u.milliCPU+milliCPU, n.milliCPU, u.memory+memory, n.memory)
			without := balance(u.milliCPU, n.milliCPU, u.memory, n.memory)
			return scoreMax/2 + (scoreMax/2+with-without)/2
		}}
	},
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

// fit compares one demand with nodes.
type fit struct {
	demand
	verdicts *verdicts
	// lacks are the verdicts by the set of what is short; short is the one if there is no room for more.
	lacks map[uint64]uint16
	short uint16
}

// What is short, as bits. Scalars follow from shortScalar on, in the demand's order.
const (
	shortPods = 1 << iota
	shortCPU
	shortMemory
	shortEphemeral
	shortScalar
	// never: even the empty node is too small.
	never = 1 << 63
	// scalarsTold is how many scalars of a demand are told apart in the message.
	scalarsTold = 51
)

func (f *fit) filter(n *node) uint16 {
	u := &n.used
	var lack uint64
	if int64(len(n.pods)) >= n.podsMax {
		lack |= shortPods
	}
	if f.milliCPU > 0 && f.milliCPU > n.milliCPU-u.milliCPU {
		lack |= lacking(shortCPU, f.milliCPU > n.milliCPU)
	}
	if f.memory > 0 && f.memory > n.memory-u.memory {
		lack |= lacking(shortMemory, f.memory > n.memory)
	}
	if f.ephemeral > 0 && f.ephemeral > n.ephemeral-u.ephemeral {
		lack |= lacking(shortEphemeral, f.ephemeral > n.ephemeral)
	}
	for i, s := range f.scalars {
		// The last bit stands for all scalars past it, so that a long demand is still judged right, if told of less exactly.
		if has := n.scalars[s.name]; s.amount > has-u.scalars[s.name] {
			lack |= lacking(shortScalar<<min(i, scalarsTold-1), s.amount > has)
		}
	}
	if lack == 0 {
		return fits
	}
	// A verdict is made once for each set of what is short: most nodes of a full cluster lack the same.
	verdict, ok := f.lacks[lack]
	if !ok {
		verdict = f.verdicts.number(f.verdict(lack), f.short)
		f.lacks[lack] = verdict
	}
	return verdict
}

func lacking(bit uint64, hopeless bool) uint64 {
	if hopeless {
		return bit | never
	}
	return bit
}

func (f *fit) verdict(lack uint64) Verdict {
	v := f.verdicts.all[f.short]
	v.Reasons, v.Unresolvable = nil, lack&never != 0
	add := func(bit uint64, reason string) {
		if lack&bit != 0 {
			v.Reasons = append(v.Reasons, reason)
		}
	}
	add(shortPods, "Too many pods")
	add(shortCPU, "Insufficient cpu")
	add(shortMemory, "Insufficient memory")
	add(shortEphemeral, "Insufficient ephemeral-storage")
	for i, s := range f.scalars[:min(len(f.scalars), scalarsTold)] {
		add(shortScalar<<i, "Insufficient "+string(s.name))
	}
	return v
}

// leastAllocated: the larger the free share of cpu and memory, the better.
func (f *fit) leastAllocated(n *node) int64 {
	var sum, parts int64
	for _, r := range [2][2]int64{
		{n.used.scoredMilliCPU + f.scoredMilliCPU, n.milliCPU},
		{n.used.scoredMemory + f.scoredMemory, n.memory},
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
