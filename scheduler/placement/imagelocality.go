package placement

import (
	"iter"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Sizes of images between which the score grows; the upper one is for each image of the pod.
const (
	imageSizeMin    = 23 << 20
	imageSizePerMax = 1000 << 20
)

// imageLocality prefers nodes that have the pod's images, the more the larger and the more common these are.
var imageLocality = plugin{
	reads: NodeImages,
	// Images that no node has are left out: they change no score, and there are many.
	keyPart: func(c *Cluster, b []byte, pod *corev1.Pod, _ *demand) []byte {
		names, all := c.images.known(pod)
		if len(names) == 0 {
			return b
		}
		b = appendInt(b, int64(all)) // the same images among more others count for less
		for _, name := range names {
			b = appendText(b, name)
		}
		return b
	},
	prepare: func(s *setup) prepared {
		if !s.keyPart.more() {
			return prepared{}
		}
		c, most := s.cluster, imageSizePerMax*s.keyPart.int()
		var names []string
		for s.keyPart.more() {
			names = append(names, s.keyPart.text())
		}
		return prepared{wide: true, score: func(n *node) int64 {
			if c.count == 0 {
				return 0
			}
			sum := min(max(c.images.sum(names, n.slot, c.count), imageSizeMin), most)
			return scoreMax * (sum - imageSizeMin) / (most - imageSizeMin)
		}}
	},
}

// images knows which nodes have which container images.
type images struct {
	byName map[string]*image
}

type image struct {
	// size on each node that has it, by slot.
	size map[int32]int64
}

// nodeChanged takes over a node's list of images; a nil object has none.
func (t *images) nodeChanged(c *Cluster, slot int32, old, now *corev1.Node) {
	before, after := imagesOf(old), imagesOf(now)
	sameNodes := (old == nil) == (now == nil)
	if sameNodes && maps.Equal(before, after) {
		return
	}
	for name := range before {
		if i := t.byName[name]; i != nil {
			delete(i.size, slot)
			if len(i.size) == 0 {
				delete(t.byName, name)
			}
		}
	}
	for name, size := range after {
		i := t.byName[name]
		if i == nil {
			i = &image{size: map[int32]int64{}}
			t.byName[name] = i
		}
		i.size[slot] = size
	}
	c.classes.forgetWide()
}

// sum of the sizes of those images that the node has, each by the share of the nodes that have it.
func (t *images) sum(names []string, slot int32, nodes int) (sum int64) {
	for _, name := range names {
		if i := t.byName[name]; i != nil {
			if size, ok := i.size[slot]; ok {
				sum += int64(float64(size) * float64(len(i.size)) / float64(nodes))
			}
		}
	}
	return sum
}

func imagesOf(n *corev1.Node) map[string]int64 {
	if n == nil || len(n.Status.Images) == 0 {
		return nil
	}
	sizes := map[string]int64{}
	for _, i := range n.Status.Images {
		for _, name := range i.Names {
			sizes[name] = i.SizeBytes
		}
	}
	return sizes
}

// known are the images of the pod that some node has, sorted (one that is used twice counts twice), and the number of all its
// images, for which the best score grows; 0 if no node has any of them.
func (t *images) known(pod *corev1.Pod) (names []string, all int) {
	if len(t.byName) == 0 {
		return nil, 0
	}
	for reference := range imagesIn(&pod.Spec) {
		all++
		name := taggedImage(reference)
		if _, ok := t.byName[name]; ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, 0
	}
	slices.Sort(names)
	return names, all
}

// imagesIn yields the images that a node pulls for a pod: of init containers, containers and volumes.
func imagesIn(s *corev1.PodSpec) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range s.InitContainers {
			if !yield(s.InitContainers[i].Image) {
				return
			}
		}
		for i := range s.Containers {
			if !yield(s.Containers[i].Image) {
				return
			}
		}
		for i := range s.Volumes {
			if source := s.Volumes[i].Image; source != nil && !yield(source.Reference) {
				return
			}
		}
	}
}

// taggedImage adds the tag that an image name without one means.
func taggedImage(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
		return name + ":latest"
	}
	return name
}
