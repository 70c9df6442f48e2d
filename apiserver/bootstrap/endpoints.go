package bootstrap

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// Endpoints makes the Endpoints and EndpointSlices of the service default/kubernetes list exactly these masters. It
// writes nothing if they do, and leaves them as they are if there is no master to list: then something else is wrong,
// and addresses that worked a moment ago are better than none.
func Endpoints(ctx context.Context, r *registry.Registry, masters []netip.AddrPort) error {
	if len(masters) == 0 {
		return nil
	}
	groups := grouped(masters)
	e := &ensurer{registry: r, slots: make(chan struct{}, writesInFlight)}
	put(ctx, e, "endpoints", masterEndpoints(groups), reconcileEndpoints)
	e.slices(ctx, groups)
	return e.wait()
}

// group is the masters of one address family that serve on the same port: what one EndpointSlice can hold.
type group struct {
	port      uint16
	six       bool
	addresses []netip.Addr
}

// grouped sorts masters into groups, the largest first. All masters find the same order.
func grouped(masters []netip.AddrPort) []group {
	sorted := slices.SortedFunc(slices.Values(masters), netip.AddrPort.Compare)
	var groups []group
	for _, m := range slices.Compact(sorted) {
		same := func(g group) bool { return g.port == m.Port() && g.six == m.Addr().Is6() }
		i := slices.IndexFunc(groups, same)
		if i < 0 {
			i, groups = len(groups), append(groups, group{port: m.Port(), six: m.Addr().Is6()})
		}
		groups[i].addresses = append(groups[i].addresses, m.Addr())
	}
	slices.SortStableFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(len(b.addresses), len(a.addresses)), cmp.Compare(a.port, b.port))
	})
	return groups
}

func masterEndpoints(groups []group) *corev1.Endpoints { //nolint:staticcheck // clients still read Endpoints
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{
		Namespace: metaDefault, Name: masterName, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
	}}
	for _, g := range groups {
		subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: portName, Port: int32(g.port), Protocol: corev1.ProtocolTCP}}}
		for _, a := range g.addresses {
			subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: a.String()})
		}
		e.Subsets = append(e.Subsets, subset)
	}
	return e
}

func reconcileEndpoints(have, want *corev1.Endpoints) { //nolint:staticcheck // clients still read Endpoints
	have.Labels = withLabels(have.Labels, want.Labels)
	have.Subsets = want.Subsets
}

// slices makes one EndpointSlice a group, the first under the service's name as upstream has it, and removes those of
// groups that are no more.
func (e *ensurer) slices(ctx context.Context, groups []group) {
	const resource = "endpointslices." + discoveryv1.GroupName
	r, ok := e.registry.Resource(schema.ParseGroupResource(resource))
	if !ok {
		return
	}
	wanted := map[string]bool{}
	for n, g := range groups {
		slice := masterSlice(g, sliceName(n, g))
		wanted[slice.Name] = true
		if item := r.Peek(metaDefault, slice.Name); item != nil && item.Object().(*discoveryv1.EndpointSlice).AddressType != slice.AddressType {
			e.do(func() error { return replace(ctx, r, slice) }) // the family of a slice cannot be changed
			continue
		}
		put(ctx, e, resource, slice, reconcileSlice)
	}
	for item := range r.All(metaDefault) {
		if wanted[item.Name()] || !strings.HasPrefix(item.Name(), masterName+"-") {
			continue
		}
		if item.Object().GetLabels()[discoveryv1.LabelServiceName] == masterName {
			e.do(func() error { return remove(ctx, r, item.Name()) })
		}
	}
}

func remove(ctx context.Context, r *registry.Resource, name string) error {
	_, _, err := r.Delete(ctx, metaDefault, name, registry.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing %s %s: %w", r.Info().Plural, name, err)
	}
	return nil
}

// replace makes an object anew.
func replace(ctx context.Context, r *registry.Resource, want kind.Object) error {
	if err := remove(ctx, r, want.GetName()); err != nil {
		return err
	}
	r.Info().Default(want)
	_, err := r.Create(ctx, want, registry.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // another master was faster
	}
	return err
}

func sliceName(n int, g group) string {
	if n == 0 {
		return masterName
	}
	family := "v4"
	if g.six {
		family = "v6"
	}
	return masterName + "-" + family + "-" + strconv.Itoa(int(g.port))
}

func masterSlice(g group, name string) *discoveryv1.EndpointSlice {
	ready, port, portNamed, protocol := true, int32(g.port), portName, corev1.ProtocolTCP
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metaDefault, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: masterName},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portNamed, Port: &port, Protocol: &protocol}},
	}
	if g.six {
		s.AddressType = discoveryv1.AddressTypeIPv6
	}
	for _, a := range g.addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{a.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return s
}

func reconcileSlice(have, want *discoveryv1.EndpointSlice) {
	have.Labels = withLabels(have.Labels, want.Labels)
	have.Endpoints, have.Ports = want.Endpoints, want.Ports
}
