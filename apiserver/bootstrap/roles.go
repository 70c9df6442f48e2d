package bootstrap

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap/policy"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// policy makes the default roles and bindings and adds to existing ones what they lack.
func (e *ensurer) policy(ctx context.Context, p *policy.Policy) {
	const group = "." + rbacv1.GroupName
	for _, o := range p.ClusterRoles {
		put(ctx, e, "clusterroles"+group, o, reconcileClusterRole)
	}
	for _, o := range p.Roles {
		put(ctx, e, "roles"+group, o, func(have, want *rbacv1.Role) {
			if updates(have) {
				mergeMeta(&have.ObjectMeta, &want.ObjectMeta)
				have.Rules = mergeRules(have.Rules, want.Rules)
			}
		})
	}
	for _, o := range p.ClusterRoleBindings {
		if e.replaceOtherRole(ctx, "clusterrolebindings"+group, o, o.RoleRef) {
			continue
		}
		put(ctx, e, "clusterrolebindings"+group, o, func(have, want *rbacv1.ClusterRoleBinding) {
			if updates(have) {
				mergeMeta(&have.ObjectMeta, &want.ObjectMeta)
				have.Subjects = mergeSubjects(have.Subjects, want.Subjects)
			}
		})
	}
	for _, o := range p.RoleBindings {
		if e.replaceOtherRole(ctx, "rolebindings"+group, o, o.RoleRef) {
			continue
		}
		put(ctx, e, "rolebindings"+group, o, func(have, want *rbacv1.RoleBinding) {
			if updates(have) {
				mergeMeta(&have.ObjectMeta, &want.ObjectMeta)
				have.Subjects = mergeSubjects(have.Subjects, want.Subjects)
			}
		})
	}
}

// updates tells whether the owner of the cluster has left it to us to keep the object up to date.
func updates(o metav1.Object) bool { return o.GetAnnotations()[policy.AutoUpdate] != "false" }

func reconcileClusterRole(have, want *rbacv1.ClusterRole) {
	if !updates(have) {
		return
	}
	mergeMeta(&have.ObjectMeta, &want.ObjectMeta)
	if want.AggregationRule == nil {
		have.Rules = mergeRules(have.Rules, want.Rules)
		return
	}
	if have.AggregationRule == nil {
		have.AggregationRule = &rbacv1.AggregationRule{}
	}
	for _, s := range want.AggregationRule.ClusterRoleSelectors {
		equal := func(h metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(h, s) }
		if !slices.ContainsFunc(have.AggregationRule.ClusterRoleSelectors, equal) {
			have.AggregationRule.ClusterRoleSelectors = append(have.AggregationRule.ClusterRoleSelectors, s)
		}
	}
}

// mergeMeta adds the labels and annotations that are missing; what the owner has set to something else stays.
func mergeMeta(have, want *metav1.ObjectMeta) {
	have.Labels = addMissing(have.Labels, want.Labels)
	have.Annotations = addMissing(have.Annotations, want.Annotations)
}

func addMissing(have, want map[string]string) map[string]string {
	for k, v := range want {
		if _, ok := have[k]; ok {
			continue
		}
		if have == nil {
			have = map[string]string{}
		}
		have[k] = v
	}
	return have
}

func mergeRules(have, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	if equality.Semantic.DeepEqual(have, want) {
		return have
	}
	_, missing := validation.Covers(have, want)
	return append(have, missing...)
}

func mergeSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	for _, s := range want {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have
}

// replaceOtherRole makes a default binding anew that refers to another role than it should, because the reference of a
// binding cannot be changed. It tells whether it does.
func (e *ensurer) replaceOtherRole(ctx context.Context, resource string, want kind.Object, ref rbacv1.RoleRef) bool {
	r, ok := e.registry.Resource(schema.ParseGroupResource(resource))
	if !ok {
		return false
	}
	item := r.Peek(want.GetNamespace(), want.GetName())
	if item == nil || !updates(item.Object()) {
		return false
	}
	var have rbacv1.RoleRef
	switch o := item.Object().(type) {
	case *rbacv1.ClusterRoleBinding:
		have = o.RoleRef
	case *rbacv1.RoleBinding:
		have = o.RoleRef
	}
	if have == ref {
		return false
	}
	e.do(func() error {
		_, _, err := r.Delete(ctx, want.GetNamespace(), want.GetName(), registry.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("replacing %s %s: %w", resource, want.GetName(), err)
		}
		made := kind.Copy(want)
		r.Info().Default(made)
		if _, err = r.Create(ctx, made, registry.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("replacing %s %s: %w", resource, want.GetName(), err)
		}
		return nil
	})
	return true
}
