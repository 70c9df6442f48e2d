// Package clusterrole fills ClusterRoles that have an aggregationRule with the rules of the roles that it selects.
package clusterrole

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

type controller struct {
	roles reconcile.Objects[*rbacv1.ClusterRole]
}

// New declares the ClusterRole aggregation controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{}
	c.roles = reconcile.Watch[*rbacv1.ClusterRole](b, c.roleChanged, reconcile.Writes(kind.Update))
	return &reconcile.Controller{Reconcile: c.reconcile}
}

// roleChanged looks at every aggregating role again: any role may be selected, or no longer, by any of them.
func (c *controller) roleChanged(_ client.Delta, enqueue func(reconcile.Key)) {
	for role := range c.roles.Live.All("") {
		if role.AggregationRule != nil {
			enqueue(reconcile.KeyOf(role))
		}
	}
}

// aggregate collects the rules of the selected roles: selector by selector, by name, each rule once.
func aggregate(into *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	var rules []rbacv1.PolicyRule
	for i := range into.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&into.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, role := range all {
			if role.Name == into.Name || !selector.Matches(labels.Set(role.Labels)) {
				continue
			}
			for _, rule := range role.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(have, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	role, ok := c.roles.Live.Get("", key.Name)
	if !ok || role.AggregationRule == nil {
		return reconcile.Result{}, nil
	}
	if err := c.roles.Live.Whole(""); err != nil {
		// A role that cannot be read would take its rules away from everybody who has them through this one.
		return reconcile.Result{}, fmt.Errorf("roles may be missing: %w", err)
	}
	rules, err := aggregate(role, slices.Collect(c.roles.Live.All("")))
	if err != nil || equality.Semantic.DeepEqual(rules, role.Rules) {
		return reconcile.Result{}, err
	}
	changed := role.DeepCopy()
	changed.Rules = nil
	for _, rule := range rules {
		changed.Rules = append(changed.Rules, *rule.DeepCopy())
	}
	_, err = c.roles.Update(ctx, changed)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return reconcile.Result{}, err
}
