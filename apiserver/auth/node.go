package auth

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// nodeAuthorizer gives each node what it needs for its own pods, and nothing of other nodes.
//
// It allows or has no opinion; it never denies, so that RBAC can give nodes more.
type nodeAuthorizer struct {
	relations relations
	// rules hold for every node wherever the node's name does not matter.
	rules []rule
}

func newNodeAuthorizer(r relations, rules []rbacv1.PolicyRule) *nodeAuthorizer {
	return &nodeAuthorizer{relations: r, rules: compile(rules)}
}

// relations tells what a node has to do with an object.
type relations interface {
	related(node string, gr schema.GroupResource, namespace, name string) bool
}

const noRelation = "no relationship found between node '%s' and this object"

// authorize answers for one node. An empty reason with false means no opinion without explanation.
func (n *nodeAuthorizer) authorize(node string, a authorizer.Attributes) (bool, string) {
	if a.IsResourceRequest() {
		switch (schema.GroupResource{Group: a.GetAPIGroup(), Resource: a.GetResource()}) {
		case secretsResource, configMapsResource:
			return n.readOwn(node, a)
		case claimsResource:
			if a.GetSubresource() == "status" {
				return n.updateStatus(node, a)
			}
			return n.getOwn(node, a)
		case volumesResource, resourceClaimsResource, attachmentsResource:
			return n.getOwn(node, a)
		case serviceAccountsResource:
			return n.serviceAccount(node, a)
		case leasesResource:
			return n.lease(node, a)
		case csiNodesResource:
			return n.csiNode(node, a)
		case resourceSlicesResource:
			return n.resourceSlice(node, a)
		case podCertificateRequestResource:
			return n.podCertificateRequest(node, a)
		case nodesResource:
			return n.node(node, a)
		case podsResource:
			return n.pod(node, a)
		}
	}
	q := requestFrom(a)
	return anyAllows(n.rules, &q), ""
}

func (n *nodeAuthorizer) related(node string, a authorizer.Attributes) (bool, string) {
	if a.GetName() == "" {
		return false, "No Object name found"
	}
	gr := schema.GroupResource{Group: a.GetAPIGroup(), Resource: a.GetResource()}
	if !n.relations.related(node, gr, a.GetNamespace(), a.GetName()) {
		return false, fmt.Sprintf(noRelation, node)
	}
	return true, ""
}

func (n *nodeAuthorizer) readOwn(node string, a authorizer.Attributes) (bool, string) {
	switch verb(a) {
	case kind.Get, kind.List, kind.Watch:
	default:
		return false, "can only read resources of this type"
	}
	if a.GetSubresource() != "" {
		return false, "cannot read subresource"
	}
	if a.GetNamespace() == "" {
		return false, "can only read namespaced object of this type"
	}
	return n.related(node, a)
}

func (n *nodeAuthorizer) getOwn(node string, a authorizer.Attributes) (bool, string) {
	if verb(a) != kind.Get {
		return false, "can only get individual resources of this type"
	}
	if a.GetSubresource() != "" {
		return false, "cannot get subresource"
	}
	return n.related(node, a)
}

func (n *nodeAuthorizer) updateStatus(node string, a authorizer.Attributes) (bool, string) {
	if verb(a) != kind.Update && verb(a) != kind.Patch {
		return false, "can only get/update/patch this type"
	}
	return n.related(node, a)
}

func (n *nodeAuthorizer) serviceAccount(node string, a authorizer.Attributes) (bool, string) {
	if verb(a) == kind.Get && a.GetSubresource() == "" {
		return n.related(node, a)
	}
	if verb(a) != kind.Create || a.GetName() == "" {
		return false, "can only create tokens for individual service accounts"
	}
	if a.GetSubresource() != "token" {
		return false, "can only create token subresource of serviceaccount"
	}
	return n.related(node, a)
}

// ownVerbs are what a node does with the objects that carry its own name. On create the name is not known
// here: NodeRestriction checks it.
func ownVerbs(node string, a authorizer.Attributes, what, object string) (bool, string) {
	switch verb(a) {
	case kind.Create:
		return true, ""
	case kind.Get, kind.Update, kind.Patch, kind.Delete:
		if a.GetName() != node {
			return false, fmt.Sprintf("can only access %s with the same name as the requesting node", object)
		}
		return true, ""
	}
	return false, fmt.Sprintf("can only get, create, update, patch, or delete %s", what)
}

func (n *nodeAuthorizer) lease(node string, a authorizer.Attributes) (bool, string) {
	allowed, reason := ownVerbs(node, a, "a node lease", "node lease")
	if a.GetNamespace() != corev1.NamespaceNodeLease {
		return false, fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	return allowed, reason
}

func (n *nodeAuthorizer) csiNode(node string, a authorizer.Attributes) (bool, string) {
	if a.GetSubresource() != "" {
		return false, "cannot authorize CSINode subresources"
	}
	return ownVerbs(node, a, "a CSINode", "CSINode")
}

func (n *nodeAuthorizer) resourceSlice(node string, a authorizer.Attributes) (bool, string) {
	if a.GetSubresource() != "" {
		return false, "cannot authorize ResourceSlice subresources"
	}
	switch verb(a) {
	case kind.Create:
		return true, ""
	case kind.Get, kind.Update, kind.Patch, kind.Delete:
		return n.related(node, a)
	case kind.Watch, kind.List, kind.DeleteCollection:
		if selects(a, "spec.nodeName", node) || selects(a, "nodeName", node) {
			return true, ""
		}
		return false, "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return false, "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
}

func (n *nodeAuthorizer) podCertificateRequest(node string, a authorizer.Attributes) (bool, string) {
	if a.GetSubresource() != "" {
		return false, "nodes may not access the subresources of podcertificaterequests"
	}
	switch verb(a) {
	case kind.Create:
		return true, ""
	case kind.Get:
		return n.related(node, a)
	case kind.List, kind.Watch:
		if selects(a, "spec.nodeName", node) {
			return true, ""
		}
		return false, "can only list/watch podcertificaterequests with spec.nodeName field selector"
	}
	return false, "nodes may only create, get, list and watch podcertificaterequests"
}

func (n *nodeAuthorizer) node(node string, a authorizer.Attributes) (bool, string) {
	switch a.GetSubresource() {
	case "":
		switch verb(a) {
		case kind.Create, kind.Update, kind.Patch:
			return true, "" // that it is the node itself, NodeRestriction checks, which sees the object
		case kind.Get, kind.List, kind.Watch:
			switch a.GetName() {
			case node:
				return true, ""
			case "":
				return false, fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", node)
			}
			return false, fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, a.GetName())
		}
	case "status":
		return verb(a) == kind.Update || verb(a) == kind.Patch, ""
	}
	return false, ""
}

func (n *nodeAuthorizer) pod(node string, a authorizer.Attributes) (bool, string) {
	switch a.GetSubresource() {
	case "":
		switch verb(a) {
		case kind.Get:
			return n.related(node, a)
		case kind.List, kind.Watch:
			if selects(a, "spec.nodeName", node) {
				return true, ""
			}
			if a.GetName() != "" { // a watch of one object
				return n.related(node, a)
			}
			return false, "can only list/watch pods with spec.nodeName field selector"
		case kind.Create, kind.Delete:
			return true, "" // which pods, NodeRestriction checks
		}
	case "status":
		return verb(a) == kind.Update || verb(a) == kind.Patch, ""
	case "eviction":
		return verb(a) == kind.Create, ""
	}
	return false, ""
}

// selects tells whether the request's field selector demands the value.
func selects(a authorizer.Attributes, name, value string) bool {
	requirements, err := a.GetFieldSelector()
	if err != nil {
		return false
	}
	for _, r := range requirements {
		if r == (fields.Requirement{Field: name, Operator: selection.Equals, Value: value}) {
			return true
		}
	}
	return false
}

func verb(a authorizer.Attributes) kind.Verb { return kind.Verb(a.GetVerb()) }
