package controllers

import (
	"os"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacvalidation "k8s.io/component-helpers/auth/rbac/validation"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap/policy"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

func TestDocument(t *testing.T) {
	const file = "../docs/controllers.md"
	want, err := Document(api.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	if rewrite() {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || string(have) != want {
		t.Errorf("%s is not what the controllers declare: run go test ./controllers -run TestDocument -rewrite (%v)", file, err)
	}
}

// TestDeclarationsAreAllowed: upstream's role of each controller's account allows what it declares to write, and Events.
func TestDeclarationsAreAllowed(t *testing.T) {
	p, err := policy.Default()
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for _, r := range p.ClusterRoles {
		rules[r.Name] = r.Rules
	}
	for _, r := range p.Roles { // of controllers that write in one namespace, perhaps one object alone
		for _, rule := range r.Rules {
			rule.ResourceNames = nil
			rules[r.Name] = append(rules[r.Name], rule)
		}
	}
	declarations, err := Declarations(api.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range declarations {
		role := "system:controller:" + d.Account
		for _, w := range d.Controller.Writes {
			need := rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}}
			if w.Kind != nil {
				need = rbacv1.PolicyRule{APIGroups: []string{w.Kind.GVK.Group}, Resources: []string{w.Kind.Plural}}
			}
			if w.Subresource != "" {
				need.Resources[0] += "/" + w.Subresource
			}
			for _, v := range w.Verbs {
				need.Verbs = append(need.Verbs, string(v))
			}
			if ok, missing := rbacvalidation.Covers(rules[role], []rbacv1.PolicyRule{need}); !ok {
				t.Errorf("%s may not: %v", role, missing)
			}
		}
	}
}
