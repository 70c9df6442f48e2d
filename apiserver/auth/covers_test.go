package auth

import (
	"fmt"
	"math/rand/v2"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// TestUncoveredIsUpstreams compares random rules here and in the library.
func TestUncoveredIsUpstreams(t *testing.T) {
	d := rand.New(rand.NewPCG(3, 4))
	some := func(most int, from ...string) []string {
		var list []string
		for range d.IntN(most + 1) {
			list = append(list, from[d.IntN(len(from))])
		}
		return list
	}
	rules := func() []rbacv1.PolicyRule {
		var list []rbacv1.PolicyRule
		for range d.IntN(4) {
			r := rbacv1.PolicyRule{Verbs: some(3, "get", "list", "*")}
			if d.IntN(4) == 0 {
				r.NonResourceURLs = some(2, "/a", "/a/b", "/a/*", "*", "/c")
			} else {
				r.APIGroups, r.Resources, r.ResourceNames = some(2, "", "apps", "*"), some(3, "pods", "pods/log", "*/log", "*", "nodes"), some(1, "x", "y")
			}
			list = append(list, r)
		}
		return list
	}
	covered := 0
	for i := range 20_000 {
		held, asked := rules(), rules()
		ok, want := validation.Covers(held, asked)
		got, more, err := uncovered(held, asked)
		if err != nil || more || ok != (len(got) == 0) || !equality.Semantic.DeepEqual(got, want) && len(want) > 0 {
			t.Fatalf("%d: %v holds %v: missing %v (%v %v), want %v", i, held, asked, got, more, err, want)
		}
		if ok {
			covered++
		}
	}
	if covered < 1000 || covered > 19_000 {
		t.Errorf("%d of 20000 were covered", covered)
	}
}

func TestUncoveredIsBounded(t *testing.T) {
	names := func(prefix string, n int) []string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprint(prefix, i))
		}
		return list
	}
	many := []rbacv1.PolicyRule{{Verbs: names("v", 300), APIGroups: names("g", 300), Resources: names("r", 300), ResourceNames: names("n", 300)}}
	if missing, _, err := uncovered(many, many); err != nil || len(missing) > 0 {
		t.Errorf("rules do not contain themselves: %v %v", missing, err)
	}
	everything := []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}
	if missing, _, err := uncovered(everything, many); err != nil || len(missing) > 0 {
		t.Errorf("everything does not contain them: %v %v", missing, err)
	}
	if missing, more, err := uncovered(nil, many); err != nil || !more || len(missing) != maxMissing {
		t.Errorf("nothing lacks %d of them, more: %v, %v", len(missing), more, err)
	}
	parts := []rbacv1.PolicyRule{
		{Verbs: many[0].Verbs[:150], APIGroups: many[0].APIGroups, Resources: many[0].Resources, ResourceNames: many[0].ResourceNames},
		{Verbs: many[0].Verbs[150:], APIGroups: many[0].APIGroups, Resources: many[0].Resources, ResourceNames: many[0].ResourceNames},
	}
	if _, _, err := uncovered(parts, many); err == nil {
		t.Error("eight thousand million permissions have been compared one by one")
	}
}
