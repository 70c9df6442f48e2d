package core

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Labels that name a node's roles in kubectl get.
const (
	labelNodeRolePrefix = "node-role.kubernetes.io/"
	labelNodeRole       = "kubernetes.io/role"
)

// Node is the kind of nodes.
var Node = kind.Kind[*corev1.Node]{
	Version: "v1", Kind: "Node", Plural: "nodes", ShortNames: []string{"no"}, StoragePath: "minions",
	New:     func() *corev1.Node { return &corev1.Node{} },
	NewList: func() runtime.Object { return &corev1.NodeList{} },

	Default:        defaultNode,
	ValidName:      apivalidation.NameIsDNSSubdomain,
	PrepareCreate:  func(n *corev1.Node) { n.Spec.ConfigSource = nil },
	PrepareUpdate:  prepareNodeUpdate,
	Validate:       validateNode,
	ValidateUpdate: validateNodeUpdate,
	Warnings:       warnNode,
	Fields: []kind.Field[*corev1.Node]{
		{Name: "spec.unschedulable", Value: func(n *corev1.Node) string {
			if n.Spec.Unschedulable {
				return "true"
			}
			return "false"
		}},
	},
	Columns: nodeColumns,
	Status: &kind.Part[*corev1.Node]{
		Prepare:        func(new, old *corev1.Node) { new.Spec = old.Spec },
		ValidateUpdate: validateNodeUpdate,
	},
	Actions: []kind.Action{{
		Name: "proxy", Verbs: []kind.Verb{kind.Create, kind.Delete, kind.Get, kind.Patch, kind.Update},
		Kind: schema.GroupVersionKind{Version: "v1", Kind: "NodeProxyOptions"},
	}},
}

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

func prepareNodeUpdate(new, old *corev1.Node) {
	new.Status = old.Status
	if old.Spec.ConfigSource == nil {
		new.Spec.ConfigSource = nil
	}
}

func warnNode(new, old *corev1.Node) []string {
	var out []string
	if new.Spec.ConfigSource != nil {
		out = append(out, "spec.configSource: the feature is removed")
	}
	if new.Spec.DoNotUseExternalID != "" {
		out = append(out, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	return out
}

var nodeColumns = []kind.Column[*corev1.Node]{
	kind.NameColumn[*corev1.Node](),
	{Name: "Status", Type: "string", Description: "The status of the node",
		Cell: func(n *corev1.Node, _ time.Time) any { return nodeState(n) }},
	{Name: "Roles", Type: "string", Description: "The roles of the node",
		Cell: func(n *corev1.Node, _ time.Time) any { return nodeRoles(n) }},
	kind.AgeColumn[*corev1.Node](),
	{Name: "Version", Type: "string", Description: kind.Doc(corev1.NodeSystemInfo{}, "kubeletVersion"),
		Cell: func(n *corev1.Node, _ time.Time) any { return n.Status.NodeInfo.KubeletVersion }},
	{Name: "Internal-IP", Type: "string", Priority: 1, Description: kind.Doc(corev1.NodeStatus{}, "addresses"),
		Cell: func(n *corev1.Node, _ time.Time) any { return nodeAddress(n, corev1.NodeInternalIP) }},
	{Name: "External-IP", Type: "string", Priority: 1, Description: kind.Doc(corev1.NodeStatus{}, "addresses"),
		Cell: func(n *corev1.Node, _ time.Time) any { return nodeAddress(n, corev1.NodeExternalIP) }},
	{Name: "OS-Image", Type: "string", Priority: 1, Description: kind.Doc(corev1.NodeSystemInfo{}, "osImage"),
		Cell: func(n *corev1.Node, _ time.Time) any { return orUnknown(n.Status.NodeInfo.OSImage) }},
	{Name: "Kernel-Version", Type: "string", Priority: 1, Description: kind.Doc(corev1.NodeSystemInfo{}, "kernelVersion"),
		Cell: func(n *corev1.Node, _ time.Time) any { return orUnknown(n.Status.NodeInfo.KernelVersion) }},
	{Name: "Container-Runtime", Type: "string", Priority: 1, Description: kind.Doc(corev1.NodeSystemInfo{}, "containerRuntimeVersion"),
		Cell: func(n *corev1.Node, _ time.Time) any { return orUnknown(n.Status.NodeInfo.ContainerRuntimeVersion) }},
}

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
