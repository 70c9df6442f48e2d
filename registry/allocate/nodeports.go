package allocate

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/core"
)

func nodePorts(s *corev1.Service) []int {
	var out []int
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, int(p.NodePort))
		}
	}
	return out
}

// takePorts gives a service its node ports and health check port, in one change of the bitmap, and notes those that an
// update leaves. old is nil on create.
func (t *taking) takePorts(next, old *corev1.Service) error {
	var before []int
	if old != nil && core.HasNodePorts(old) {
		before = nodePorts(old)
	}
	var taken, ports []int
	health := next.Spec.HealthCheckNodePort
	needs := core.HasNodePorts(next) || needsHealthPort(next, old)
	if needs {
		err := t.s.ports.change(t.ctx, t.dryRun, func(b *bitmap) error {
			var err error
			g := grant{bitmap: b, service: next, updated: old != nil, before: before, given: map[int32]int32{}}
			if core.HasNodePorts(next) {
				if err = g.nodePorts(); err != nil {
					return err
				}
			}
			if needsHealthPort(next, old) {
				if err = g.healthPort(); err != nil {
					return err
				}
			}
			taken, ports, health = g.taken, g.ports, g.health
			return nil
		})
		if err != nil {
			return statusError(err)
		}
	}
	t.taken.ports = append(t.taken.ports, taken...)
	if core.HasNodePorts(next) {
		for n, p := range ports {
			next.Spec.Ports[n].NodePort = int32(p)
		}
	}
	if needsHealthPort(next, old) {
		next.Spec.HealthCheckNodePort = health
	}
	t.freePorts(next, old, before)
	return nil
}

func statusError(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	return apierrors.NewInternalError(err)
}

// needsHealthPort tells whether this write is the one that begins to need a health check port.
func needsHealthPort(next, old *corev1.Service) bool {
	return core.NeedsHealthCheckPort(next) && (old == nil || !core.NeedsHealthCheckPort(old))
}

func (t *taking) freePorts(next, old *corev1.Service, before []int) {
	if old == nil {
		return
	}
	var now []int
	if core.HasNodePorts(next) {
		now = nodePorts(next)
	}
	for _, p := range before {
		if !slices.Contains(now, p) {
			t.freed.ports = append(t.freed.ports, p)
		}
	}
	if core.NeedsHealthCheckPort(old) && !core.NeedsHealthCheckPort(next) && old.Spec.HealthCheckNodePort != 0 {
		t.freed.ports = append(t.freed.ports, int(old.Spec.HealthCheckNodePort))
	}
}

// grant is the giving of ports to one service during one change of the bitmap.
type grant struct {
	*bitmap
	service *corev1.Service
	// updated tells that the service exists; before are the node ports that it has.
	updated bool
	before  []int
	// given maps a service port to its node port: ports of the same number and different protocols share one.
	given map[int32]int32
	// taken are the newly used ports, ports the node port of each service port (0 for none), health the health check port.
	taken, ports []int
	health       int32
}

func (g *grant) nodePorts() error {
	spec := &g.service.Spec
	g.ports = make([]int, len(spec.Ports))
	wants := core.WantsNodePorts(g.service)
	for n := range spec.Ports {
		p := &spec.Ports[n]
		want := p.NodePort
		if want == 0 && !wants {
			continue
		}
		if want == 0 {
			want = g.shared(p)
		}
		switch {
		case want == 0:
			port, err := g.choose()
			if err != nil {
				return fmt.Errorf("failed to allocate a node port: %w", err)
			}
			want = int32(port)
			g.taken = append(g.taken, port)
		case !slices.Contains(g.before, int(want)) && !slices.Contains(g.taken, int(want)):
			if err := g.take(int(want)); err != nil {
				return refuse(g.service, field.Invalid(field.NewPath("spec", "ports").Index(n).Child("nodePort"), want, err.Error()))
			}
			g.taken = append(g.taken, int(want))
		}
		g.ports[n] = int(want)
		if _, ok := g.given[p.Port]; !ok {
			g.given[p.Port] = want
		}
	}
	return nil
}

// shared is the node port that another port of the same number has, or asks for, under another protocol; 0 if none.
// Only new services share: a port that is added to an existing one gets its own.
func (g *grant) shared(p *corev1.ServicePort) int32 {
	if g.updated {
		return 0
	}
	if n, ok := g.given[p.Port]; ok {
		return n
	}
	for _, q := range g.service.Spec.Ports {
		if q.Port == p.Port && q.NodePort != 0 {
			return q.NodePort
		}
	}
	return 0
}

func (g *grant) healthPort() error {
	want := g.service.Spec.HealthCheckNodePort
	if want == 0 {
		port, err := g.choose()
		if err != nil {
			return fmt.Errorf("failed to allocate a health check node port: %w", err)
		}
		g.health = int32(port)
		g.taken = append(g.taken, port)
		return nil
	}
	if err := g.take(int(want)); err != nil {
		return fmt.Errorf("failed to allocate the requested health check node port %d: %w", want, err)
	}
	g.health = want
	g.taken = append(g.taken, int(want))
	return nil
}
