package admission

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// pod: a node creates mirror pods of itself, deletes and evicts its own pods, and reports their status.
func (p *nodeRestriction) pod(q *nodeRequest) error {
	switch q.GetSubresource() {
	case "":
		switch q.GetOperation() {
		case admission.Create:
			return p.createPod(q)
		case admission.Delete:
			return p.ownPod(q, q.GetName(), "node %q can only delete pods with spec.nodeName set to itself")
		}
		return q.forbid("unexpected operation %q, node %q can only create and delete mirror pods", q.GetOperation(), q.node)
	case "status":
		return podStatus(q)
	case "eviction":
		if q.GetOperation() != admission.Create {
			return q.forbid("unexpected operation %s", q.GetOperation())
		}
		eviction, ok := q.GetObject().(*policyv1.Eviction)
		if !ok {
			return q.unexpected()
		}
		name := q.GetName()
		if name == "" {
			if name = eviction.Name; name == "" {
				return q.forbid("could not determine pod from request data")
			}
		}
		return p.ownPod(q, name, "node %s can only evict pods with spec.nodeName set to itself")
	}
	return q.forbid("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", q.GetSubresource())
}

func (p *nodeRestriction) ownPod(q *nodeRequest, name, message string) error {
	pod, err := p.existing(q, name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != q.node {
		return q.forbid(message, q.node)
	}
	return nil
}

func (p *nodeRestriction) createPod(q *nodeRequest) error {
	pod, ok := q.GetObject().(*corev1.Pod)
	if !ok {
		return q.unexpected()
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return q.forbid("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, q.node)
	}
	if pod.Spec.NodeName != q.node {
		return q.forbid("node %q can only create pods with spec.nodeName set to itself", q.node)
	}
	if err := p.mirrorOwner(q, pod); err != nil {
		return err
	}
	return mirrorReferences(q, pod)
}

// mirrorOwner: the owner of a mirror pod is its node.
func (p *nodeRestriction) mirrorOwner(q *nodeRequest, pod *corev1.Pod) error {
	if len(pod.OwnerReferences) > 1 {
		return q.forbid("node %q can only create pods with a single owner reference set to itself", q.node)
	}
	if len(pod.OwnerReferences) == 0 {
		return q.forbid("node %q can only create pods with an owner reference set to itself", q.node)
	}
	owner := pod.OwnerReferences[0]
	if owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != q.node {
		return q.forbid("node %q can only create pods with an owner reference set to itself", q.node)
	}
	if owner.Controller == nil || !*owner.Controller {
		return q.forbid("node %q can only create pods with a controller owner reference set to itself", q.node)
	}
	// It would let a node hold up its own removal.
	if owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion {
		return q.forbid("node %q must not set blockOwnerDeletion on an owner reference", q.node)
	}
	node, ok := await[*corev1.Node](q.ctx, p.registry, p.nodes, "", q.node)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, q.node)
	}
	if owner.UID != node.UID {
		return q.forbid("node %s UID mismatch: expected %s got %s", q.node, owner.UID, node.UID)
	}
	return nil
}

// mirrorReferences: a mirror pod refers to no other object, or its node could come to read it.
func mirrorReferences(q *nodeRequest, pod *corev1.Pod) error {
	refuse := func(what string) error {
		return q.forbid("node %q can not create pods that reference %s", q.node, what)
	}
	if pod.Spec.ServiceAccountName != "" {
		return refuse("a service account")
	}
	for range podspec.Secrets(pod) {
		return refuse("secrets")
	}
	for range podspec.ConfigMaps(pod) {
		return refuse("configmaps")
	}
	for range podspec.Claims(pod) {
		return refuse("persistentvolumeclaims")
	}
	if len(pod.Spec.ResourceClaims) > 0 {
		return refuse("resourceclaims")
	}
	for range podspec.ResourceClaims(pod) {
		return refuse("resourceclaims")
	}
	for n := range pod.Spec.Volumes {
		projected := pod.Spec.Volumes[n].Projected
		if projected == nil {
			continue
		}
		for i := range projected.Sources {
			if projected.Sources[i].ClusterTrustBundle != nil {
				return refuse("clustertrustbundles")
			}
			if projected.Sources[i].PodCertificate != nil {
				return refuse("podcertificates")
			}
		}
	}
	return nil
}

func podStatus(q *nodeRequest) error {
	if q.GetOperation() != admission.Update {
		return q.forbid("unexpected operation %q", q.GetOperation())
	}
	pod, ok := q.GetObject().(*corev1.Pod)
	old, had := q.GetOldObject().(*corev1.Pod)
	if !ok || !had {
		return q.unexpected()
	}
	if old.Spec.NodeName != q.node {
		return q.forbid("node %q can only update pod status for pods with spec.nodeName set to itself", q.node)
	}
	// Labels decide which Services lead to a pod, and claims what its node may read: a node must not give itself more of either.
	if !sameLabels(old.Labels, pod.Labels) {
		return q.forbid("node %q cannot update labels through pod status", q.node)
	}
	if !sameClaimStatuses(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses) {
		return q.forbid("node %q cannot update resource claim statues", q.node)
	}
	before, after := old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus
	if (before == nil) != (after == nil) || before != nil && before.ResourceClaimName != after.ResourceClaimName {
		return q.forbid("node %q cannot update extended resource claim statuses", q.node)
	}
	return nil
}

func sameLabels(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

func sameClaimStatuses(a, b []corev1.PodResourceClaimStatus) bool {
	if len(a) != len(b) {
		return false
	}
	for n := range a {
		x, y := a[n].ResourceClaimName, b[n].ResourceClaimName
		if a[n].Name != b[n].Name || (x == nil) != (y == nil) || x != nil && *x != *y {
			return false
		}
	}
	return true
}
