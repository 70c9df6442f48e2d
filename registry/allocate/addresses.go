package allocate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/wheelhouse-k8s/wheelhouse/api/core"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// ManagedBy is the value of the label that marks addresses that are kept by this package.
const ManagedBy = "ipallocator.k8s.io"

var (
	errTaken     = errors.New("provided IP is already allocated")
	errExhausted = errors.New("range is full")
)

// takeAddresses gives a service its addresses, one for each of its families.
func (t *taking) takeAddresses(next *corev1.Service) error {
	if !core.NeedsClusterIP(next) || core.IsHeadless(next) {
		return nil
	}
	spec := &next.Spec
	for n, family := range spec.IPFamilies {
		if n == len(spec.ClusterIPs) {
			spec.ClusterIPs = append(spec.ClusterIPs, "")
		}
		if err := t.takeAddress(next, n, family); err != nil {
			return err
		}
	}
	spec.ClusterIP = spec.ClusterIPs[0]
	return nil
}

// takeAddress takes the address that the user chose, or chooses one.
func (t *taking) takeAddress(next *corev1.Service, n int, family corev1.IPFamily) error {
	spec, path := &next.Spec, field.NewPath("spec", "clusterIPs")
	if next.Name == "" {
		return refuse(next, field.Invalid(path, spec.ClusterIPs, "failed to allocate an IP: the service has no name"))
	}
	if want := spec.ClusterIPs[n]; want != "" {
		if err := t.takeChosen(next, want); err != nil {
			return refuse(next, field.Invalid(path, spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %v", want, err)))
		}
		return nil
	}
	a, err := t.choose(next, family)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a service IP: %w", err))
	}
	spec.ClusterIPs[n] = a.String()
	return nil
}

func (t *taking) takeChosen(next *corev1.Service, want string) error {
	ip := utilnet.ParseIPSloppy(want)
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return errors.New("not an IP address")
	}
	a = a.Unmap()
	blocks := t.s.readyBlocks(familyOf(a))
	for _, b := range blocks {
		if b.contains(a) {
			return t.reserve(next, a)
		}
	}
	valid := ""
	for _, b := range blocks {
		valid += " " + b.prefix.String()
	}
	return fmt.Errorf("the provided IP (%s) is not in the valid range. The range of valid IPs is%s", a, valid)
}

// choose finds a free address. The mirror may lag behind: only a fresh view tells that all are taken.
func (t *taking) choose(next *corev1.Service, family corev1.IPFamily) (netip.Addr, error) {
	a, err := t.chooseAny(next, family)
	if !errors.Is(err, errExhausted) {
		return a, err
	}
	if _, err := t.s.registry.Fresh(t.ctx); err != nil {
		return netip.Addr{}, err
	}
	return t.chooseAny(next, family)
}

// chooseAny tries the addresses of each block from a random one on, first those above the reserved part.
func (t *taking) chooseAny(next *corev1.Service, family corev1.IPFamily) (netip.Addr, error) {
	for _, b := range t.s.readyBlocks(family) {
		for _, part := range [][2]uint64{{b.reserved, b.size}, {0, b.reserved}} {
			a, err := t.chooseIn(next, b, part[0], part[1])
			if !errors.Is(err, errExhausted) {
				return a, err
			}
		}
	}
	return netip.Addr{}, errExhausted
}

func (t *taking) chooseIn(next *corev1.Service, b block, from, to uint64) (netip.Addr, error) {
	if from >= to {
		return netip.Addr{}, errExhausted
	}
	count := to - from
	start := rand.Uint64N(count)
	for n := range count {
		a := b.at(from + (start+n)%count)
		if t.s.addresses.Peek("", a.String()) != nil {
			continue
		}
		if err := t.reserve(next, a); !errors.Is(err, errTaken) {
			return a, err
		}
	}
	return netip.Addr{}, errExhausted
}

// reserve creates the IPAddress object, which is what makes the address the service's own.
func (t *taking) reserve(next *corev1.Service, a netip.Addr) error {
	if t.dryRun {
		_, err := t.s.addresses.Get(t.ctx, "", a.String(), "")
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errTaken)
	}
	_, err := t.s.addresses.Create(t.ctx, ipAddress(next, a), registry.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return errTaken
	}
	if err != nil {
		return err
	}
	t.taken.addresses = append(t.taken.addresses, a.String())
	return nil
}

func ipAddress(owner *corev1.Service, a netip.Addr) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: a.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(familyOf(a)),
			networkingv1.LabelManagedBy:       ManagedBy,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{
			Resource: "services", Namespace: owner.Namespace, Name: owner.Name,
		}},
	}
}

// belongsTo tells whether an address was reserved for the service.
func belongsTo(a *networkingv1.IPAddress, namespace, name string) bool {
	p := a.Spec.ParentRef
	return p != nil && p.Group == "" && p.Resource == "services" && p.Namespace == namespace && p.Name == name
}

// releaseAddress deletes the IPAddress object if it is the owner's.
func (s *Services) releaseAddress(ctx context.Context, text string, owner *corev1.Service) error {
	name := text
	if ip := utilnet.ParseIPSloppy(text); ip != nil {
		name = ip.String()
	}
	item, err := s.addresses.Get(ctx, "", name, "")
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	a, ok := item.Object().(*networkingv1.IPAddress)
	if !ok || !belongsTo(a, owner.Namespace, owner.Name) {
		return nil
	}
	return s.deleteAddress(ctx, a)
}

func (s *Services) deleteAddress(ctx context.Context, a *networkingv1.IPAddress) error {
	uid := a.UID
	_, _, err := s.addresses.Delete(ctx, "", a.Name, registry.DeleteOptions{
		DeleteOptions: metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// changeAddresses follows a change of type, or the coming and going of the second family.
func (t *taking) changeAddresses(next, old *corev1.Service) error {
	if keepsDualPreference(next, old) {
		return nil
	}
	had, has := core.NeedsClusterIP(old), core.NeedsClusterIP(next)
	switch {
	case !had && has:
		return t.takeAddresses(next)
	case !had || core.IsHeadless(old):
		return nil
	case !has:
		t.freed.addresses = append(t.freed.addresses, old.Spec.ClusterIPs...)
		return nil
	}
	families, before := len(next.Spec.IPFamilies), len(old.Spec.IPFamilies)
	switch {
	case before == 1 && families == 2:
		if len(next.Spec.ClusterIPs) < 2 {
			next.Spec.ClusterIPs = append(next.Spec.ClusterIPs, "")
		}
		return t.takeAddress(next, 1, next.Spec.IPFamilies[1])
	case before == 2 && families == 1 && len(old.Spec.ClusterIPs) == 2:
		t.freed.addresses = append(t.freed.addresses, old.Spec.ClusterIPs[1])
	}
	return nil
}
