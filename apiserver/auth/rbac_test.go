package auth

import (
	"context"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap/policy"
)

// parseRequest reads "verb group/resource[/subresource] [in namespace] [name]" or "verb /path".
func parseRequest(t testing.TB, u user.Info, text string) authorizer.AttributesRecord {
	t.Helper()
	words := strings.Fields(text)
	a := authorizer.AttributesRecord{User: u, Verb: words[0]}
	if strings.HasPrefix(words[1], "/") {
		a.Path = words[1]
		return a
	}
	a.ResourceRequest, a.APIVersion = true, "v1"
	a.Resource, a.APIGroup, _ = strings.Cut(words[1], ".")
	a.Resource, a.Subresource, _ = strings.Cut(a.Resource, "/")
	words = words[2:]
	if len(words) >= 2 && words[0] == "in" {
		a.Namespace = words[1]
		words = words[2:]
	}
	if len(words) > 0 {
		a.Name = words[0]
	}
	return a
}

func TestRules(t *testing.T) {
	r := func(verbs, groups, resources, names string) rbacv1.PolicyRule {
		split := func(s string) []string {
			if s == "-" {
				return nil
			}
			list := strings.Split(s, ",")
			for n := range list {
				if list[n] == "core" {
					list[n] = ""
				}
			}
			return list
		}
		return rbacv1.PolicyRule{Verbs: split(verbs), APIGroups: split(groups), Resources: split(resources), ResourceNames: split(names)}
	}
	url := func(verbs string, urls ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), NonResourceURLs: urls}
	}
	for _, c := range []struct {
		rule    rbacv1.PolicyRule
		request string
		want    bool
	}{
		{r("get", "core", "pods", "-"), "get pods in n", true},
		{r("get", "core", "pods", "-"), "list pods in n", false},
		{r("get", "core", "pods", "-"), "get pods.apps in n", false},
		{r("get", "core", "pods", "-"), "get pods/log in n p", false},
		{r("get", "core", "pods/log", "-"), "get pods/log in n p", true},
		{r("get", "core", "pods/log", "-"), "get pods in n p", false},
		{r("get", "core", "pods/*", "-"), "get pods/log in n p", false},
		{r("get", "*", "*/log", "-"), "get pods/log in n p", true},
		{r("get", "*", "*/log", "-"), "get pods/status in n p", false},
		{r("*", "*", "*", "-"), "escalate roles.x in n", true},
		{r("*", "*", "*", "-"), "get /metrics", false},
		{r("get,list", "core", "pods", "a"), "get pods in n a", true},
		{r("get,list", "core", "pods", "a"), "get pods in n b", false},
		{r("get,list", "core", "pods", "a"), "list pods in n", false},
		{r("get,list", "core", "pods", "a"), "list pods in n a", true},
		{r("get", "apps", "*", "-"), "get deployments/scale.apps in n d", false},
		{url("get", "/healthz"), "get /healthz", true},
		{url("get", "/healthz"), "get /healthz/etcd", false},
		{url("get", "/healthz/*"), "get /healthz/etcd", true},
		{url("get", "*"), "get /anything", true},
		{url("*", "/a*"), "post /abc", true},
		{url("get", "/a"), "get pods in n", false},
	} {
		t.Run(fmt.Sprintf("%v %s", c.rule, c.request), func(t *testing.T) {
			z := NewRBAC()
			z.SetRole("", "r", []rbacv1.PolicyRule{c.rule})
			z.SetBinding("", "b", rbacv1.RoleRef{Kind: "ClusterRole", Name: "r"}, []rbacv1.Subject{{Kind: "User", Name: "u"}})
			// A subresource of a group is written resource/sub.group: bring it into order.
			text := c.request
			if strings.Contains(text, "deployments/scale.apps") {
				text = "get deployments/scale in n d"
			}
			decision, _, err := z.Authorize(t.Context(), parseRequest(t, &user.DefaultInfo{Name: "u"}, text))
			if err != nil || (decision == authorizer.DecisionAllow) != c.want {
				t.Errorf("decision %v, %v", decision, err)
			}
		})
	}
}

func TestBindings(t *testing.T) {
	z := NewRBAC()
	read := []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}
	who := func(name string, groups ...string) user.Info { return &user.DefaultInfo{Name: name, Groups: groups} }
	check := func(step string, u user.Info, namespace string, want bool, reason string) {
		t.Helper()
		request := "get pods"
		if namespace != "" {
			request += " in " + namespace
		}
		decision, why, err := z.Authorize(t.Context(), parseRequest(t, u, request))
		if err != nil || (decision == authorizer.DecisionAllow) != want || why != reason {
			t.Errorf("%s: %v %q %v", step, decision, why, err)
		}
	}
	z.SetBinding("a", "b", rbacv1.RoleRef{Kind: "Role", Name: "r"}, []rbacv1.Subject{
		{Kind: "Group", Name: "g"}, {Kind: "ServiceAccount", Name: "s"}, {Kind: "ServiceAccount", Namespace: "other", Name: "s"},
	})
	check("missing role", who("u", "g"), "a", false, `RBAC: role.rbac.authorization.k8s.io "r" not found`)
	z.SetRole("a", "r", read)
	check("group", who("u", "x", "g"), "a", true, `RBAC: allowed by RoleBinding "b/a" of Role "r" to Group "g"`)
	check("other namespace", who("u", "g"), "b", false, "")
	check("all namespaces", who("u", "g"), "", false, "")
	check("own service account", who("system:serviceaccount:a:s"), "a", true, `RBAC: allowed by RoleBinding "b/a" of Role "r" to ServiceAccount "s/a"`)
	check("other's service account", who("system:serviceaccount:other:s"), "a", true, `RBAC: allowed by RoleBinding "b/a" of Role "r" to ServiceAccount "s/other"`)
	check("foreign service account", who("system:serviceaccount:third:s"), "a", false, "")
	z.SetRole("a", "r", nil)
	check("empty role", who("u", "g"), "a", false, "")
	z.SetRole("a", "r", read)
	z.SetBinding("a", "b", rbacv1.RoleRef{Kind: "Role", Name: "r"}, []rbacv1.Subject{{Kind: "User", Name: "u"}})
	check("new subjects", who("x", "g"), "a", false, "")
	check("new subject", who("u"), "a", true, `RBAC: allowed by RoleBinding "b/a" of Role "r" to User "u"`)
	z.DeleteRole("a", "r")
	check("role gone", who("u"), "a", false, `RBAC: role.rbac.authorization.k8s.io "r" not found`)
	z.DeleteBinding("a", "b")
	check("binding gone", who("u"), "a", false, "")
	z.SetRole("", "r", read)
	z.SetBinding("", "b", rbacv1.RoleRef{Kind: "ClusterRole", Name: "r"}, []rbacv1.Subject{{Kind: "User", Name: "u"}, {Kind: "ServiceAccount", Name: "nowhere"}})
	check("everywhere", who("u"), "any", true, `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "u"`)
	check("cluster", who("u"), "", true, `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "u"`)
	z.DeleteBinding("", "b")
	z.DeleteRole("", "r")
	if len(z.roles)+len(z.bindings)+len(z.subjects) != 0 {
		t.Errorf("left behind: %v %v %v", z.roles, z.bindings, z.subjects)
	}
}

// loaded is an RBAC with the default policy and, to show that they cost nothing, many bindings of others.
func loaded(t testing.TB, others int) *RBAC {
	t.Helper()
	p, err := policy.Default()
	if err != nil {
		t.Fatal(err)
	}
	z := NewRBAC()
	for _, o := range p.ClusterRoles {
		z.set(o)
	}
	for _, o := range p.Roles {
		z.set(o)
	}
	for _, o := range p.ClusterRoleBindings {
		z.set(o)
	}
	for _, o := range p.RoleBindings {
		z.set(o)
	}
	for n := range others {
		name := fmt.Sprint("b", n)
		z.SetBinding(fmt.Sprint("ns", n%100), name, rbacv1.RoleRef{Kind: "ClusterRole", Name: "system:aggregate-to-view"}, []rbacv1.Subject{{Kind: "User", Name: name}})
	}
	return z
}

func BenchmarkRBAC(b *testing.B) {
	z := loaded(b, 10000)
	u := ServiceAccount("kube-system", "replicaset-controller")
	for name, text := range map[string]string{"allowed": "create pods in ns7", "refused": "create nodes"} {
		a := parseRequest(b, u, text)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if decision, _, _ := z.Authorize(context.Background(), a); (decision == authorizer.DecisionAllow) != (name == "allowed") {
					b.Fatal(decision)
				}
			}
		})
	}
}
