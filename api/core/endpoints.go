package core

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Endpoints is the kind of endpoints, the older sibling of EndpointSlice.
var Endpoints = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "endpoints", Singular: "endpoints", ShortNames: []string{"ep"}, Namespaced: true,
	StoragePath: "services/endpoints",
	List:        kind.ListOf[corev1.EndpointsList], CreateOnUpdate: true,
}, kind.Rules[corev1.Endpoints]{
	Default:  defaultEndpoints,
	Validate: validateEndpoints,
	Warnings: warnEndpoints,
	Columns: kind.Columns([]kind.Column[corev1.Endpoints]{
		kind.Text("Endpoints", kind.Doc(corev1.Endpoints{}, "subsets"), func(e *corev1.Endpoints) string { return endpointsCell(e) }),
	}),
})

func defaultEndpoints(e *corev1.Endpoints) {
	for n := range e.Subsets {
		for m := range e.Subsets[n].Ports {
			if p := &e.Subsets[n].Ports[m]; p.Protocol == "" {
				p.Protocol = corev1.ProtocolTCP
			}
		}
	}
}

// endpointsCellMax is how many endpoints kubectl get shows.
const endpointsCellMax = 3

func endpointsCell(e *corev1.Endpoints) string {
	if len(e.Subsets) == 0 {
		return "<none>"
	}
	var shown []string
	count := 0
	add := func(s string) {
		if count++; len(shown) < endpointsCellMax {
			shown = append(shown, s)
		}
	}
	for _, subset := range e.Subsets {
		for _, p := range subset.Ports {
			for _, a := range subset.Addresses {
				add(joinHostPort(a.IP, p.Port))
			}
		}
		if len(subset.Ports) == 0 {
			for _, a := range subset.Addresses {
				add(a.IP)
			}
		}
	}
	out := strings.Join(shown, ",")
	if count > len(shown) {
		return fmt.Sprintf("%s + %d more...", out, count-len(shown))
	}
	return out
}

func joinHostPort(ip string, port int32) string {
	if strings.Contains(ip, ":") {
		ip = "[" + ip + "]"
	}
	return ip + ":" + strconv.Itoa(int(port))
}

// validateEndpoints judges next; what old already held, even in an old form, may stay.
func validateEndpoints(next, old *corev1.Endpoints) field.ErrorList {
	var ps kind.Problems
	if text, ok := next.Annotations[corev1.EndpointsLastChangeTriggerTime]; ok {
		if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
			ps.Invalid(field.NewPath("metadata", "annotations").Key(corev1.EndpointsLastChangeTriggerTime), "", text, "must be a time in RFC 3339 form")
		}
	}
	var before []string
	if old != nil {
		if apiequality.Semantic.DeepEqual(next.Subsets, old.Subsets) {
			return ps.List
		}
		for _, s := range old.Subsets {
			for _, a := range slices.Concat(s.Addresses, s.NotReadyAddresses) {
				before = append(before, a.IP)
			}
		}
	}
	for n := range next.Subsets {
		s, path := &next.Subsets[n], field.NewPath("subsets").Index(n)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			ps.Required(path, "", "must have `addresses` or `notReadyAddresses`")
		}
		for m := range s.Addresses {
			ps.Add(validateEndpointAddress(&s.Addresses[m], before, path.Child("addresses").Index(m)))
		}
		for m := range s.NotReadyAddresses {
			ps.Add(validateEndpointAddress(&s.NotReadyAddresses[m], before, path.Child("notReadyAddresses").Index(m)))
		}
		for m := range s.Ports {
			ps.Add(validateEndpointPort(&s.Ports[m], len(s.Ports) > 1, path.Child("ports").Index(m)))
		}
	}
	return ps.List
}

func validateEndpointAddress(a *corev1.EndpointAddress, before []string, path *field.Path) field.ErrorList {
	var ps kind.Problems
	ps.Add(validation.IsValidIPForLegacyField(path.Child("ip"), a.IP, true, before))
	if a.Hostname != "" {
		ps.Messages(path, "hostname", a.Hostname, validation.IsDNS1123Label(a.Hostname))
	}
	if a.NodeName != nil {
		ps.Messages(path, "nodeName", *a.NodeName, apivalidation.NameIsDNSSubdomain(*a.NodeName, false))
	}
	ps.Add(validateReachableIP(a.IP, path.Child("ip")))
	return ps.List
}

func validateEndpointPort(p *corev1.EndpointPort, named bool, path *field.Path) field.ErrorList {
	var ps kind.Problems
	if p.Name == "" {
		if named {
			ps.Required(path, "name", "")
		}
	} else {
		ps.Messages(path, "name", p.Name, validation.IsDNS1123Label(p.Name))
	}
	for _, msg := range validation.IsValidPortNum(int(p.Port)) {
		ps.Invalid(path, "port", p.Port, msg)
	}
	kind.RequiredOneOf(&ps, path, "protocol", p.Protocol, serviceProtocols...)
	ps.Add(validateAppProtocol(p.AppProtocol, path.Child("appProtocol")))
	return ps.List
}

func warnEndpoints(next, _ *corev1.Endpoints) []string {
	var out []string
	for n, s := range next.Subsets {
		path := field.NewPath("subsets").Index(n)
		for m, a := range s.Addresses {
			if !plainIP(a.IP) {
				out = append(out, validation.GetWarningsForIP(path.Child("addresses").Index(m).Child("ip"), a.IP)...)
			}
		}
		for m, a := range s.NotReadyAddresses {
			if !plainIP(a.IP) {
				out = append(out, validation.GetWarningsForIP(path.Child("notReadyAddresses").Index(m).Child("ip"), a.IP)...)
			}
		}
	}
	return out
}
