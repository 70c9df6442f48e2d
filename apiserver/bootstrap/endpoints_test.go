package bootstrap

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// listed is what the Endpoints and the EndpointSlices of default/kubernetes say.
func listed(t *testing.T, r *registry.Registry) (endpoints string, bySlice []string) {
	t.Helper()
	var subsets []string
	for _, s := range read[*corev1.Endpoints](t, r, "endpoints", "default", "kubernetes").Subsets { //nolint:staticcheck // clients still read Endpoints
		for _, a := range s.Addresses {
			subsets = append(subsets, netip.AddrPortFrom(netip.MustParseAddr(a.IP), uint16(s.Ports[0].Port)).String())
		}
	}
	resource, _ := r.Resource(schema.ParseGroupResource("endpointslices.discovery.k8s.io"))
	for item := range resource.All("default") {
		s := item.Object().(*discoveryv1.EndpointSlice)
		var addresses []string
		for _, e := range s.Endpoints {
			addresses = append(addresses, e.Addresses...)
		}
		bySlice = append(bySlice, fmt.Sprintf("%s %s %s %d", s.Name, s.AddressType, strings.Join(addresses, ","), *s.Ports[0].Port))
	}
	slices.Sort(bySlice)
	return strings.Join(subsets, " "), bySlice
}

func TestEndpoints(t *testing.T) {
	r := start(t)
	ensure(t, options(r))
	for _, step := range []struct {
		masters, endpoints string
		slices             []string
	}{
		{
			"192.0.2.9:6443 192.0.2.7:6443 192.0.2.8:6443", "192.0.2.7:6443 192.0.2.8:6443 192.0.2.9:6443",
			[]string{"kubernetes IPv4 192.0.2.7,192.0.2.8,192.0.2.9 6443"},
		},
		// Two masters on one host.
		{
			"192.0.2.7:6443 192.0.2.7:7443 192.0.2.8:7443", "192.0.2.7:7443 192.0.2.8:7443 192.0.2.7:6443",
			[]string{"kubernetes IPv4 192.0.2.7,192.0.2.8 7443", "kubernetes-v4-6443 IPv4 192.0.2.7 6443"},
		},
		// The first slice's family changes, and the second goes.
		{"[2001:db8::1]:6443", "[2001:db8::1]:6443", []string{"kubernetes IPv6 2001:db8::1 6443"}},
		// Nobody is a mistake.
		{"", "[2001:db8::1]:6443", []string{"kubernetes IPv6 2001:db8::1 6443"}},
	} {
		var masters []netip.AddrPort
		for _, m := range strings.Fields(step.masters) {
			masters = append(masters, netip.MustParseAddrPort(m))
		}
		var revisions [2]int64
		for i := range revisions {
			if err := Endpoints(t.Context(), r, masters); err != nil {
				t.Fatal(err)
			}
			var err error
			if revisions[i], err = r.Fresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if revisions[0] != revisions[1] {
			t.Errorf("%s: written again though nothing changed", step.masters)
		}
		endpoints, bySlice := listed(t, r)
		if endpoints != step.endpoints || !slices.Equal(bySlice, step.slices) {
			t.Errorf("%s: endpoints %s, slices %q", step.masters, endpoints, bySlice)
		}
	}
}
