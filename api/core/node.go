package core

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Labels that name a node's roles in kubectl get.
const (
	labelNodeRolePrefix = "node-role.kubernetes.io/"
	labelNodeRole       = "kubernetes.io/role"
)

// Node is the kind of nodes.
var Node = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "nodes", ShortNames: []string{"no"}, StoragePath: "minions",
	List: kind.ListOf[corev1.NodeList],
	Actions: []kind.Action{{
		Name: "proxy", Verbs: []kind.Verb{kind.Create, kind.Delete, kind.Get, kind.Patch, kind.Update},
		Kind: schema.GroupVersionKind{Version: "v1", Kind: "NodeProxyOptions"},
	}},
}, kind.Rules[corev1.Node]{
	Default:        defaultNode,
	Prepare:        prepareNode,
	Validate:       validateNode,
	ValidateUpdate: validateNodeUpdate,
	Warnings:       warnNode,
	Fields: []kind.Field[corev1.Node]{
		{Name: "spec.unschedulable", Value: func(n *corev1.Node) string {
			if n.Spec.Unschedulable {
				return "true"
			}
			return "false"
		}},
	},
	Columns: nodeColumns,
	Status: &kind.Part[corev1.Node]{
		Prepare:        func(next, old *corev1.Node) { next.Spec = old.Spec },
		ValidateUpdate: validateNodeUpdate,
	},
})

// defaultNode makes the old singular podCIDR and podCIDRs agree (the singular wins, as old clients write only it),
// and lets allocatable start as capacity.
func defaultNode(n *corev1.Node) {
	if first := n.Spec.PodCIDR; first != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != first) {
		n.Spec.PodCIDRs = []string{first}
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = maps.Clone(n.Status.Capacity)
	}
}

// prepareNode leaves a new node its status: an agent registers with one.
func prepareNode(next, old *corev1.Node) {
	if old != nil {
		next.Status = old.Status
	}
	if old == nil || old.Spec.ConfigSource == nil {
		next.Spec.ConfigSource = nil
	}
}

func warnNode(next, old *corev1.Node) []string {
	var out []string
	if next.Spec.ConfigSource != nil {
		out = append(out, "spec.configSource: the feature is removed")
	}
	if next.Spec.DoNotUseExternalID != "" {
		out = append(out, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	return out
}

var nodeColumns = kind.Columns([]kind.Column[corev1.Node]{
	kind.Text("Status", "The status of the node", func(n *corev1.Node) string { return nodeState(n) }),
	kind.Text("Roles", "The roles of the node", func(n *corev1.Node) string { return nodeRoles(n) }),
},
	kind.Text("Version", kind.Doc(corev1.NodeSystemInfo{}, "kubeletVersion"), func(n *corev1.Node) string { return n.Status.NodeInfo.KubeletVersion }),
	kind.Text("Internal-IP", kind.Doc(corev1.NodeStatus{}, "addresses"), func(n *corev1.Node) string { return nodeAddress(n, corev1.NodeInternalIP) }).Wide(),
	kind.Text("External-IP", kind.Doc(corev1.NodeStatus{}, "addresses"), func(n *corev1.Node) string { return nodeAddress(n, corev1.NodeExternalIP) }).Wide(),
	kind.Text("OS-Image", kind.Doc(corev1.NodeSystemInfo{}, "osImage"), func(n *corev1.Node) string { return orUnknown(n.Status.NodeInfo.OSImage) }).Wide(),
	kind.Text("Kernel-Version", kind.Doc(corev1.NodeSystemInfo{}, "kernelVersion"), func(n *corev1.Node) string { return orUnknown(n.Status.NodeInfo.KernelVersion) }).Wide(),
	kind.Text("Container-Runtime", kind.Doc(corev1.NodeSystemInfo{}, "containerRuntimeVersion"), func(n *corev1.Node) string { return orUnknown(n.Status.NodeInfo.ContainerRuntimeVersion) }).Wide(),
)

func nodeState(n *corev1.Node) string {
	state := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		state = "Not" + string(corev1.NodeReady)
		if c.Status == corev1.ConditionTrue {
			state = string(corev1.NodeReady)
		}
	}
	if n.Spec.Unschedulable {
		state += ",SchedulingDisabled"
	}
	return state
}

func nodeRoles(n *corev1.Node) string {
	var roles []string
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, labelNodeRolePrefix); ok {
			if role != "" {
				roles = append(roles, role)
			}
		} else if key == labelNodeRole && value != "" {
			roles = append(roles, value)
		}
	}
	if len(roles) == 0 {
		return "<none>"
	}
	slices.Sort(roles)
	return strings.Join(slices.Compact(roles), ",")
}

func nodeAddress(n *corev1.Node, of corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == of {
			return a.Address
		}
	}
	return "<none>"
}

func orUnknown(s string) string {
	if s == "" {
		return "<unknown>"
	}
	return s
}
