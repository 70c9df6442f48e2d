package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Role is the kind of roles in a namespace.
var Role = kind.Define(kind.Resource{
	GroupVersion: rbacv1.SchemeGroupVersion, Plural: "roles", Namespaced: true,
	List: kind.ListOf[rbacv1.RoleList], CreateOnUpdate: true, ValidName: path.ValidatePathSegmentName,
}, kind.Rules[rbacv1.Role]{
	Validate: func(r, _ *rbacv1.Role) field.ErrorList { return validateRules(r.Rules, true) },
})

// ClusterRole is the kind of roles in the whole cluster.
var ClusterRole = kind.Define(kind.Resource{
	GroupVersion: rbacv1.SchemeGroupVersion, Plural: "clusterroles",
	List: kind.ListOf[rbacv1.ClusterRoleList], CreateOnUpdate: true, ValidName: path.ValidatePathSegmentName,
}, kind.Rules[rbacv1.ClusterRole]{
	Validate: func(r, _ *rbacv1.ClusterRole) field.ErrorList {
		return append(validateRules(r.Rules, false), validateAggregation(r.AggregationRule)...)
	},
})

// RoleBinding is the kind that grants a role in its own namespace.
var RoleBinding = kind.Define(kind.Resource{
	GroupVersion: rbacv1.SchemeGroupVersion, Plural: "rolebindings", Namespaced: true,
	List: kind.ListOf[rbacv1.RoleBindingList], CreateOnUpdate: true, ValidName: path.ValidatePathSegmentName,
}, kind.Rules[rbacv1.RoleBinding]{
	Default: func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate: func(new, old *rbacv1.RoleBinding) field.ErrorList {
		var ps kind.Problems
		ps.Add(validateBinding(new.RoleRef, new.Subjects, true, []string{"ClusterRole", "Role"}))
		if old != nil {
			ps.Add(validateRoleRefKept(new.RoleRef, old.RoleRef))
		}
		return ps.List
	},
	Columns: bindingColumns("roleBinding", kind.Doc(rbacv1.RoleBinding{}, "roleRef"),
		func(b *rbacv1.RoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.RoleBinding) []rbacv1.Subject { return b.Subjects }),
})

// ClusterRoleBinding is the kind that grants a cluster role everywhere.
var ClusterRoleBinding = kind.Define(kind.Resource{
	GroupVersion: rbacv1.SchemeGroupVersion, Plural: "clusterrolebindings",
	List: kind.ListOf[rbacv1.ClusterRoleBindingList], CreateOnUpdate: true, ValidName: path.ValidatePathSegmentName,
}, kind.Rules[rbacv1.ClusterRoleBinding]{
	Default: func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	Validate: func(new, old *rbacv1.ClusterRoleBinding) field.ErrorList {
		var ps kind.Problems
		ps.Add(validateBinding(new.RoleRef, new.Subjects, false, []string{"ClusterRole"}))
		if old != nil {
			ps.Add(validateRoleRefKept(new.RoleRef, old.RoleRef))
		}
		return ps.List
	},
	Columns: bindingColumns("clusterRoleBinding", kind.Doc(rbacv1.ClusterRoleBinding{}, "roleRef"),
		func(b *rbacv1.ClusterRoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.ClusterRoleBinding) []rbacv1.Subject { return b.Subjects }),
})

func bindingColumns[E any, P interface {
	*E
	kind.Object
}](of, roleRef string, ref func(*E) rbacv1.RoleRef, subjects func(*E) []rbacv1.Subject) []kind.Column[E] {
	named := func(column, ofKind string) kind.Column[E] {
		return kind.Text(column, column+" in the "+of, func(o *E) string { return subjectNames(subjects(o), ofKind) }).Wide()
	}
	return kind.Columns[E, P]([]kind.Column[E]{
		kind.Text("Role", roleRef, func(o *E) string { return ref(o).Kind + "/" + ref(o).Name }),
	}, named("Users", rbacv1.UserKind), named("Groups", rbacv1.GroupKind), named("ServiceAccounts", rbacv1.ServiceAccountKind))
}

func subjectNames(subjects []rbacv1.Subject, ofKind string) string {
	var out []string
	for _, s := range subjects {
		if s.Kind != ofKind {
			continue
		}
		if ofKind == rbacv1.ServiceAccountKind {
			out = append(out, s.Namespace+"/"+s.Name)
		} else {
			out = append(out, s.Name)
		}
	}
	return strings.Join(out, ", ")
}

func asSelector(s *metav1.LabelSelector) error {
	_, err := metav1.LabelSelectorAsSelector(s)
	return err
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
