package resource

import (
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ResourceSlice is the kind of parts of what a driver offers: devices, or counters that devices share.
var ResourceSlice = kind.Define(kind.Resource{
	GroupVersion: resourcev1.SchemeGroupVersion, Plural: "resourceslices", List: kind.ListOf[resourcev1.ResourceSliceList],
	HasGeneration: true, DeleteReturnsObject: true,
}, kind.Rules[resourcev1.ResourceSlice]{
	Default: func(s *resourcev1.ResourceSlice) {
		for n := range s.Spec.Devices {
			for m := range s.Spec.Devices[n].Taints {
				defaultTaint(&s.Spec.Devices[n].Taints[m])
			}
		}
	},
	Prepare:  dropSlice,
	Validate: validateSlice,
	Warnings: warnSlice,
	Fields: []kind.Field[resourcev1.ResourceSlice]{
		{Name: resourcev1.ResourceSliceSelectorNodeName, Value: sliceNode, Indexed: true},
		{Name: resourcev1.ResourceSliceSelectorDriver, Value: func(s *resourcev1.ResourceSlice) string { return s.Spec.Driver }},
		{Name: resourcev1.ResourceSliceSelectorPoolName, Value: func(s *resourcev1.ResourceSlice) string { return s.Spec.Pool.Name }},
	},
	Columns: kind.Columns([]kind.Column[resourcev1.ResourceSlice]{
		kind.Text("Node", kind.Doc(resourcev1.ResourceSliceSpec{}, "nodeName"), sliceNode),
		kind.Text("Driver", kind.Doc(resourcev1.ResourceSliceSpec{}, "driver"), func(s *resourcev1.ResourceSlice) string { return s.Spec.Driver }),
		kind.Text("Pool", kind.Doc(resourcev1.ResourcePool{}, "name"), func(s *resourcev1.ResourceSlice) string { return s.Spec.Pool.Name }),
	}),
})

func sliceNode(s *resourcev1.ResourceSlice) string {
	if s.Spec.NodeName == nil {
		return ""
	}
	return *s.Spec.NodeName
}

func warnSlice(s, _ *resourcev1.ResourceSlice) []string {
	if s.Spec.Driver == strings.ToLower(s.Spec.Driver) {
		return nil
	}
	return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", s.Spec.Driver)}
}

// offByDefault are the fields that upstream has off by default: whether a device uses one, and how it is taken out of it.
var offByDefault = []struct {
	used func(*resourcev1.Device) bool
	drop func(*resourcev1.Device)
}{
	{
		func(d *resourcev1.Device) bool { return len(d.NodeAllocatableResources) > 0 },
		func(d *resourcev1.Device) { d.NodeAllocatableResources = nil },
	},
	{
		func(d *resourcev1.Device) bool {
			for n := range d.ConsumesCounters {
				if len(d.ConsumesCounters[n].CompatibilityGroups) > 0 {
					return true
				}
			}
			return false
		},
		func(d *resourcev1.Device) {
			for n := range d.ConsumesCounters {
				d.ConsumesCounters[n].CompatibilityGroups = nil
			}
		},
	},
	{
		func(d *resourcev1.Device) bool {
			for _, a := range d.Attributes {
				if isList(a) {
					return true
				}
			}
			return false
		},
		func(d *resourcev1.Device) {
			for name, a := range d.Attributes {
				if isList(a) {
					a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
					d.Attributes[name] = a
				}
			}
		},
	},
}

// isList tells whether an attribute has a list, be it an empty one.
func isList(a resourcev1.DeviceAttribute) bool {
	return a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil
}

// dropSlice takes out what is off by default, unless the slice had it before.
func dropSlice(next, old *resourcev1.ResourceSlice) {
	if old == nil || old.Spec.PartitionTypeAttribute == nil {
		next.Spec.PartitionTypeAttribute = nil
	}
	if old == nil || len(old.Spec.SkipNodeOperations) == 0 {
		next.Spec.SkipNodeOperations = nil
	}
	for _, off := range offByDefault {
		if old != nil && anyDevice(&old.Spec, off.used) {
			continue
		}
		for n := range next.Spec.Devices {
			off.drop(&next.Spec.Devices[n])
		}
	}
}

func anyDevice(s *resourcev1.ResourceSliceSpec, f func(*resourcev1.Device) bool) bool {
	for n := range s.Devices {
		if f(&s.Devices[n]) {
			return true
		}
	}
	return false
}

// validateSlice judges a slice. Devices are few, so that each may be looked for among the old ones.
func validateSlice(next, old *resourcev1.ResourceSlice) field.ErrorList {
	var ps kind.Problems
	s := &next.Spec
	validateDriver(&ps, specPath, "driver", s.Driver)
	pool := specPath.Child("pool")
	validatePool(&ps, pool, "name", s.Pool.Name)
	if n := s.Pool.ResourceSliceCount; n <= 0 {
		ps.Invalid(pool, "resourceSliceCount", n, "must be greater than zero")
	}
	ps.NotNegative(pool, "generation", s.Pool.Generation)
	var before *resourcev1.ResourceSliceSpec
	if old != nil {
		before = &old.Spec
		validateSliceStays(&ps, s, before)
	}
	validateSliceNodes(&ps, s)
	if s.SharedCounters != nil && s.Devices != nil {
		ps.Invalid(specPath, "", "", "only one of `sharedCounters` and `devices` may be set")
	}
	bounded := validateSliceDevices(&ps, s, before)
	if sets := s.SharedCounters; len(sets) <= resourcev1.ResourceSliceMaxCounterSets {
		for n := range sets {
			tooManyCounters(&ps, sets[n].Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet, specPath.Child("sharedCounters").Index(n))
		}
	}
	if bounded {
		declared(&ps, resourcev1.Validate_ResourceSliceSpec, specPath, s, before)
	}
	return ps.List
}
