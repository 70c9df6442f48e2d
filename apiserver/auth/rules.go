package auth

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// rule is a PolicyRule made ready for matching: the wildcards are flags.
type rule struct {
	*rbacv1.PolicyRule
	anyVerb, anyGroup, anyResource, anyURL bool
}

func compile(rules []rbacv1.PolicyRule) []rule {
	compiled := make([]rule, len(rules))
	for n := range rules {
		r := &rules[n]
		compiled[n] = rule{
			PolicyRule:  r,
			anyVerb:     slices.Contains(r.Verbs, rbacv1.VerbAll),
			anyGroup:    slices.Contains(r.APIGroups, rbacv1.APIGroupAll),
			anyResource: slices.Contains(r.Resources, rbacv1.ResourceAll),
			anyURL:      slices.Contains(r.NonResourceURLs, rbacv1.NonResourceAll),
		}
	}
	return compiled
}

// request is what rules are matched against, read once from the attributes.
type request struct {
	verb, group, resource, subresource, name, path string
	isResource                                     bool
}

func requestFrom(a authorizer.Attributes) request {
	if !a.IsResourceRequest() {
		return request{verb: a.GetVerb(), path: a.GetPath()}
	}
	return request{
		verb: a.GetVerb(), group: a.GetAPIGroup(), resource: a.GetResource(), subresource: a.GetSubresource(),
		name: a.GetName(), isResource: true,
	}
}

func (r *rule) allows(q *request) bool {
	if !r.anyVerb && !slices.Contains(r.Verbs, q.verb) {
		return false
	}
	if !q.isResource {
		return r.anyURL || matchesURL(r.NonResourceURLs, q.path)
	}
	if !r.anyGroup && !slices.Contains(r.APIGroups, q.group) {
		return false
	}
	if !r.anyResource && !matchesResource(r.Resources, q.resource, q.subresource) {
		return false
	}
	return len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, q.name)
}

// matchesResource compares "pods", "pods/log" and "*/scale" without joining the request's parts.
func matchesResource(patterns []string, resource, subresource string) bool {
	for _, p := range patterns {
		if subresource == "" {
			if p == resource {
				return true
			}
			continue
		}
		main, sub, found := strings.Cut(p, "/")
		if found && sub == subresource && (main == resource || main == "*") {
			return true
		}
	}
	return false
}

func matchesURL(patterns []string, path string) bool {
	for _, p := range patterns {
		if p == path {
			return true
		}
		if strings.HasSuffix(p, "*") && strings.HasPrefix(path, strings.TrimRight(p, "*")) {
			return true
		}
	}
	return false
}

func anyAllows(rules []rule, q *request) bool {
	for n := range rules {
		if rules[n].allows(q) {
			return true
		}
	}
	return false
}
