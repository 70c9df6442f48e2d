package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// nodeRestriction keeps a node to its own Node, Lease, CSINode and pods. What depends on an object's contents is
// decided here; the node authorizer has decided what a request's path tells.
type nodeRestriction struct {
	operations
	registry    *registry.Registry
	authorizer  Authorizer
	pods, nodes *registry.Resource
}

func newNodeRestriction(o *Options) admission.Interface {
	r := reader{o.Registry}
	return &nodeRestriction{
		operations: onCreate | onUpdate | onDelete, registry: o.Registry, authorizer: o.Authorizer,
		pods: r.resource("", "pods"), nodes: r.resource("", "nodes"),
	}
}

// request of a node.
type nodeRequest struct {
	admission.Attributes
	ctx  context.Context
	node string
}

func (q *nodeRequest) forbid(format string, args ...any) error {
	return admission.NewForbidden(q.Attributes, fmt.Errorf(format, args...))
}

func (q *nodeRequest) unexpected() error { return q.forbid("unexpected type %T", q.GetObject()) }

func (p *nodeRestriction) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, isNode := auth.NodeOf(a.GetUserInfo())
	if !isNode {
		return nil
	}
	q := &nodeRequest{a, ctx, node}
	if node == "" {
		return q.forbid("could not determine node from user %q", a.GetUserInfo().GetName())
	}
	switch (schema.GroupResource{Group: a.GetResource().Group, Resource: a.GetResource().Resource}) {
	case schema.GroupResource{Resource: "pods"}:
		return p.pod(q)
	case schema.GroupResource{Resource: "nodes"}:
		return p.node(q)
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		return p.claim(q)
	case schema.GroupResource{Resource: "serviceaccounts"}:
		return p.token(q)
	case schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}:
		return p.lease(q)
	case schema.GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}:
		return ownName(q, "CSINode")
	case schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceslices"}:
		return p.resourceSlice(q)
	case schema.GroupResource{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}:
		return signingRequest(q)
	case schema.GroupResource{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}:
		return p.podCertificate(q)
	}
	return nil
}

// ownName: the object must carry the node's name. The path does not tell it on create.
func ownName(q *nodeRequest, what string) error {
	name := q.GetName()
	if q.GetOperation() == admission.Create {
		o, ok := q.GetObject().(kind.Object)
		if !ok {
			return q.unexpected()
		}
		name = o.GetName()
	}
	if name != q.node {
		return q.forbid("can only access %s with the same name as the requesting node", what)
	}
	return nil
}

func (p *nodeRestriction) lease(q *nodeRequest) error {
	if q.GetNamespace() != corev1.NamespaceNodeLease {
		return q.forbid("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	if _, ok := q.GetObject().(*coordinationv1.Lease); q.GetOperation() == admission.Create && !ok {
		return q.unexpected()
	}
	return ownName(q, "node lease")
}

func (p *nodeRestriction) node(q *nodeRequest) error {
	if name := q.GetName(); name != q.node {
		// The path names no node on create: the object does.
		made, ok := q.GetObject().(*corev1.Node)
		if !ok || q.GetOperation() != admission.Create || name != "" || made.Name != q.node {
			return q.forbid("node %q is not allowed to modify node %q", q.node, name)
		}
	}
	switch q.GetOperation() {
	case admission.Create:
		node, ok := q.GetObject().(*corev1.Node)
		if !ok {
			return q.unexpected()
		}
		if node.Spec.ConfigSource != nil {
			return q.forbid("node %q is not allowed to create pods with a non-nil configSource", q.node)
		}
		if labels := forbiddenLabels(node.Labels, nil); len(labels) > 0 {
			return q.forbid("node %q is not allowed to set the following labels: %s", q.node, strings.Join(labels, ", "))
		}
	case admission.Update:
		node, ok := q.GetObject().(*corev1.Node)
		old, had := q.GetOldObject().(*corev1.Node)
		if !ok || !had {
			return q.unexpected()
		}
		if node.Spec.ConfigSource != nil && !equality.Semantic.DeepEqual(node.Spec.ConfigSource, old.Spec.ConfigSource) {
			return q.forbid("node %q is not allowed to update configSource to a new non-nil configSource", q.node)
		}
		if !equality.Semantic.DeepEqual(node.Spec.Taints, old.Spec.Taints) {
			return q.forbid("node %q is not allowed to modify taints", q.node)
		}
		if labels := forbiddenLabels(node.Labels, old.Labels); len(labels) > 0 {
			return q.forbid("is not allowed to modify labels: %s", strings.Join(labels, ", "))
		}
		// A node that could name an owner could have itself deleted, and come back with other labels and no taints.
		if !equality.Semantic.DeepEqual(node.OwnerReferences, old.OwnerReferences) {
			return q.forbid("node %q is not allowed to modify ownerReferences", q.node)
		}
	}
	return nil
}

// kubeletLabels are those of Kubernetes' own labels that a node may set on itself.
var kubeletLabels = map[string]bool{
	corev1.LabelHostname: true, corev1.LabelTopologyZone: true, corev1.LabelTopologyRegion: true,
	corev1.LabelFailureDomainBetaZone: true, corev1.LabelFailureDomainBetaRegion: true,
	corev1.LabelInstanceType: true, corev1.LabelInstanceTypeStable: true,
	corev1.LabelOSStable: true, corev1.LabelArchStable: true, corev1.LabelWindowsBuild: true,
	"beta.kubernetes.io/os": true, "beta.kubernetes.io/arch": true,
}

// forbiddenLabels are the changed labels that a node may not change, sorted: with them it could draw pods to itself.
func forbiddenLabels(have, had map[string]string) []string {
	var found []string
	note := func(key string) {
		prefix, _, ok := strings.Cut(key, "/")
		if !ok {
			return
		}
		within := func(domain string) bool { return prefix == domain || strings.HasSuffix(prefix, "."+domain) }
		own := kubeletLabels[key] || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
		if within(corev1.LabelNamespaceNodeRestriction) || (within("kubernetes.io") || within("k8s.io")) && !own {
			found = append(found, key)
		}
	}
	for key, value := range have {
		if before, ok := had[key]; !ok || before != value {
			note(key)
		}
	}
	for key := range had {
		if _, ok := have[key]; !ok {
			note(key)
		}
	}
	slices.Sort(found)
	return found
}

func (p *nodeRestriction) claim(q *nodeRequest) error {
	if q.GetSubresource() != "status" {
		return q.forbid("may only update PVC status")
	}
	if q.GetOperation() != admission.Update {
		return q.forbid("unexpected operation %q", q.GetOperation())
	}
	claim, ok := q.GetObject().(*corev1.PersistentVolumeClaim)
	old, had := q.GetOldObject().(*corev1.PersistentVolumeClaim)
	if !ok || !had {
		return q.unexpected()
	}
	a, b := claim.DeepCopy(), old.DeepCopy()
	for _, c := range []*corev1.PersistentVolumeClaim{a, b} {
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions = nil, nil
		c.Status.AllocatedResourceStatuses, c.Status.AllocatedResources = nil, nil
	}
	if !equality.Semantic.DeepEqual(a, b) {
		return q.forbid("node %q is not allowed to update fields other than status.quantity and status.conditions", q.node)
	}
	return nil
}

func (p *nodeRestriction) resourceSlice(q *nodeRequest) error {
	if q.GetOperation() == admission.Create {
		slice, ok := q.GetObject().(*resourcev1.ResourceSlice)
		if !ok {
			return q.unexpected()
		}
		if slice.Spec.NodeName == nil || *slice.Spec.NodeName != q.node {
			return q.forbid("can only create ResourceSlice with the same NodeName as the requesting node")
		}
		return nil
	}
	if slice, ok := q.GetOldObject().(*resourcev1.ResourceSlice); ok && (slice.Spec.NodeName == nil || *slice.Spec.NodeName != q.node) {
		return q.forbid("can only modify ResourceSlice with the same NodeName as the requesting node")
	}
	return nil
}

// token: a node asks for tokens only for its own pods, and only for audiences that the pods mount.
func (p *nodeRestriction) token(q *nodeRequest) error {
	if q.GetOperation() != admission.Create || q.GetSubresource() != "token" {
		return nil
	}
	request, ok := q.GetObject().(*authenticationv1.TokenRequest)
	if !ok {
		return q.unexpected()
	}
	ref := request.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return q.forbid("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return q.forbid("node requested token with a pod binding without a uid")
	}
	pod, err := p.existing(q, ref.Name)
	if err != nil {
		return err
	}
	if ref.UID != pod.UID {
		return q.forbid("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	}
	if pod.Spec.NodeName != q.node {
		return q.forbid("node requested token bound to a pod scheduled on a different node")
	}
	return p.audience(q, request, pod)
}

// existing is a pod of the request's namespace.
func (p *nodeRestriction) existing(q *nodeRequest, name string) (*corev1.Pod, error) {
	pod, ok := await[*corev1.Pod](q.ctx, p.registry, p.pods, q.GetNamespace(), name)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
	}
	return pod, nil
}
