package resource

import (
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// deviceID names a device, or a share of one.
type deviceID struct{ driver, pool, device, share string }

// allocated are the devices that a claim has.
func allocated(s *resourcev1.ResourceClaimStatus) map[deviceID]bool {
	out := map[deviceID]bool{}
	if s.Allocation == nil {
		return out
	}
	for n := range s.Allocation.Devices.Results {
		r := &s.Allocation.Devices.Results[n]
		id := deviceID{driver: r.Driver, pool: r.Pool, device: r.Device}
		if r.ShareID != nil {
			id.share = string(*r.ShareID)
		}
		out[id] = true
	}
	return out
}

func idOf(d *resourcev1.AllocatedDeviceStatus) deviceID {
	id := deviceID{driver: d.Driver, pool: d.Pool, device: d.Device}
	if d.ShareID != nil {
		id.share = *d.ShareID
	}
	return id
}

// prepareClaimStatus keeps the metadata, takes out what upstream has off by default, and the status of devices that the claim no longer has.
func prepareClaimStatus(next, old *resourcev1.ResourceClaim) {
	metav1.ResetObjectMetaForStatus(next, old)
	if a := next.Status.Allocation; a != nil && !skipsOperations(&old.Status) {
		for n := range a.Devices.Results {
			a.Devices.Results[n].SkipNodeOperations = nil
		}
	}
	has, had := allocated(&next.Status), allocated(&old.Status)
	next.Status.Devices = slices.DeleteFunc(next.Status.Devices, func(d resourcev1.AllocatedDeviceStatus) bool {
		return had[idOf(&d)] && !has[idOf(&d)]
	})
	if len(next.Status.Devices) == 0 {
		next.Status.Devices = nil
	}
}

func skipsOperations(s *resourcev1.ResourceClaimStatus) bool {
	return s.Allocation != nil && slices.ContainsFunc(s.Allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool {
		return len(r.SkipNodeOperations) > 0
	})
}

func validateClaimStatus(next, old *resourcev1.ResourceClaim) field.ErrorList {
	var ps kind.Problems
	status, before := &next.Status, &old.Status
	validateConsumers(&ps, status, before, next.DeletionTimestamp != nil)
	bounded := validateDevices(&ps, status)
	if status.Allocation != nil && before.Allocation == nil {
		validateAllocation(&ps, status.Allocation, namesOf(&next.Spec.Devices), statusPath.Child("allocation"))
	}
	if bounded { // what is declared compares each device with each other
		declared(&ps, resourcev1.Validate_ResourceClaimStatus, statusPath, status, before)
	}
	return ps.List
}

func validateConsumers(ps *kind.Problems, status, old *resourcev1.ResourceClaimStatus, deleted bool) {
	list, at := status.ReservedFor, statusPath.Child("reservedFor")
	if len(list) <= resourcev1.ResourceClaimReservedForMaxSize {
		for n, c := range list {
			ps.Needs(at.Index(n), "resource", c.Resource)
			ps.Needs(at.Index(n), "name", c.Name)
			ps.Needs(at.Index(n), "uid", string(c.UID))
		}
	}
	if len(list) == 0 {
		return
	}
	if status.Allocation == nil {
		ps.Forbidden(at, "", "may not be set without an allocation")
		return
	}
	if !deleted {
		return
	}
	known := make(map[resourcev1.ResourceClaimConsumerReference]bool, len(old.ReservedFor))
	for _, c := range old.ReservedFor {
		known[c] = true
	}
	if slices.ContainsFunc(list, func(c resourcev1.ResourceClaimConsumerReference) bool { return !known[c] }) {
		ps.Forbidden(at, "", "a claim that is being deleted takes no new consumers")
	}
}

// validateDevices judges what drivers say of devices. It tells whether the lists are as short as valid ones are: each device is one
// that is allocated, and there are few of those.
func validateDevices(ps *kind.Problems, status *resourcev1.ResourceClaimStatus) (bounded bool) {
	has, at := allocated(status), statusPath.Child("devices")
	bounded = len(status.Devices) <= resourcev1.AllocationResultsMaxSize
	if !bounded {
		duplicates(ps, at, len(status.Devices), func(n int) deviceID { return idOf(&status.Devices[n]) })
	}
	for n := range status.Devices {
		d, here := &status.Devices[n], at.Index(n)
		validateDriver(ps, here, "driver", d.Driver)
		validatePool(ps, here, "pool", d.Pool)
		ps.Label(here, "device", d.Device)
		if !has[idOf(d)] {
			ps.Invalid(here, "", idOf(d), "must be a device that is allocated to the claim")
		}
		if len(d.Conditions) > resourcev1.AllocatedDeviceStatusMaxConditions {
			ps.TooMany(here, "conditions", len(d.Conditions), resourcev1.AllocatedDeviceStatusMaxConditions)
			bounded = false
		}
		ps.Add(metav1validation.ValidateConditions(d.Conditions, here.Child("conditions")))
		if d.Data != nil && len(d.Data.Raw) > 0 {
			validateObject(ps, here, "data", d.Data.Raw, false, resourcev1.AllocatedDeviceStatusDataMaxLength)
		}
		if d.NetworkData == nil || len(d.NetworkData.IPs) > resourcev1.NetworkDeviceDataMaxIPs {
			continue
		}
		for m, address := range d.NetworkData.IPs {
			ps.Add(validation.IsValidInterfaceAddress(here.Child("networkData", "ips").Index(m), address))
		}
	}
	return bounded
}

// validateAllocation judges a new allocation; one that is there stays as it is.
func validateAllocation(ps *kind.Problems, a *resourcev1.AllocationResult, names requestNames, path *field.Path) {
	at := path.Child("devices")
	if results := a.Devices.Results; len(results) <= resourcev1.AllocationResultsMaxSize {
		for n := range results {
			r, here := &results[n], at.Child("results").Index(n)
			names.validate(ps, r.Request, here.Child("request"))
			ps.Label(here, "device", r.Device)
			validateBinding(ps, r.BindingConditions, r.BindingFailureConditions, here)
			validateTolerations(ps, r.Tolerations, here.Child("tolerations"))
		}
	}
	if config := a.Devices.Config; len(config) <= 2*resourcev1.DeviceConfigMaxSize { // the class's and the claim's
		for n := range config {
			here := at.Child("config").Index(n)
			names.validateAll(ps, config[n].Requests, here.Child("requests"))
			validateConfiguration(ps, &config[n].DeviceConfiguration, here, false)
		}
	}
	if a.NodeSelector != nil {
		ps.Add(podspec.ValidateNodeSelector(a.NodeSelector, false, path.Child("nodeSelector")))
	}
}
