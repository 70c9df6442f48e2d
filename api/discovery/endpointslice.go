// Package discovery defines the kinds of discovery.k8s.io.
package discovery

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// EndpointSlice is the kind of endpoint slices.
var EndpointSlice = kind.Define(kind.Resource{
	GroupVersion: discoveryv1.SchemeGroupVersion, Plural: "endpointslices", Namespaced: true,
	List: kind.ListOf[discoveryv1.EndpointSliceList], HasGeneration: true,
}, kind.Rules[discoveryv1.EndpointSlice]{
	Default:     defaultSlice,
	Prepare:     dropTopology,
	Validate:    validateSlice,
	Warnings:    warnSlice,
	SpecChanged: sliceChanged,
	Columns: kind.Columns([]kind.Column[discoveryv1.EndpointSlice]{
		kind.Text("AddressType", kind.Doc(discoveryv1.EndpointSlice{}, "addressType"), func(s *discoveryv1.EndpointSlice) string { return string(s.AddressType) }),
		kind.Text("Ports", kind.Doc(discoveryv1.EndpointSlice{}, "ports"), func(s *discoveryv1.EndpointSlice) string { return portsCell(s.Ports) }),
		kind.Text("Endpoints", kind.Doc(discoveryv1.EndpointSlice{}, "endpoints"), func(s *discoveryv1.EndpointSlice) string { return endpointsCell(s.Endpoints) }),
	}),
})

func defaultSlice(s *discoveryv1.EndpointSlice) {
	for n := range s.Ports {
		p := &s.Ports[n]
		kind.FillPointer(&p.Name, "")
		kind.FillPointer(&p.Protocol, corev1.ProtocolTCP)
	}
}

// dropTopology takes out what this version cannot write, unless the endpoints are as they were.
func dropTopology(s, old *discoveryv1.EndpointSlice) {
	if old != nil && apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
		return
	}
	for n := range s.Endpoints {
		s.Endpoints[n].DeprecatedTopology = nil
	}
}

// sliceChanged: the generation counts changes of everything but metadata, and of labels.
func sliceChanged(next, old *discoveryv1.EndpointSlice) bool {
	a, b := *next, *old
	a.ObjectMeta, b.ObjectMeta = metav1.ObjectMeta{Labels: next.Labels}, metav1.ObjectMeta{Labels: old.Labels}
	return !apiequality.Semantic.DeepEqual(&a, &b)
}

// Bounds of one slice.
const (
	endpointsMax = 1000
	addressesMax = 100
	portsMax     = 20000
	hintsMax     = 8
	topologyMax  = 16
)

var (
	addressTypes = []discoveryv1.AddressType{discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
	protocols    = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}
)

func validateSlice(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	var ps kind.Problems
	if old != nil {
		ps.Add(apivalidation.ValidateImmutableField(s.AddressType, old.AddressType, field.NewPath("addressType")))
	}
	kind.RequiredOneOf(&ps, nil, "addressType", s.AddressType, addressTypes...)
	path := field.NewPath("endpoints")
	if len(s.Endpoints) > endpointsMax {
		ps.TooMany(path, "", len(s.Endpoints), endpointsMax)
	} else if old == nil || !apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
		for n := range s.Endpoints {
			ps.Add(validateEndpoint(&s.Endpoints[n], s.AddressType, path.Index(n)))
		}
	}
	ps.Add(validatePorts(s.Ports))
	return ps.List
}

func validateEndpoint(e *discoveryv1.Endpoint, of discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var ps kind.Problems
	ps.Add(validateAddresses(e.Addresses, of, path.Child("addresses")))
	if e.NodeName != nil {
		ps.Messages(path, "nodeName", *e.NodeName, apivalidation.NameIsDNSSubdomain(*e.NodeName, false))
	}
	if at := path.Child("deprecatedTopology"); len(e.DeprecatedTopology) > topologyMax {
		ps.TooMany(at, "", len(e.DeprecatedTopology), topologyMax)
	}
	if e.Hostname != nil {
		ps.Messages(path, "hostname", *e.Hostname, validation.IsDNS1123Label(*e.Hostname))
	}
	if e.Hints != nil {
		ps.Add(validateHints(e.Hints, path.Child("hints")))
	}
	return ps.List
}

func validateAddresses(addresses []string, of discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var ps kind.Problems
	if len(addresses) == 0 {
		ps.Required(path, "", "must have at least 1 address")
	} else if len(addresses) > addressesMax {
		ps.TooMany(path, "", len(addresses), addressesMax)
	}
	for n, a := range addresses {
		switch at := path.Index(n); of {
		case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
			ps.Add(validateIP(a, of == discoveryv1.AddressTypeIPv4, at, path))
		case discoveryv1.AddressTypeFQDN:
			ps.Add(validation.IsFullyQualifiedDomainName(at, a))
		}
	}
	return ps.List
}

func validateHints(h *discoveryv1.EndpointHints, path *field.Path) field.ErrorList {
	var ps kind.Problems
	zones, nodes := make([]string, len(h.ForZones)), make([]string, len(h.ForNodes))
	for n := range h.ForZones {
		zones[n] = h.ForZones[n].Name
	}
	for n := range h.ForNodes {
		nodes[n] = h.ForNodes[n].Name
	}
	check := func(child string, names []string, valid func(string) []string) {
		at := path.Child(child)
		if len(names) > hintsMax {
			ps.TooMany(at, "", len(names), hintsMax)
			return
		}
		for n, name := range names {
			if slices.Contains(names[:n], name) {
				ps.Duplicate(at.Index(n), "name", name)
			}
			if messages := valid(name); len(messages) > 0 {
				ps.Messages(at.Index(n), "name", name, messages)
			}
		}
	}
	check("forZones", zones, validation.IsValidLabelValue)
	check("forNodes", nodes, func(s string) []string { return apivalidation.NameIsDNSSubdomain(s, false) })
	return ps.List
}

func validatePorts(ports []discoveryv1.EndpointPort) field.ErrorList {
	var ps kind.Problems
	path := field.NewPath("ports")
	if len(ports) > portsMax {
		ps.TooMany(path, "", len(ports), portsMax)
		return ps.List
	}
	names := make(map[string]bool, len(ports))
	for n := range ports {
		p, at := &ports[n], path.Index(n)
		name := *p.Name
		if name != "" {
			ps.Messages(at, "name", name, validation.IsDNS1123Label(name))
		}
		if names[name] {
			ps.Duplicate(at, "name", name)
		}
		names[name] = true
		if p.Protocol == nil {
			ps.Required(at, "protocol", "")
		} else {
			kind.OneOf(&ps, at, "protocol", *p.Protocol, protocols...)
		}
		if p.AppProtocol != nil {
			ps.Messages(at, "appProtocol", *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol))
		}
	}
	return ps.List
}

func warnSlice(s, old *discoveryv1.EndpointSlice) []string {
	var out []string
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		out = append(out, "addressType: FQDN endpoints are deprecated")
	}
	if s.AddressType == discoveryv1.AddressTypeFQDN || old != nil && apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
		return out
	}
	for n := range s.Endpoints {
		for m, a := range s.Endpoints[n].Addresses {
			if !canonical(a) {
				out = append(out, validation.GetWarningsForIP(field.NewPath("endpoints").Index(n).Child("addresses").Index(m), a)...)
			}
		}
	}
	return out
}

// cellMax is how many ports or endpoints kubectl get shows.
const cellMax = 3

func portsCell(ports []discoveryv1.EndpointPort) string {
	out := make([]string, len(ports))
	for n, p := range ports {
		switch {
		case p.Port != nil:
			out[n] = strconv.Itoa(int(*p.Port))
		case p.Name != nil && *p.Name != "":
			out[n] = *p.Name
		default:
			out[n] = "*"
		}
	}
	return shorten(out)
}

func endpointsCell(endpoints []discoveryv1.Endpoint) string {
	var out []string
	for n := range endpoints {
		out = append(out, endpoints[n].Addresses...)
	}
	return shorten(out)
}

func shorten(list []string) string {
	switch {
	case len(list) == 0:
		return "<unset>"
	case len(list) > cellMax:
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:cellMax], ","), len(list)-cellMax)
	}
	return strings.Join(list, ",")
}
