package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap/policy"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// Authorizer decides what a user may do. It asks in order: is the user a master, does a node need it, does RBAC
// allow it. The first that allows decides; nobody denies, so what nobody allows is forbidden.
type Authorizer struct {
	RBAC *RBAC
	node *nodeAuthorizer

	registry *registry.Registry
	progress *progress
}

var (
	_ authorizer.Authorizer   = &Authorizer{}
	_ authorizer.RuleResolver = &Authorizer{}
)

// NewAuthorizer makes an authorizer that knows the registry's roles, bindings and pods once Run has been called.
func NewAuthorizer(r *registry.Registry) (*Authorizer, error) {
	rules, err := policy.NodeRules()
	if err != nil {
		return nil, err
	}
	return &Authorizer{
		RBAC: NewRBAC(), node: newNodeAuthorizer(mirrorRelations{objects{r}}, rules),
		registry: r, progress: newProgress(),
	}, nil
}

// Authorize decides one request.
func (z *Authorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	if u == nil {
		return authorizer.DecisionNoOpinion, "no user on request.", nil
	}
	if slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	reason := ""
	if node, isNode := NodeOf(u); isNode {
		if node == "" {
			reason = fmt.Sprintf("unknown node for user %q", u.GetName())
		} else {
			allowed, why := z.node.authorize(node, a)
			if allowed {
				return authorizer.DecisionAllow, "", nil
			}
			reason = why
		}
	}
	decision, why, err := z.RBAC.Authorize(ctx, a)
	if decision != authorizer.DecisionAllow && reason != "" {
		why = strings.Trim(reason+"\n"+why, "\n")
	}
	return decision, why, err
}

// ConditionsAwareAuthorize decides without conditions.
func (z *Authorizer) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(z.Authorize(ctx, a))
}

// EvaluateConditions refuses: no decision of this authorizer has conditions.
func (z *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor lists what a user may do in a namespace; incomplete tells that there may be more.
func (z *Authorizer) RulesFor(_ context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	rules, err := z.RBAC.Rules(u, namespace)
	var resource []authorizer.ResourceRuleInfo
	var other []authorizer.NonResourceRuleInfo
	for n := range rules {
		r := &rules[n]
		if len(r.Resources) > 0 {
			resource = append(resource, &authorizer.DefaultResourceRuleInfo{
				Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames,
			})
		}
		if len(r.NonResourceURLs) > 0 {
			other = append(other, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	incomplete := err != nil
	if _, isNode := NodeOf(u); isNode {
		incomplete = true
		nodeErr := fmt.Errorf("node authorizer does not support user rule resolution")
		if err != nil {
			nodeErr = fmt.Errorf("[%w, %w]", nodeErr, err)
		}
		err = nodeErr
	}
	return resource, other, incomplete, err
}
