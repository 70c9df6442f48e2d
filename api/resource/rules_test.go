package resource

import (
	"fmt"
	"strings"
	"testing"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// complaints are the set of "field reason" in the order in which they come first.
func complaints(errs field.ErrorList) string {
	var list []string
	seen := map[string]bool{}
	for _, e := range errs {
		text := fmt.Sprintf("%s %s", e.Field, strings.TrimPrefix(string(e.Type), "FieldValue"))
		if !seen[text] {
			list = append(list, text)
		}
		seen[text] = true
	}
	return strings.Join(list, ", ")
}

func expect(t *testing.T, what string, errs field.ErrorList, want string) {
	t.Helper()
	if got := complaints(errs); got != want {
		t.Errorf("%s: complaints %q, want %q", what, got, want)
	}
}

// parse reads an object and gives it its defaults.
func parse(t *testing.T, k *kind.Kind, text string) kind.Object {
	t.Helper()
	o := k.New()
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	k.Default(o)
	k.PrepareCreate(o)
	return o
}

func sliceOf(t *testing.T, devices string) *resourcev1.ResourceSlice {
	t.Helper()
	return parse(t, ResourceSlice, "{metadata: {name: s}, spec: {driver: d.example.com, pool: {name: p, resourceSliceCount: 1}, allNodes: true, "+devices+"}}").(*resourcev1.ResourceSlice)
}

func TestSlices(t *testing.T) {
	many := func(n int, device string) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(device, i))
		}
		return "devices: [" + strings.Join(list, ", ") + "]"
	}
	policy := func(text string) string {
		return "devices: [{name: a, allowMultipleAllocations: true, capacity: {c: {value: 10, requestPolicy: " + text + "}}}]"
	}
	const at, capacity = "spec.devices[0]", "spec.devices[0].capacity[c].requestPolicy"
	for text, want := range map[string]string{
		"devices: [{name: a}]":   "",
		many(128, "{name: d%d}"): "",
		many(129, "{name: d%d}"): "spec.devices TooMany",
		many(64, "{name: d%d, taints: [{key: k, effect: NoExecute}]}"):                                 "",
		many(65, "{name: d%d, taints: [{key: k, effect: NoExecute}]}"):                                 "spec.devices TooMany",
		"devices: [{name: a}, {name: a}]":                                                              "spec.devices[1] Duplicate",
		"devices: [{name: a}], sharedCounters: []":                                                     "spec Invalid",
		"sharedCounters: [{name: c}]":                                                                  "spec.sharedCounters[0].counters Required",
		"sharedCounters: [{name: c, counters: {m: {value: 1}}}, {name: c, counters: {m: {value: 1}}}]": "spec.sharedCounters[1] Duplicate",
		"devices: [{name: a, nodeName: n}]":                                                            at + " Invalid",
		"devices: [{name: a, attributes: {a: {}}}]":                                                    at + ".attributes[a] Invalid",
		"devices: [{name: a, attributes: {a: {int: 1, bool: true}}}]":                                  at + ".attributes[a] Invalid",
		"devices: [{name: a, attributes: {a: {ints: [1]}}}]":                                           at + ".attributes[a] Invalid", // lists are off, and taken out
		"devices: [{name: a, attributes: {a-b: {int: 1}}}]":                                            at + ".attributes Invalid",
		"devices: [{name: a, attributes: {/b: {int: 1}}}]":                                             at + ".attributes Invalid",
		"devices: [{name: a, attributes: {e.com/: {int: 1}}}]":                                         at + ".attributes Invalid",
		"devices: [{name: a, attributes: {a/b/c: {int: 1}}}]":                                          "",
		"devices: [{name: a, attributes: {v: {version: 1.0}}}]":                                        at + ".attributes[v].version Invalid",
		"devices: [{name: a, attributes: {v: {version: 1.0.0-rc.1+b}}}]":                               "",
		"devices: [{name: a, attributes: {v: {version: " + strings.Repeat("1", 5000) + "}}}]":          at + ".attributes[v].version Invalid, " + at + ".attributes[v].version TooLong",
		"devices: [{name: a, bindingConditions: [c]}]":                                                 at + ".bindingFailureConditions Invalid",
		"devices: [{name: a, bindingConditions: [c], bindingFailureConditions: [c]}]":                  at + ".bindingFailureConditions[0] Invalid",
		"devices: [{name: a, bindingConditions: [c, c], bindingFailureConditions: [d]}]":               at + ".bindingConditions[1] Duplicate",
		"devices: [{name: a, bindingConditions: [a, b, c, d, e], bindingFailureConditions: [x]}]":      at + ".bindingConditions TooMany",
		"devices: [{name: a, consumesCounters: [{counterSet: C, counters: {m: {value: 1}}}]}]":         at + ".consumesCounters[0].counterSet Invalid",
		"devices: [{name: a, capacity: {c: {value: 1, requestPolicy: {default: 1}}}}]":                 capacity + " Forbidden",
		policy("{default: 2, validValues: [1, 2]}"):                                                    "",
		policy("{default: 3, validValues: [1, 2]}"):                                                    capacity + ".validValues Invalid",
		policy("{default: 1, validValues: [2, 1]}"):                                                    capacity + ".validValues[1] Invalid",
		policy("{default: 1, validValues: [1, 1]}"):                                                    capacity + ".validValues[1] Duplicate",
		policy("{default: 1, validValues: [1, 11]}"):                                                   capacity + ".validValues[1] Invalid",
		policy("{validValues: [1]}"):                                                                   capacity + ".default Required",
		policy("{default: 1, validValues: [1], validRange: {min: 1}}"):                                 capacity + " Forbidden",
		policy("{default: 1, validRange: {}}"):                                                         capacity + ".validRange.min Required",
		policy("{default: 4, validRange: {min: 2, max: 8, step: 2}}"):                                  "",
		policy("{default: 5, validRange: {min: 2, max: 8, step: 2}}"):                                  capacity + ".validRange.step Invalid",
		policy("{default: 4, validRange: {min: 2, max: 9, step: 2}}"):                                  capacity + ".validRange.step Invalid",
		policy("{default: 4, validRange: {min: 2, step: 0}}"):                                          capacity + ".validRange.step Invalid",
		// 2^64, which as a 64-bit number is 0: a step that must not divide.
		policy("{default: 4, validRange: {min: 2, step: 18446744073709551616}}"): capacity + ".validRange.step Invalid",
		policy("{default: 1, validRange: {min: 2, max: 1}}"):                     capacity + ".validRange.default Invalid, " + capacity + ".validRange.max Invalid",
		policy("{default: 1, validRange: {min: -1, step: 1}}"):                   capacity + ".validRange.min Invalid",
	} {
		expect(t, text, ResourceSlice.Validate(sliceOf(t, text)), want)
	}
}

func TestSliceNodes(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "spec Required",
		"nodeName: n":                           "",
		"nodeName: ''":                          "spec.nodeName Invalid, spec Required",
		"allNodes: false":                       "spec.allNodes Invalid, spec Required",
		"nodeName: n, allNodes: true":           "spec Invalid",
		"nodeSelector: {nodeSelectorTerms: []}": "spec.nodeSelector.nodeSelectorTerms Required, spec.nodeSelector.nodeSelectorTerms Invalid",
		"perDeviceNodeSelection: true, devices: [{name: a, allNodes: true}]":              "",
		"perDeviceNodeSelection: true, devices: [{name: a}]":                              "spec.devices[0] Required",
		"perDeviceNodeSelection: true, devices: [{name: a, allNodes: true, nodeName: n}]": "spec.devices[0] Invalid",
		"perDeviceNodeSelection: true, devices: [{name: a, nodeName: ''}]":                "spec.devices[0].nodeName Invalid, spec.devices[0] Required",
	} {
		if text != "" {
			text = ", " + text
		}
		s := parse(t, ResourceSlice, "{metadata: {name: s}, spec: {driver: d.example.com, pool: {name: a/b, resourceSliceCount: 1}"+text+"}}")
		expect(t, text, ResourceSlice.Validate(s), want)
	}
}

// TestSliceUpdates: what was stored before a rule was there may stay.
func TestSliceUpdates(t *testing.T) {
	old := sliceOf(t, "devices: [{name: a, capacity: {a-b: {value: 1}}, taints: [{key: '!', effect: Odd}]}]")
	next := kind.Copy(old)
	next.Labels = map[string]string{"a": "b"}
	expect(t, "a label", ResourceSlice.ValidateUpdate(next, old), "")
	next.Spec.Devices[0].Taints[0].Value = "x"
	expect(t, "a taint", ResourceSlice.ValidateUpdate(next, old), "spec.devices[0].taints[0].key Invalid, spec.devices[0].taints[0].effect NotSupported")
	moved := kind.Copy(old)
	node := "n"
	moved.Spec.Driver, moved.Spec.Pool.Name, moved.Spec.NodeName, moved.Spec.AllNodes = "e.example.com", "q", &node, nil
	expect(t, "moved", ResourceSlice.ValidateUpdate(moved, old), "spec.pool.name Invalid, spec.driver Invalid, spec.nodeName Invalid")

	// Fields that are off stay if they were there.
	listed := sliceOf(t, "devices: [{name: a}]")
	listed.Spec.Devices[0].Attributes = map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"a": {IntValues: []int64{1}}}
	again := kind.Copy(listed)
	ResourceSlice.PrepareUpdate(again, listed)
	expect(t, "a list", ResourceSlice.ValidateUpdate(again, listed), "")
	if again.Spec.Devices[0].Attributes["a"].IntValues == nil {
		t.Error("an update loses what was stored")
	}
	if w := ResourceSlice.Warnings(&resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{Driver: "D.example.com"}}, nil); len(w) != 1 {
		t.Errorf("warnings %q", w)
	}
}

func TestClasses(t *testing.T) {
	const expression = "spec.selectors[0].cel.expression"
	class := func(text string) *resourcev1.DeviceClass {
		return parse(t, DeviceClass, "{metadata: {name: c}, spec: {"+text+"}}").(*resourcev1.DeviceClass)
	}
	for text, want := range map[string]string{
		"": "",
		"selectors: [{cel: {expression: 'device.driver == \"a\"'}}]": "",
		"selectors: [{cel: {expression: '1 +'}}]":                    expression + " Invalid",
		"selectors: [{cel: {expression: '1'}}]":                      expression + " Invalid",
		"selectors: [{cel: {expression: ''}}]":                       expression + " Invalid",
		"selectors: [{}]":                                            "spec.selectors[0].cel Required",
		"selectors: [{cel: {expression: '" + strings.Repeat("a", resourcev1.CELSelectorExpressionMaxLength+1) + "'}}]": expression + " TooLong",
		"config: [{opaque: {driver: a.b, parameters: {a: 1}}}]":                                                        "",
		"config: [{opaque: {driver: a.b, parameters: [1]}}]":                                                           "spec.config[0].opaque.parameters Invalid",
		"config: [{opaque: {driver: a.b, parameters: null}}]":                                                          "spec.config[0].opaque.parameters Required",
		"config: [{opaque: {driver: '', parameters: {}}}]":                                                             "spec.config[0].opaque.driver Required",
		"extendedResourceName: cpu":                                                                                    "spec.extendedResourceName Invalid",
		"extendedResourceName: example.com/gpu":                                                                        "",
	} {
		expect(t, text, DeviceClass.Validate(class(text)), want)
	}
	nested := "true"
	for n := range 5 {
		nested = fmt.Sprintf(`device.attributes["a.b"].all(x%d, %s)`, n, nested)
	}
	costly := class("selectors: [{cel: {expression: '" + nested + "'}}]")
	expect(t, "an expression that may become expensive", DeviceClass.Validate(costly), expression+" Forbidden")
	// What is stored is not compiled again.
	next := kind.Copy(costly)
	next.Labels = map[string]string{"a": "b"}
	expect(t, "stored", DeviceClass.ValidateUpdate(next, costly), "")
}

func TestTaintRules(t *testing.T) {
	old := parse(t, DeviceTaintRule, "{metadata: {name: r}, spec: {taint: {key: a, effect: NoSchedule, timeAdded: 2020-01-01T00:00:00Z}}}").(*resourcev1.DeviceTaintRule)
	expect(t, "valid", DeviceTaintRule.Validate(old), "")
	next := kind.Copy(old)
	next.Spec.Taint.Effect = "NoExecute"
	DeviceTaintRule.PrepareUpdate(next, old)
	if next.Spec.Taint.TimeAdded.Equal(old.Spec.Taint.TimeAdded) {
		t.Error("another effect counts from the time of the old one")
	}
	told := metav1.NewTime(time.Unix(5000, 0))
	next.Spec.Taint.TimeAdded = &told
	DeviceTaintRule.PrepareUpdate(next, old)
	if !next.Spec.Taint.TimeAdded.Equal(&told) {
		t.Error("the time that is given is not kept")
	}
	bad := parse(t, DeviceTaintRule, "{metadata: {name: r}, spec: {deviceSelector: {driver: '!', pool: '', device: A}, taint: {key: '', value: 'a b'}}}")
	expect(t, "bad", DeviceTaintRule.Validate(bad), "spec.deviceSelector.driver Invalid, spec.deviceSelector.pool Required, spec.deviceSelector.device Invalid, "+
		"spec.taint.key Invalid, spec.taint.value Invalid, spec.taint.effect Required")
	part, _ := DeviceTaintRule.Part("status")
	many := kind.Copy(old)
	for n := range 9 {
		many.Status.Conditions = append(many.Status.Conditions, metav1.Condition{Type: fmt.Sprint("c", n), Status: "True", Reason: "R", LastTransitionTime: metav1.Now()})
	}
	expect(t, "conditions", part.ValidateUpdate(many, old), "status.conditions TooMany")
}
