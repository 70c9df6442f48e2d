package resource

import (
	"fmt"
	"strings"
	"testing"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func claim(t *testing.T, devices string) *resourcev1.ResourceClaim {
	t.Helper()
	return parse(t, ResourceClaim, "{metadata: {name: c, namespace: n}, spec: {devices: {"+devices+"}}}").(*resourcev1.ResourceClaim)
}

const two = "requests: [{name: a, exactly: {deviceClassName: c}}, {name: b, firstAvailable: [{name: s, deviceClassName: c}]}]"

func TestClaims(t *testing.T) {
	exactly := func(text string) string { return "requests: [{name: a, exactly: {deviceClassName: c, " + text + "}}]" }
	const request = "spec.devices.requests[0]"
	for text, want := range map[string]string{
		two:                     "",
		"requests: [{name: a}]": request + " Required",
		"requests: [{name: a, exactly: {deviceClassName: c}, firstAvailable: [{name: s, deviceClassName: c}]}]": request + " Invalid",
		exactly("allocationMode: All, count: 1"):                       request + ".exactly.count Invalid",
		exactly("allocationMode: Other"):                               request + ".exactly.allocationMode NotSupported",
		exactly("count: -1"):                                           request + ".exactly.count Invalid",
		exactly("tolerations: [{key: k, operator: Exists, value: v}]"): request + ".exactly.tolerations[0].value Invalid",
		exactly("tolerations: [{key: k, value: 'a b'}]"):               request + ".exactly.tolerations[0].value Invalid",
		exactly("tolerations: [{key: '!', operator: Other, effect: Odd}]"): request + ".exactly.tolerations[0].key Invalid, " +
			request + ".exactly.tolerations[0].operator NotSupported, " + request + ".exactly.tolerations[0].effect NotSupported",
		exactly("derivedAttributes: [{name: x, expression: y}]"):                      "", // off, and taken out
		two + ", constraints: [{requests: [a, b/s], matchAttribute: e.com/x}]":        "",
		two + ", constraints: [{requests: [a/s]}]":                                    "spec.devices.constraints[0].requests[0] Invalid, spec.devices.constraints[0] Required",
		two + ", constraints: [{requests: [a/b/c], matchAttribute: x}]":               "spec.devices.constraints[0].requests[0] Invalid, spec.devices.constraints[0].matchAttribute Invalid",
		two + ", config: [{requests: [a, a], opaque: {driver: d.e, parameters: {}}}]": "spec.devices.config[0].requests[1] Duplicate",
		two + ", config: [{}]": "spec.devices.config[0].opaque Required",
	} {
		expect(t, text, ResourceClaim.Validate(claim(t, text)), want)
	}
	old := claim(t, two)
	next := kind.Copy(old)
	next.Spec.Devices.Requests = nil
	expect(t, "a change", ResourceClaim.ValidateUpdate(next, old), "spec Invalid")
	template := parse(t, ResourceClaimTemplate, "{metadata: {name: t}, spec: {metadata: {name: x, finalizers: [a/b], labels: {'a b': c}}, spec: {devices: {"+two+"}}}}")
	expect(t, "a template", ResourceClaimTemplate.Validate(template), "spec.metadata.labels Invalid, spec.metadata.name Forbidden, spec.metadata.finalizers Forbidden")
}

const share = "11111111-2222-3333-4444-555555555555"

func result(device string, shareID *types.UID) resourcev1.DeviceRequestAllocationResult {
	return resourcev1.DeviceRequestAllocationResult{Request: "a", Driver: "d.e", Pool: "p", Device: device, ShareID: shareID}
}

func TestAllocations(t *testing.T) {
	old := claim(t, two)
	id, odd := types.UID(share), types.UID("ABC")
	other := result("x", nil)
	other.Request = "nope"
	for name, c := range map[string]struct {
		edit func(s *resourcev1.ResourceClaimStatus)
		want string
	}{
		"none": {func(*resourcev1.ResourceClaimStatus) {}, ""},
		"share": {func(s *resourcev1.ResourceClaimStatus) {
			s.Allocation.Devices.Results = append(s.Allocation.Devices.Results, result("x", &id))
		}, ""},
		"odd share": {func(s *resourcev1.ResourceClaimStatus) {
			s.Allocation.Devices.Results = append(s.Allocation.Devices.Results, result("x", &odd))
		}, "status.allocation.devices.results[1].shareID Invalid"},
		"other request": {func(s *resourcev1.ResourceClaimStatus) {
			s.Allocation.Devices.Results = append(s.Allocation.Devices.Results, other)
		}, "status.allocation.devices.results[1].request Invalid"},
		"config of nobody": {func(s *resourcev1.ResourceClaimStatus) {
			s.Allocation.Devices.Config = []resourcev1.DeviceAllocationConfiguration{{}}
		}, "status.allocation.devices.config[0].opaque Required, status.allocation.devices.config[0].source Required"},
		"a consumer": {func(s *resourcev1.ResourceClaimStatus) {
			s.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: "1"}}
		}, ""},
		"half a consumer": {func(s *resourcev1.ResourceClaimStatus) {
			s.ReservedFor = make([]resourcev1.ResourceClaimConsumerReference, 1)
		}, "status.reservedFor[0].resource Required, status.reservedFor[0].name Required, status.reservedFor[0].uid Required"},
		"too many": {func(s *resourcev1.ResourceClaimStatus) {
			s.ReservedFor = make([]resourcev1.ResourceClaimConsumerReference, 257)
		}, "status.reservedFor TooMany"},
		"device of nobody": {func(s *resourcev1.ResourceClaimStatus) {
			s.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d.e", Pool: "p", Device: "other"}}
		}, "status.devices[0] Invalid"},
		"device": {func(s *resourcev1.ResourceClaimStatus) {
			s.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d.e", Pool: "p", Device: "dev"}}
		}, ""},
		"device twice": {func(s *resourcev1.ResourceClaimStatus) {
			s.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d.e", Pool: "p", Device: "dev"}, {Driver: "d.e", Pool: "p", Device: "dev"}}
		}, "status.devices[1] Duplicate"},
		"addresses": {func(s *resourcev1.ResourceClaimStatus) {
			s.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d.e", Pool: "p", Device: "dev", NetworkData: &resourcev1.NetworkDeviceData{IPs: []string{"10.0.0.1/8", "x"}}}}
		}, "status.devices[0].networkData.ips[1] Invalid"},
		"reserved too soon": {func(s *resourcev1.ResourceClaimStatus) {
			s.Allocation = nil
			s.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: "1"}}
		}, "status.reservedFor Forbidden"},
	} {
		next := kind.Copy(old)
		next.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{result("dev", nil)}}}
		c.edit(&next.Status)
		expect(t, name, validateClaimStatus(next, old), c.want)
	}
}

func TestAllocationStays(t *testing.T) {
	old := claim(t, two)
	old.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{result("!stored before!", nil)}}}
	old.Status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d.e", Pool: "p", Device: "!stored before!"}}
	next := kind.Copy(old)
	next.Status.Allocation.Devices.Results[0].Device = "other"
	next.Status.Devices = nil
	expect(t, "a change", validateClaimStatus(next, old), "status.allocation Invalid")

	freed := kind.Copy(old)
	freed.Status.Allocation, freed.Labels = nil, map[string]string{"a": "b"}
	prepareClaimStatus(freed, old)
	if freed.Status.Devices != nil || freed.Labels != nil {
		t.Errorf("after the claim has lost its devices their status is %v, and its labels %v", freed.Status.Devices, freed.Labels)
	}
	expect(t, "freed", validateClaimStatus(freed, old), "")

	now := metav1.Now()
	leaving := kind.Copy(old)
	leaving.DeletionTimestamp, leaving.Status.Devices = &now, nil
	leaving.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: "1"}}
	expect(t, "a new consumer of what goes", validateClaimStatus(leaving, old), "status.reservedFor Forbidden")
}

// TestManyDevices: what is compared each with each would take minutes.
func TestManyDevices(t *testing.T) {
	old := claim(t, two)
	next := kind.Copy(old)
	next.Status.Devices = make([]resourcev1.AllocatedDeviceStatus, 50000)
	for n := range next.Status.Devices {
		next.Status.Devices[n] = resourcev1.AllocatedDeviceStatus{Driver: "d.e", Pool: "p", Device: fmt.Sprint("d", n/2)}
	}
	begin := time.Now()
	got := complaints(validateClaimStatus(next, old))
	if !strings.Contains(got, "status.devices[1] Duplicate") || !strings.Contains(got, "status.devices[49998] Invalid") {
		t.Error("devices that are not allocated, or stand twice, are accepted")
	}
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("it takes %v", d)
	}
}
