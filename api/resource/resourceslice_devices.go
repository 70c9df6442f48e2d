package resource

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// validateSliceStays keeps what a slice is part of.
func validateSliceStays(ps *kind.Problems, next, old *resourcev1.ResourceSliceSpec) {
	ps.Add(apivalidation.ValidateImmutableField(next.Pool.Name, old.Pool.Name, specPath.Child("pool", "name")))
	ps.Add(apivalidation.ValidateImmutableField(next.Driver, old.Driver, specPath.Child("driver")))
	ps.Add(apivalidation.ValidateImmutableField(next.NodeName, old.NodeName, specPath.Child("nodeName")))
}

// nodes say which nodes have a device; exactly one of the fields does.
type nodes struct {
	name     *string
	selector *corev1.NodeSelector
	all      *bool
}

// validate judges each field, and gives the names of those that are set.
func (n *nodes) validate(ps *kind.Problems, at *field.Path) (set []string) {
	if n.name != nil {
		if *n.name == "" {
			ps.Invalid(at, "nodeName", *n.name, "must not be empty")
		} else {
			set = append(set, "`nodeName`")
			ps.Messages(at, "nodeName", *n.name, apivalidation.NameIsDNSSubdomain(*n.name, false))
		}
	}
	if n.selector != nil {
		set = append(set, "`nodeSelector`")
		ps.Add(podspec.ValidateNodeSelector(n.selector, false, at.Child("nodeSelector")))
	}
	return onlyTrue(ps, set, n.all, at, "allNodes")
}

// onlyTrue wants a flag to be true where it is set.
func onlyTrue(ps *kind.Problems, set []string, flag *bool, at *field.Path, name string) []string {
	switch {
	case flag == nil:
	case *flag:
		set = append(set, "`"+name+"`")
	default:
		ps.Invalid(at, name, false, "must be true or not set")
	}
	return set
}

// validateSliceNodes wants the slice to say which nodes have its devices, in exactly one way.
func validateSliceNodes(ps *kind.Problems, s *resourcev1.ResourceSliceSpec) {
	has := nodes{s.NodeName, s.NodeSelector, s.AllNodes}
	set := has.validate(ps, specPath)
	if s.NodeSelector != nil && len(s.NodeSelector.NodeSelectorTerms) != 1 {
		ps.Invalid(specPath.Child("nodeSelector"), "nodeSelectorTerms", omitted, "must have exactly one term")
	}
	set = onlyTrue(ps, set, s.PerDeviceNodeSelection, specPath, "perDeviceNodeSelection")
	exactlyOne(ps, set, specPath, "exactly one of `nodeName`, `nodeSelector`, `allNodes` and `perDeviceNodeSelection` is required")
}

func exactlyOne(ps *kind.Problems, set []string, at *field.Path, rule string) {
	switch len(set) {
	case 0:
		ps.Required(at, "", rule)
	case 1:
	default:
		ps.Invalid(at, "", "{"+strings.Join(set, ", ")+"}", rule)
	}
}

// validateSliceDevices tells whether there are as few devices as a slice may have; more are not looked at.
func validateSliceDevices(ps *kind.Problems, s, old *resourcev1.ResourceSliceSpec) (bounded bool) {
	at, most := specPath.Child("devices"), resourcev1.ResourceSliceMaxDevices
	if anyDevice(s, costly) {
		most = resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
	}
	if len(s.Devices) > most {
		ps.TooMany(at, "", len(s.Devices), most)
		return false
	}
	before := map[string]*resourcev1.Device{}
	if old != nil {
		for n := range slices.Backward(old.Devices) { // the first of a name counts
			before[old.Devices[n].Name] = &old.Devices[n]
		}
	}
	perDevice := s.PerDeviceNodeSelection != nil && *s.PerDeviceNodeSelection
	for n := range s.Devices {
		d := &s.Devices[n]
		validateDevice(ps, d, before[d.Name], at.Index(n))
		validateDeviceNodes(ps, d, perDevice, at.Index(n))
	}
	duplicates(ps, at, len(s.Devices), func(n int) string { return s.Devices[n].Name })
	return true
}

// costly devices are those of which a slice has half as many.
func costly(d *resourcev1.Device) bool {
	if len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 {
		return true
	}
	for _, a := range d.Attributes {
		if isList(a) {
			return true
		}
	}
	return false
}

// validateDevice judges a device. Capacity and taints that it had before have been judged then.
func validateDevice(ps *kind.Problems, d, old *resourcev1.Device, at *field.Path) {
	ps.Label(at, "name", d.Name)
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		ps.Invalid(at, "", n, fmt.Sprintf("may have %d attributes and capacities together", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice))
	}
	values := 0
	attributes := at.Child("attributes")
	for _, name := range slices.Sorted(maps.Keys(d.Attributes)) {
		a := d.Attributes[name]
		values += max(1, len(a.BoolValues)+len(a.IntValues)+len(a.StringValues)+len(a.VersionValues))
		validateQualified(ps, attributes, string(name))
		validateAttribute(ps, &a, attributes.Key(truncate(string(name))))
	}
	if values > resourcev1.ResourceSliceMaxAttributeValuesPerDevice {
		ps.Invalid(at, "", values, fmt.Sprintf("may have %d values of attributes", resourcev1.ResourceSliceMaxAttributeValuesPerDevice))
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Capacity, d.Capacity) {
		validateCapacities(ps, d, at.Child("capacity"))
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Taints, d.Taints) {
		taints := at.Child("taints")
		if len(d.Taints) > resourcev1.DeviceTaintsMaxLength {
			ps.TooMany(taints, "", len(d.Taints), resourcev1.DeviceTaintsMaxLength)
		} else {
			for n := range d.Taints {
				validateTaint(ps, &d.Taints[n], taints.Index(n))
			}
		}
	}
	if uses := d.ConsumesCounters; len(uses) <= resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice {
		for n := range uses {
			tooManyCounters(ps, uses[n].Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, at.Child("consumesCounters").Index(n))
		}
	}
	validateBinding(ps, d.BindingConditions, d.BindingFailureConditions, at)
}

func tooManyCounters(ps *kind.Problems, counters map[string]resourcev1.Counter, most int, at *field.Path) {
	if len(counters) > most {
		ps.TooMany(at, "counters", len(counters), most)
	}
}

// validateDeviceNodes wants a device to say which nodes have it if the slice leaves that to its devices, and else not.
func validateDeviceNodes(ps *kind.Problems, d *resourcev1.Device, perDevice bool, at *field.Path) {
	has := nodes{d.NodeName, d.NodeSelector, d.AllNodes}
	switch {
	case perDevice:
		set := has.validate(ps, at)
		exactlyOne(ps, set, at, "exactly one of `nodeName`, `nodeSelector` and `allNodes` is required with `perDeviceNodeSelection` in the slice")
	case has != nodes{}:
		ps.Invalid(at, "", omitted, "`nodeName`, `nodeSelector` and `allNodes` may be set only with `perDeviceNodeSelection` in the slice")
	}
}

// Versions as of semver.org 2.0.0.
var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

// readMax bounds how long a version may be to be compared with the form of versions, which takes longer than to see that it is too long.
const readMax = 4 << 10

// validateAttribute judges the value; that there is exactly one is declared.
func validateAttribute(ps *kind.Problems, a *resourcev1.DeviceAttribute, at *field.Path) {
	if a.StringValue != nil {
		validateText(ps, *a.StringValue, at.Child("string"))
	}
	if a.VersionValue != nil {
		validateVersion(ps, *a.VersionValue, at.Child("version"))
	}
	for _, list := range []struct {
		name  string
		given bool
		n     int
	}{
		{"bools", a.BoolValues != nil, len(a.BoolValues)}, {"ints", a.IntValues != nil, len(a.IntValues)},
		{"strings", a.StringValues != nil, len(a.StringValues)}, {"versions", a.VersionValues != nil, len(a.VersionValues)},
	} {
		if list.given && list.n == 0 {
			ps.Invalid(at, list.name, "[]", "must not be empty if set")
		}
	}
	for n, value := range a.StringValues {
		validateText(ps, value, at.Child("strings").Index(n))
	}
	for n, value := range a.VersionValues {
		validateVersion(ps, value, at.Child("versions").Index(n))
	}
}

func validateText(ps *kind.Problems, value string, at *field.Path) {
	if len(value) > resourcev1.DeviceAttributeMaxValueLength {
		ps.TooLong(at, "", resourcev1.DeviceAttributeMaxValueLength)
	}
}

func validateVersion(ps *kind.Problems, value string, at *field.Path) {
	if len(value) > readMax || !semantic.MatchString(value) {
		ps.Invalid(at, "", value, "must be a version as of semver.org 2.0.0")
	}
	validateText(ps, value, at)
}

// validateConditionNames wants names of labels, none of them twice.
func validateConditionNames(ps *kind.Problems, list []string, at *field.Path) {
	for n, name := range list {
		ps.Add(metav1validation.ValidateLabelName(name, at.Index(n)))
	}
	duplicates(ps, at, len(list), func(n int) string { return list[n] })
}
