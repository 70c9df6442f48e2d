// Package allocate gives services their cluster addresses and node ports, and takes them back.
//
// A cluster address in use is an IPAddress object with the address as its name: creating it is the reservation, and it
// cannot be done twice. Blocks come from ServiceCIDR objects; addresses that the server chooses come from the upper part
// of a block, so that the lower part stays free for those that users choose. Node ports in use are one bitmap under
// one key, changed by compare-and-swap, in upstream's form. Both are written before the service and taken back if the
// service is not stored; what a crash leaves behind is found by Repair.
package allocate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/core"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// finishTimeout bounds giving back what a write that failed, or a removed service, no longer needs.
const finishTimeout = 10 * time.Second

// Options of New.
type Options struct {
	Store store.Store
	// CIDRs are the blocks of the cluster's first ServiceCIDR: one, or one for each IP family. The first gives the
	// family of services that ask for none.
	CIDRs []netip.Prefix
	// NodePorts is the range of node ports; the zero value means 30000-32767.
	NodePorts PortRange
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log tells of what could not be given back; nil means slog.Default.
	Log *slog.Logger
}

// Services reserves for services. It is made before the registry that calls it, and gets to know it by Attach.
type Services struct {
	cidrs []netip.Prefix
	ports *portAllocator
	now   func() time.Time
	log   *slog.Logger
	// The registry and its resources. Written once by Attach, before the first Reserve.
	registry                    *registry.Registry
	services, addresses, blocks *registry.Resource
}

var _ registry.Reserver = (*Services)(nil)

// New makes a Services; nothing is read before Attach.
func New(o Options) (*Services, error) {
	if len(o.CIDRs) == 0 || len(o.CIDRs) > 2 {
		return nil, fmt.Errorf("need one or two blocks of service addresses, got %d", len(o.CIDRs))
	}
	s := &Services{now: o.Now, log: o.Log}
	for _, p := range o.CIDRs {
		b, err := newBlock(p)
		if err != nil {
			return nil, err
		}
		s.cidrs = append(s.cidrs, b.prefix)
	}
	if len(s.cidrs) == 2 && familyOf(s.cidrs[0].Addr()) == familyOf(s.cidrs[1].Addr()) {
		return nil, fmt.Errorf("the two blocks of service addresses, %s and %s, must be of different IP families", s.cidrs[0], s.cidrs[1])
	}
	if o.NodePorts == (PortRange{}) {
		o.NodePorts = PortRange{Base: 30000, Size: 2768}
	}
	if err := o.NodePorts.validate(); err != nil {
		return nil, err
	}
	s.ports = &portAllocator{store: o.Store, ports: o.NodePorts}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s, nil
}

// Attach tells where services and addresses are kept.
func (s *Services) Attach(r *registry.Registry) error {
	s.registry = r
	for _, need := range []struct {
		resource **registry.Resource
		gr       schema.GroupResource
	}{
		{&s.services, schema.GroupResource{Resource: "services"}},
		{&s.addresses, schema.GroupResource{Group: networkingv1.GroupName, Resource: "ipaddresses"}},
		{&s.blocks, schema.GroupResource{Group: networkingv1.GroupName, Resource: "servicecidrs"}},
	} {
		found, ok := r.Resource(need.gr)
		if !ok {
			return fmt.Errorf("services need the resource %s, which the registry does not have", need.gr)
		}
		*need.resource = found
	}
	return nil
}

// Reserve implements registry.Reserver.
func (s *Services) Reserve(ctx context.Context, next, old kind.Object, dryRun bool) (func(bool), error) {
	t := &taking{s: s, ctx: ctx, dryRun: dryRun}
	var now, before *corev1.Service
	if next != nil {
		now = next.(*corev1.Service)
	}
	if old != nil {
		before = old.(*corev1.Service)
	}
	var err error
	switch {
	case now == nil:
		t.releaseAll(before)
	case before == nil:
		err = t.create(now)
	default:
		err = t.update(now, before)
	}
	if err != nil {
		t.finish(false)
		return nil, err
	}
	return t.finish, nil
}

// taking is what one write of one service takes and frees.
type taking struct {
	s      *Services
	ctx    context.Context
	dryRun bool
	// taken has been reserved and is given back if the write fails; freed is given back if it succeeds.
	taken, freed struct {
		addresses []string
		ports     []int
	}
	// owner of the addresses.
	owner *corev1.Service
}

func (t *taking) create(next *corev1.Service) error {
	t.owner = next
	if err := t.s.fillFamilies(next, nil); err != nil {
		return err
	}
	if err := t.takeAddresses(next); err != nil {
		return err
	}
	return t.takePorts(next, nil)
}

func (t *taking) update(next, old *corev1.Service) error {
	t.owner = next
	if sameReservations(next, old) {
		return nil
	}
	if err := t.s.fillFamilies(next, old); err != nil {
		return err
	}
	if err := t.changeAddresses(next, old); err != nil {
		return err
	}
	return t.takePorts(next, old)
}

func (t *taking) releaseAll(old *corev1.Service) {
	t.owner = old
	if core.NeedsClusterIP(old) && !core.IsHeadless(old) {
		t.freed.addresses = append(t.freed.addresses, old.Spec.ClusterIPs...)
	}
	t.freed.ports = append(t.freed.ports, nodePorts(old)...)
	if old.Spec.HealthCheckNodePort != 0 {
		t.freed.ports = append(t.freed.ports, int(old.Spec.HealthCheckNodePort))
	}
}

// finish gives back what the outcome of the write leaves over. It goes on when the request has gone away.
func (t *taking) finish(stored bool) {
	if t.dryRun {
		return
	}
	give := t.taken
	if stored {
		give = t.freed
	}
	if len(give.addresses) == 0 && len(give.ports) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), finishTimeout)
	defer cancel()
	var failed error
	for _, a := range give.addresses {
		failed = errors.Join(failed, t.s.releaseAddress(ctx, a, t.owner))
	}
	failed = errors.Join(failed, t.s.ports.release(ctx, give.ports))
	if failed != nil {
		t.s.log.Warn("service addresses or ports stay reserved until the next repair",
			"namespace", t.owner.Namespace, "service", t.owner.Name, "error", failed)
	}
}

// refuse is the answer to a service that cannot be given what it asks for.
func refuse(s *corev1.Service, errs ...*field.Error) error {
	return bounds.Invalid(schema.GroupKind{Kind: "Service"}, s.Name, errs)
}
