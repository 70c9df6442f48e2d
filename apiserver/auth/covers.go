package auth

import (
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

const (
	// maxComparisons that it may take to find out whether rules are covered. A rule stands for all combinations of its
	// verbs, groups, resources and names, so that a few long lists make millions.
	maxComparisons = 4_000_000
	// maxMissing permissions are told of.
	maxMissing = 1000
)

// holding is a rule that somebody holds, ready to be asked.
type holding struct {
	verbs, groups, resources, names map[string]bool
	urls                            []string
}

func newHolding(r *rbacv1.PolicyRule) holding {
	set := func(values []string) map[string]bool {
		s := make(map[string]bool, len(values))
		for _, v := range values {
			s[v] = true
		}
		return s
	}
	return holding{set(r.Verbs), set(r.APIGroups), set(r.Resources), set(r.ResourceNames), r.NonResourceURLs}
}

// comparison counts what it takes to compare rules.
type comparison struct {
	held  []holding
	steps int
}

// uncovered gives those permissions of the rules that the held ones do not contain, each with one verb, group, resource, name or
// path, and no more than maxMissing of them. more tells that there are others.
func uncovered(held, rules []rbacv1.PolicyRule) (missing []rbacv1.PolicyRule, more bool, err error) {
	c := comparison{}
	for i := range held {
		c.held = append(c.held, newHolding(&held[i]))
	}
	for i := range rules {
		if c.covered(&rules[i]) {
			continue
		}
		each(&rules[i], func(one *rbacv1.PolicyRule) bool {
			if !c.covered(one) {
				if len(missing) == maxMissing {
					more = true
				} else {
					missing = append(missing, *one)
				}
			}
			return !more && c.steps <= maxComparisons
		})
		if more {
			return missing, true, nil
		}
		if c.steps > maxComparisons {
			return nil, false, fmt.Errorf("the rules have too many combinations of verbs, groups, resources and names to be compared with those that the user holds: make several roles of them, or fewer rules that say the same")
		}
	}
	return missing, false, nil
}

// each breaks a rule down into permissions, until f returns false.
func each(r *rbacv1.PolicyRule, f func(*rbacv1.PolicyRule) bool) {
	names := [][]string{nil}
	if len(r.ResourceNames) > 0 {
		names = names[:0]
		for i := range r.ResourceNames {
			names = append(names, r.ResourceNames[i:i+1:i+1])
		}
	}
	for g := range r.APIGroups {
		for res := range r.Resources {
			for v := range r.Verbs {
				for _, name := range names {
					if !f(&rbacv1.PolicyRule{APIGroups: r.APIGroups[g : g+1 : g+1], Resources: r.Resources[res : res+1 : res+1], Verbs: r.Verbs[v : v+1 : v+1], ResourceNames: name}) {
						return
					}
				}
			}
		}
	}
	for u := range r.NonResourceURLs {
		for v := range r.Verbs {
			if !f(&rbacv1.PolicyRule{NonResourceURLs: r.NonResourceURLs[u : u+1 : u+1], Verbs: r.Verbs[v : v+1 : v+1]}) {
				return
			}
		}
	}
}

// covered tells whether one of the held rules contains a whole rule.
func (c *comparison) covered(r *rbacv1.PolicyRule) bool {
	for i := range c.held {
		if c.contains(&c.held[i], r) {
			return true
		}
		if c.steps > maxComparisons {
			return false
		}
	}
	return false
}

func (c *comparison) contains(g *holding, r *rbacv1.PolicyRule) bool {
	return c.all(r.Verbs, func(v string) bool { return g.verbs[rbacv1.VerbAll] || g.verbs[v] }) &&
		c.all(r.APIGroups, func(v string) bool { return g.groups[rbacv1.APIGroupAll] || g.groups[v] }) &&
		c.all(r.Resources, g.hasResource) &&
		(len(g.names) == 0 || len(r.ResourceNames) > 0 && c.all(r.ResourceNames, func(v string) bool { return g.names[v] })) &&
		c.all(r.NonResourceURLs, func(path string) bool {
			c.steps += len(g.urls)
			return g.hasPath(path)
		})
}

func (c *comparison) all(values []string, has func(string) bool) bool {
	c.steps++
	for _, v := range values {
		if c.steps++; !has(v) {
			return false
		}
	}
	return true
}

func (g *holding) hasResource(name string) bool {
	if g.resources[rbacv1.ResourceAll] || g.resources[name] {
		return true
	}
	_, sub, ok := strings.Cut(name, "/")
	return ok && g.resources["*/"+sub]
}

func (g *holding) hasPath(path string) bool {
	for _, held := range g.urls {
		if held == path || strings.HasSuffix(held, "*") && strings.HasPrefix(path, strings.TrimRight(held, "*")) {
			return true
		}
	}
	return false
}
