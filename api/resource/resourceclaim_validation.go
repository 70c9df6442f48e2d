package resource

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// requestNames are the names of a claim's requests, with those of their subrequests; a request without any has nil.
type requestNames map[string]map[string]bool

func namesOf(c *resourcev1.DeviceClaim) requestNames {
	names := requestNames{}
	for n := range c.Requests {
		r := &c.Requests[n]
		var subs map[string]bool
		if len(r.FirstAvailable) > 0 {
			subs = map[string]bool{}
		}
		for m := range r.FirstAvailable {
			subs[r.FirstAvailable[m].Name] = true
		}
		names[r.Name] = subs
	}
	return names
}

// validateReference wants the name of a request, or of a request and its subrequest.
func (names requestNames) validate(ps *kind.Problems, name string, at *field.Path) {
	const must = "must be the name of a request in the claim, or of a request and a subrequest separated by '/'"
	request, sub, hasSub := strings.Cut(name, "/")
	if strings.Contains(sub, "/") {
		ps.Invalid(at, "", name, must)
		return
	}
	ps.Label(at, "", request)
	if hasSub {
		ps.Label(at, "", sub)
	}
	subs, ok := names[request]
	if !ok || hasSub && !subs[sub] {
		ps.Invalid(at, "", name, must)
	}
}

// validateAll judges references that something has to requests; too many are reported by what is declared.
func (names requestNames) validateAll(ps *kind.Problems, list []string, at *field.Path) {
	if len(list) > resourcev1.DeviceRequestsMaxSize {
		return
	}
	for n, name := range list {
		names.validate(ps, name, at.Index(n))
	}
}

// validateClaimSpec judges what is not declared. Lists that are too long are left to what is.
func validateClaimSpec(ps *kind.Problems, s *resourcev1.ResourceClaimSpec, path *field.Path) {
	at, x := path.Child("devices"), &expressions{}
	if requests := s.Devices.Requests; len(requests) <= resourcev1.DeviceRequestsMaxSize {
		for n := range requests {
			validateRequest(ps, &requests[n], x, at.Child("requests").Index(n))
		}
	}
	names := namesOf(&s.Devices)
	if constraints := s.Devices.Constraints; len(constraints) <= resourcev1.DeviceConstraintsMaxSize {
		for n := range constraints {
			c, here := &constraints[n], at.Child("constraints").Index(n)
			names.validateAll(ps, c.Requests, here.Child("requests"))
			if c.MatchAttribute == nil && c.DistinctAttribute == nil {
				ps.Required(here, "", `exactly one of "matchAttribute" and "distinctAttribute" is required`)
			}
		}
	}
	if config := s.Devices.Config; len(config) <= resourcev1.DeviceConfigMaxSize {
		for n := range config {
			here := at.Child("config").Index(n)
			names.validateAll(ps, config[n].Requests, here.Child("requests"))
			validateConfiguration(ps, &config[n].DeviceConfiguration, here, false)
		}
	}
}

func validateRequest(ps *kind.Problems, r *resourcev1.DeviceRequest, x *expressions, at *field.Path) {
	ps.Label(at, "name", r.Name)
	switch alternatives := len(r.FirstAvailable) > 0; {
	case alternatives && r.Exactly != nil:
		ps.Invalid(at, "", nil, "only one of `exactly` and `firstAvailable` may be set")
	case r.Exactly != nil:
		here := at.Child("exactly")
		if r.Exactly.DeviceClassName == "" {
			ps.Required(here, "deviceClassName", "")
		} else {
			ps.Subdomain(here, "deviceClassName", r.Exactly.DeviceClassName)
		}
		x.selectors(ps, r.Exactly.Selectors, here.Child("selectors"))
		validateCount(ps, r.Exactly.AllocationMode, r.Exactly.Count, here)
		validateTolerations(ps, r.Exactly.Tolerations, here.Child("tolerations"))
	case !alternatives:
		ps.Required(at, "", "one of `exactly` and `firstAvailable` is required")
	case len(r.FirstAvailable) <= resourcev1.FirstAvailableDeviceRequestMaxSize:
		for n := range r.FirstAvailable {
			sub, here := &r.FirstAvailable[n], at.Child("firstAvailable").Index(n)
			ps.Label(here, "name", sub.Name)
			x.selectors(ps, sub.Selectors, here.Child("selectors"))
			validateCount(ps, sub.AllocationMode, sub.Count, here)
			validateTolerations(ps, sub.Tolerations, here.Child("tolerations"))
		}
	}
}

// validateCount wants a number where the mode has one. Other modes are reported by what is declared.
func validateCount(ps *kind.Problems, mode resourcev1.DeviceAllocationMode, count int64, at *field.Path) {
	switch {
	case mode == resourcev1.DeviceAllocationModeAll && count != 0:
		ps.Invalid(at, "count", count, "may not be set when all devices are asked for")
	case mode == resourcev1.DeviceAllocationModeExactCount && count <= 0:
		ps.Invalid(at, "count", count, "must be greater than zero")
	}
}

// validateTolerations judges values; keys, operators and effects are judged by what is declared.
func validateTolerations(ps *kind.Problems, list []resourcev1.DeviceToleration, at *field.Path) {
	for n := range list {
		switch t := &list[n]; t.Operator {
		case resourcev1.DeviceTolerationOpExists:
			if t.Value != "" {
				ps.Invalid(at.Index(n), "value", t.Value, "must be empty for the operator Exists")
			}
		case resourcev1.DeviceTolerationOpEqual:
			validateLabelValue(ps, at.Index(n), t.Value)
		}
	}
}

// validateBinding wants conditions that a device's binding waits for together with conditions that end it, and none twice.
func validateBinding(ps *kind.Problems, waitFor, failOn []string, at *field.Path) {
	waits, fails := at.Child("bindingConditions"), at.Child("bindingFailureConditions")
	if len(waitFor) > resourcev1.BindingConditionsMaxSize || len(failOn) > resourcev1.BindingFailureConditionsMaxSize {
		return // what is declared says so
	}
	validateConditionNames(ps, waitFor, waits)
	validateConditionNames(ps, failOn, fails)
	for n, name := range failOn {
		for _, other := range waitFor {
			if name == other {
				ps.Invalid(fails.Index(n), "", name, "must not be among the bindingConditions as well")
				break
			}
		}
	}
	switch {
	case len(waitFor) == 0 && len(failOn) > 0:
		ps.Invalid(waits, "", waitFor, "are required with bindingFailureConditions")
	case len(failOn) == 0 && len(waitFor) > 0:
		ps.Invalid(fails, "", failOn, "are required with bindingConditions")
	}
}
