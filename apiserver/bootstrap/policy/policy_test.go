package policy

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newer are the objects that the recorded release (1.36) does not have.
var newer = map[string]bool{"system:cluster-trust-bundle-discovery": true}

func TestDefaultEqualsUpstream(t *testing.T) {
	data, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		ClusterRoles        []*rbacv1.ClusterRole
		Roles               []*rbacv1.Role
		ClusterRoleBindings []*rbacv1.ClusterRoleBinding
		RoleBindings        []*rbacv1.RoleBinding
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	p, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "ClusterRole", p.ClusterRoles, recorded.ClusterRoles)
	compare(t, "Role", p.Roles, recorded.Roles)
	compare(t, "ClusterRoleBinding", p.ClusterRoleBindings, recorded.ClusterRoleBindings)
	compare(t, "RoleBinding", p.RoleBindings, recorded.RoleBindings)
	if len(p.ClusterRoles) != 70 || len(p.RoleBindings) != 7 {
		t.Errorf("%d cluster roles, %d role bindings", len(p.ClusterRoles), len(p.RoleBindings))
	}
}

func compare[T metav1.ObjectMetaAccessor](t *testing.T, kind string, have, want []T) {
	t.Helper()
	wanted := map[string]T{}
	key := func(o T) string { return o.GetObjectMeta().GetNamespace() + "/" + o.GetObjectMeta().GetName() }
	for _, o := range want {
		wanted[key(o)] = o
	}
	for _, o := range have {
		w, ok := wanted[key(o)]
		if !ok {
			if !newer[o.GetObjectMeta().GetName()] {
				t.Errorf("%s %s is not upstream's", kind, key(o))
			}
			continue
		}
		delete(wanted, key(o))
		a, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		if !sameJSON(t, a, b) {
			t.Errorf("%s %s\nhave %s\nwant %s", kind, key(o), a, b)
		}
	}
	for name := range wanted {
		t.Errorf("%s %s is missing", kind, name)
	}
}

// sameJSON compares what remains without type, and with no rules the same as none.
func sameJSON(t *testing.T, a, b []byte) bool {
	var x, y map[string]any
	for data, into := range map[*[]byte]*map[string]any{&a: &x, &b: &y} {
		if err := json.Unmarshal(*data, into); err != nil {
			t.Fatal(err)
		}
		delete(*into, "kind")
		delete(*into, "apiVersion")
		if rules, _ := (*into)["rules"].([]any); len(rules) == 0 {
			delete(*into, "rules")
		}
	}
	return equality.Semantic.DeepEqual(x, y)
}

func TestEveryBindingHasItsRole(t *testing.T) {
	p, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]bool{}
	for _, r := range p.ClusterRoles {
		roles["ClusterRole/"+r.Name] = true
	}
	for _, r := range p.Roles {
		roles["Role/"+r.Namespace+"/"+r.Name] = true
	}
	for _, b := range p.ClusterRoleBindings {
		if !roles["ClusterRole/"+b.RoleRef.Name] {
			t.Errorf("%s refers to %s", b.Name, b.RoleRef.Name)
		}
	}
	for _, b := range p.RoleBindings {
		if !roles[b.RoleRef.Kind+"/"+b.Namespace+"/"+b.RoleRef.Name] {
			t.Errorf("%s refers to %s", b.Name, b.RoleRef.Name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"Widget a\n", "ClusterRole\n", "  get pods\n", "ClusterRole a\n  get\n", "ClusterRole a\n  subject User b\n", "RoleBinding a in b\n  get pods x\n"} {
		if err := (&Policy{}).parse(text); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNodeRules(t *testing.T) {
	rules, err := NodeRules()
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) < 20 {
		t.Errorf("%d rules", len(rules))
	}
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Default(); err != nil {
			b.Fatal(err)
		}
	}
}
