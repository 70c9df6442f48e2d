package allocate

import (
	"context"
	"errors"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/utils/net"

	"github.com/wheelhouse-k8s/wheelhouse/api/core"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

const (
	// repairInterval is the time between repairs.
	repairInterval = 3 * time.Minute
	// unownedAddressAge is how long an address may be without its service: it is reserved before the service is written.
	unownedAddressAge = time.Minute
)

// Run repairs now and then, until ctx ends. Errors are logged: the next repair tries again.
func (s *Services) Run(ctx context.Context) {
	tick := time.NewTicker(repairInterval)
	defer tick.Stop()
	leaked := map[int]bool{}
	for {
		var err error
		if leaked, err = s.Repair(ctx, leaked); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot repair the reservations of service addresses and ports", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Repair reserves what services hold and nobody has reserved, and gives back what nobody holds: addresses after a while,
// ports when the repair before found them unowned too (unowned is what that one returned). Another master may be between
// reserving and writing a service.
func (s *Services) Repair(ctx context.Context, unowned map[int]bool) (map[int]bool, error) {
	// Reservations are read before services: what is reserved after that is not judged.
	seen, err := s.ports.snapshot(ctx)
	if err != nil {
		return unowned, err
	}
	addresses, err := s.addresses.List(ctx, registry.ListOptions{})
	if err != nil {
		return unowned, err
	}
	services, err := s.services.List(ctx, registry.ListOptions{})
	if err != nil {
		return unowned, err
	}
	err = s.repairAddresses(ctx, services, addresses)
	still, portErr := s.repairPorts(ctx, services, seen, unowned)
	return still, errors.Join(err, portErr)
}

func (s *Services) repairAddresses(ctx context.Context, services, addresses *registry.List) error {
	owners := map[string]*corev1.Service{}
	for _, item := range services.Items {
		svc := item.Object().(*corev1.Service)
		if !core.NeedsClusterIP(svc) || core.IsHeadless(svc) {
			continue
		}
		for _, text := range svc.Spec.ClusterIPs {
			if a, ok := netip.AddrFromSlice(utilnet.ParseIPSloppy(text)); ok {
				owners[a.Unmap().String()] = svc
			}
		}
	}
	var failed error
	present := map[string]bool{}
	for _, item := range addresses.Items {
		a := item.Object().(*networkingv1.IPAddress)
		present[a.Name] = true
		if a.Labels[networkingv1.LabelManagedBy] != ManagedBy || s.now().Sub(a.CreationTimestamp.Time) < unownedAddressAge {
			continue
		}
		if owner := owners[a.Name]; owner == nil || !belongsTo(a, owner.Namespace, owner.Name) {
			failed = errors.Join(failed, s.deleteAddress(ctx, a))
			present[a.Name] = false
		}
	}
	for name, owner := range owners {
		if present[name] {
			continue
		}
		_, err := s.addresses.Create(ctx, ipAddress(owner, netip.MustParseAddr(name)), registry.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (s *Services) repairPorts(ctx context.Context, services *registry.List, seen *bitmap, before map[int]bool) (map[int]bool, error) {
	held := map[int]bool{}
	for _, item := range services.Items {
		svc := item.Object().(*corev1.Service)
		if core.HasNodePorts(svc) {
			for _, p := range nodePorts(svc) {
				held[p] = true
			}
		}
		if p := int(svc.Spec.HealthCheckNodePort); p != 0 {
			held[p] = true
		}
	}
	still := map[int]bool{}
	for n := range seen.Size {
		if p := seen.Base + n; seen.has(p) && !held[p] {
			still[p] = true
		}
	}
	return still, s.ports.change(ctx, false, func(b *bitmap) error {
		for p := range held {
			if n := p - b.Base; n >= 0 && n < b.Size {
				b.bits.SetBit(b.bits, n, 1)
			}
		}
		for p := range still {
			if before[p] {
				b.free(p)
			}
		}
		return nil
	})
}

// snapshot reads the bitmap anew.
func (a *portAllocator) snapshot(ctx context.Context) (*bitmap, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = nil
	return a.load(ctx)
}
