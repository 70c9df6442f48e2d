package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// everything is what an aggregated role may come to hold.
var everything = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

// ConfirmNoEscalation keeps users from granting by roles and bindings what they do not have themselves, unless they
// may "escalate" the role, or "bind" it. old is nil on create. Objects of other kinds pass.
func (z *Authorizer) ConfirmNoEscalation(ctx context.Context, u user.Info, namespace string, obj, old kind.Object) error {
	gr, name := schema.GroupResource{Group: rbacv1.GroupName}, obj.GetName()
	switch obj.(type) {
	case *rbacv1.Role:
		gr.Resource = "roles"
	case *rbacv1.ClusterRole:
		gr.Resource = "clusterroles"
	case *rbacv1.RoleBinding:
		gr.Resource = "rolebindings"
	case *rbacv1.ClusterRoleBinding:
		gr.Resource = "clusterrolebindings"
	default:
		return nil
	}
	if slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) || onlyForRemoval(obj, old) {
		return nil
	}
	switch o := obj.(type) {
	case *rbacv1.Role:
		return z.confirmRole(ctx, u, gr, namespace, name, o.Rules, false)
	case *rbacv1.ClusterRole:
		before, _ := old.(*rbacv1.ClusterRole)
		aggregates := aggregated(o) || (before != nil && aggregated(before))
		return z.confirmRole(ctx, u, gr, "", name, o.Rules, aggregates)
	case *rbacv1.RoleBinding:
		return z.confirmBinding(ctx, u, gr, namespace, name, o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		return z.confirmBinding(ctx, u, gr, "", name, o.RoleRef)
	}
	return nil
}

func aggregated(r *rbacv1.ClusterRole) bool {
	return r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

func (z *Authorizer) confirmRole(ctx context.Context, u user.Info, gr schema.GroupResource, namespace, name string, rules []rbacv1.PolicyRule, aggregates bool) error {
	if z.may(ctx, u, "escalate", gr.Resource, namespace, name) {
		return nil
	}
	if err := z.covers(u, namespace, rules); err != nil {
		return apierrors.NewForbidden(gr, name, err)
	}
	if aggregates && z.covers(u, namespace, everything) != nil {
		return apierrors.NewForbidden(gr, name, errors.New("must have cluster-admin privileges to use an aggregationRule"))
	}
	return nil
}

func (z *Authorizer) confirmBinding(ctx context.Context, u user.Info, gr schema.GroupResource, namespace, name string, ref rbacv1.RoleRef) error {
	resource := "clusterroles"
	if ref.Kind == "Role" {
		resource = "roles"
	}
	if z.may(ctx, u, "bind", resource, namespace, ref.Name) {
		return nil
	}
	rules, ok := z.RBAC.RoleRules(ref, namespace)
	if !ok {
		return apierrors.NewNotFound(gr, ref.Name)
	}
	if err := z.covers(u, namespace, rules); err != nil {
		return apierrors.NewForbidden(gr, name, err)
	}
	return nil
}

func (z *Authorizer) may(ctx context.Context, u user.Info, verb, resource, namespace, name string) bool {
	decision, _, err := z.Authorize(ctx, authorizer.AttributesRecord{
		User: u, Verb: verb, Namespace: namespace, APIGroup: rbacv1.GroupName, APIVersion: "*", Resource: resource, Name: name, ResourceRequest: true,
	})
	return err == nil && decision == authorizer.DecisionAllow
}

// covers tells which of the rules the user does not have.
func (z *Authorizer) covers(u user.Info, namespace string, rules []rbacv1.PolicyRule) error {
	held, unresolved := z.RBAC.Rules(u, namespace)
	missing, more, err := uncovered(held, rules)
	if err != nil || len(missing) == 0 {
		return err
	}
	message := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.GetName(), u.GetGroups(), strings.Join(compact(missing), "\n"))
	if more {
		message += "\nand more"
	}
	if unresolved != nil {
		message += fmt.Sprintf("; resolution errors: %v", []error{unresolved})
	}
	return errors.New(message)
}

// compact writes the rules that differ only in their verb on one line.
func compact(rules []rbacv1.PolicyRule) []string {
	var kept []rbacv1.PolicyRule
	for _, r := range rules {
		n := slices.IndexFunc(kept, func(k rbacv1.PolicyRule) bool {
			return slices.Equal(k.APIGroups, r.APIGroups) && slices.Equal(k.Resources, r.Resources) &&
				slices.Equal(k.ResourceNames, r.ResourceNames) && slices.Equal(k.NonResourceURLs, r.NonResourceURLs)
		})
		if n < 0 {
			r.Verbs = slices.Clone(r.Verbs)
			kept = append(kept, r)
			continue
		}
		for _, verb := range r.Verbs {
			if !slices.Contains(kept[n].Verbs, verb) {
				kept[n].Verbs = append(kept[n].Verbs, verb)
			}
		}
	}
	var lines []string
	for _, r := range kept {
		var parts []string
		for _, p := range []struct {
			name   string
			values []string
		}{{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs}, {"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs}} {
			if len(p.values) > 0 {
				parts = append(parts, fmt.Sprintf("%s:%s", p.name, quoted(p.values)))
			}
		}
		lines = append(lines, "{"+strings.Join(parts, ", ")+"}")
	}
	sort.Strings(lines)
	return lines
}

func quoted(values []string) string {
	q := make([]string, len(values))
	for n, v := range values {
		q[n] = fmt.Sprintf("%q", v)
	}
	return "[" + strings.Join(q, " ") + "]"
}

// onlyForRemoval tells whether an update changes nothing but what the garbage collector changes: finalizers and owners.
func onlyForRemoval(obj, old kind.Object) bool {
	if old == nil {
		return false
	}
	a, b := kind.Copy(obj), kind.Copy(old)
	for _, o := range []metav1.Object{a, b} {
		o.SetFinalizers(nil)
		o.SetOwnerReferences(nil)
		o.SetManagedFields(nil)
		o.SetResourceVersion("")
	}
	return equality.Semantic.DeepEqual(a, b)
}
