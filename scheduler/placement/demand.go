package placement

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
)

// What a container that requests nothing counts for in scores, so that such pods spread too.
const (
	defaultMilliCPU = 100
	defaultMemory   = 200 << 20
)

// demandsMax bounds the table of shared demands. Past it the table starts anew: sharing saves memory, nothing relies on it.
const demandsMax = 10_000

var defaultRequests = corev1.ResourceList{
	corev1.ResourceCPU:    *resource.NewMilliQuantity(defaultMilliCPU, resource.DecimalSI),
	corev1.ResourceMemory: *resource.NewQuantity(defaultMemory, resource.BinarySI),
}

// scalar is an amount of a resource other than cpu, memory, ephemeral storage and pods.
type scalar struct {
	name   corev1.ResourceName
	amount int64
}

// demand is what a pod takes from its node. Pods that take the same share one demand, which nobody changes.
type demand struct {
	milliCPU, memory, ephemeral int64
	// scalars in order of name.
	scalars []scalar
	// For scores: requests with a default for each container that has none.
	scoredMilliCPU, scoredMemory int64
	ports                        []hostPort
	// key says all of this in bytes; up to resources it is about all but the ports.
	key       string
	resources int
}

// demands shares equal demands.
type demands struct {
	byKey map[string]*demand
	buf   []byte
}

// of computes what the pod takes: containers, init containers and sidecars, pod-level resources, overhead, and
// what a resize has allocated.
func (t *demands) of(pod *corev1.Pod) *demand {
	d := demand{}
	if s := &pod.Spec; len(s.InitContainers) == 0 && s.Resources == nil && s.Overhead == nil && !resized(pod) {
		d.sumContainers(s.Containers)
	} else {
		d.sumPod(pod)
	}
	d.ports = hostPorts(pod)
	slices.SortFunc(d.scalars, func(a, b scalar) int { return strings.Compare(string(a.name), string(b.name)) })
	return t.share(&d)
}

// sumContainers is the short way for the usual pod, of which there are many: it makes no maps.
func (d *demand) sumContainers(containers []corev1.Container) {
	var cpu, memory, ephemeral, scoredCPU, scoredMemory resource.Quantity
	for i := range containers {
		requests := containers[i].Resources.Requests
		add := func(name corev1.ResourceName, sum, scored *resource.Quantity) {
			q, ok := requests[name]
			if ok {
				sum.Add(q)
			} else {
				q = defaultRequests[name]
			}
			if scored != nil {
				scored.Add(q)
			}
		}
		add(corev1.ResourceCPU, &cpu, &scoredCPU)
		add(corev1.ResourceMemory, &memory, &scoredMemory)
		add(corev1.ResourceEphemeralStorage, &ephemeral, nil)
		for name, q := range requests {
			d.addScalar(name, q.Value())
		}
	}
	d.milliCPU, d.memory, d.ephemeral = cpu.MilliValue(), memory.Value(), ephemeral.Value()
	d.scoredMilliCPU, d.scoredMemory = scoredCPU.MilliValue(), scoredMemory.Value()
}

// addScalar adds to the demand's amount of a resource, if it is one that scalars hold.
func (d *demand) addScalar(name corev1.ResourceName, amount int64) {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourcePods:
		return
	}
	if amount == 0 {
		return
	}
	for i := range d.scalars {
		if d.scalars[i].name == name {
			d.scalars[i].amount += amount
			return
		}
	}
	d.scalars = append(d.scalars, scalar{name, amount})
}

// sumPod is the whole computation.
func (d *demand) sumPod(pod *corev1.Pod) {
	options := podresource.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
	requests := podresource.PodRequests(pod, options)
	scored := requests
	if missing := missingDefaults(pod, requests); len(missing) > 0 {
		options.NonMissingContainerRequests = missing
		scored = podresource.PodRequests(pod, options)
	}
	d.milliCPU, d.memory, d.ephemeral = requests.Cpu().MilliValue(), requests.Memory().Value(), requests.StorageEphemeral().Value()
	d.scoredMilliCPU, d.scoredMemory = scored.Cpu().MilliValue(), scored.Memory().Value()
	for name, quantity := range requests {
		d.addScalar(name, quantity.Value())
	}
}

func missingDefaults(pod *corev1.Pod, requests corev1.ResourceList) corev1.ResourceList {
	if !podresource.IsPodLevelRequestsSet(pod) {
		return defaultRequests
	}
	missing := corev1.ResourceList{}
	for name, quantity := range defaultRequests {
		if requests.Name(name, resource.DecimalSI).IsZero() {
			missing[name] = quantity
		}
	}
	return missing
}

func (t *demands) share(d *demand) *demand {
	b := appendResources(t.buf[:0], d)
	resources := len(b)
	for _, p := range d.ports {
		b = appendPort(b, p)
	}
	t.buf = b
	if known, ok := t.byKey[string(b)]; ok {
		return known
	}
	if t.byKey == nil || len(t.byKey) >= demandsMax {
		t.byKey = map[string]*demand{}
	}
	shared := *d
	shared.key, shared.resources = string(b), resources
	t.byKey[shared.key] = &shared
	return &shared
}

// resourcesKey and portsKey are the two halves of the key.
func (d *demand) resourcesKey() string { return d.key[:d.resources] }
func (d *demand) portsKey() string     { return d.key[d.resources:] }

func appendResources(b []byte, d *demand) []byte {
	for _, n := range [...]int64{d.milliCPU, d.memory, d.ephemeral, d.scoredMilliCPU, d.scoredMemory, int64(len(d.scalars))} {
		b = appendInt(b, n)
	}
	for _, s := range d.scalars {
		b = appendInt(appendText(b, string(s.name)), s.amount)
	}
	return b
}

// readResources is a demand without ports.
func readResources(p keyPart) demand {
	d := demand{milliCPU: p.int(), memory: p.int(), ephemeral: p.int(), scoredMilliCPU: p.int(), scoredMemory: p.int()}
	for range p.int() {
		d.scalars = append(d.scalars, scalar{name: corev1.ResourceName(p.text()), amount: p.int()})
	}
	return d
}
