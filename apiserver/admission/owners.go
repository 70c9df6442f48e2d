package admission

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ownerReferences lets only those set an object's owners who may delete the object, and only those block an owner's
// deletion who may set the owner's finalizers.
type ownerReferences struct {
	operations
	authorizer Authorizer
	catalog    *kind.Catalog
}

func newOwnerReferences(o *Options) admission.Interface {
	return &ownerReferences{onCreate | onUpdate, o.Authorizer, o.Catalog}
}

func (p *ownerReferences) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if is(a, "", "pods") && a.GetSubresource() == "status" {
		return nil
	}
	obj, ok := a.GetObject().(kind.Object)
	if !ok {
		return nil
	}
	var before []metav1.OwnerReference
	if old, ok := a.GetOldObject().(kind.Object); ok {
		before = old.GetOwnerReferences()
	}
	after := obj.GetOwnerReferences()
	if !changedOwners(before, after) {
		return nil
	}
	// An object that does not exist yet can be taken back by whoever made it; deleting it by itself is what counts.
	remove := authorizer.AttributesRecord{
		User: a.GetUserInfo(), Verb: string(kind.Delete), Namespace: a.GetNamespace(), APIGroup: a.GetResource().Group, APIVersion: a.GetResource().Version,
		Resource: a.GetResource().Resource, Subresource: a.GetSubresource(), Name: a.GetName(), ResourceRequest: true,
	}
	if decision, reason, err := p.authorizer.Authorize(ctx, remove); decision != authorizer.DecisionAllow {
		return admission.NewForbidden(a, fmt.Errorf("cannot set an ownerRef on a resource you can't delete: %v, %w", reason, orNothing(err)))
	}
	for _, ref := range newlyBlocking(before, after) {
		if err := p.mayBlock(ctx, a, ref); err != nil {
			return err
		}
	}
	return nil
}

func (p *ownerReferences) mayBlock(ctx context.Context, a admission.Attributes, ref metav1.OwnerReference) error {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %v Kind %v: %w", ref.APIVersion, ref.Kind, err))
	}
	k, ok := p.catalog.Now().ByGVK(gv.WithKind(ref.Kind))
	if !ok {
		return admission.NewForbidden(a, fmt.Errorf("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %v Kind %v", ref.APIVersion, ref.Kind))
	}
	finalize := authorizer.AttributesRecord{
		User: a.GetUserInfo(), Verb: string(kind.Update), APIGroup: k.GVK.Group, APIVersion: k.GVK.Version, Resource: k.Plural,
		Subresource: "finalizers", Name: ref.Name, ResourceRequest: true,
	}
	if k.Namespaced {
		finalize.Namespace = a.GetNamespace()
	}
	if decision, reason, err := p.authorizer.Authorize(ctx, finalize); decision != authorizer.DecisionAllow {
		return admission.NewForbidden(a, fmt.Errorf("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %v, %w", reason, orNothing(err)))
	}
	return nil
}

type nothing struct{}

func (nothing) Error() string { return "<nil>" }

func orNothing(err error) error {
	if err == nil {
		return nothing{}
	}
	return err
}

func changedOwners(before, after []metav1.OwnerReference) bool {
	if len(before) != len(after) {
		return true
	}
	had := byUID(before)
	for _, ref := range after {
		old, ok := had[ref.UID]
		if !ok || old.APIVersion != ref.APIVersion || old.Kind != ref.Kind || old.Name != ref.Name ||
			blocks(old) != blocks(ref) || (old.Controller != nil && *old.Controller) != (ref.Controller != nil && *ref.Controller) {
			return true
		}
	}
	return false
}

func newlyBlocking(before, after []metav1.OwnerReference) []metav1.OwnerReference {
	had := byUID(before)
	var list []metav1.OwnerReference
	for _, ref := range after {
		if old, ok := had[ref.UID]; blocks(ref) && (!ok || !blocks(old)) {
			list = append(list, ref)
		}
	}
	return list
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

func byUID(refs []metav1.OwnerReference) map[types.UID]metav1.OwnerReference {
	m := make(map[types.UID]metav1.OwnerReference, len(refs))
	for _, ref := range refs {
		m[ref.UID] = ref
	}
	return m
}
