package rbac

import (
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
}, bindings("roleBinding", kind.Doc(rbacv1.RoleBinding{}, "roleRef"), true, []string{"ClusterRole", "Role"},
	func(b *rbacv1.RoleBinding) (*rbacv1.RoleRef, []rbacv1.Subject) { return &b.RoleRef, b.Subjects }))

// ClusterRoleBinding is the kind that grants a cluster role everywhere.
var ClusterRoleBinding = kind.Define(kind.Resource{
	GroupVersion: rbacv1.SchemeGroupVersion, Plural: "clusterrolebindings",
	List: kind.ListOf[rbacv1.ClusterRoleBindingList], CreateOnUpdate: true, ValidName: path.ValidatePathSegmentName,
}, bindings("clusterRoleBinding", kind.Doc(rbacv1.ClusterRoleBinding{}, "roleRef"), false, []string{"ClusterRole"},
	func(b *rbacv1.ClusterRoleBinding) (*rbacv1.RoleRef, []rbacv1.Subject) { return &b.RoleRef, b.Subjects }))

// bindings are the rules of a kind that grants roles of some kinds, given where role and subjects are in it.
func bindings[E any, P interface {
	*E
	kind.Object
}](name, roleDoc string, namespaced bool, roles []string, in func(*E) (*rbacv1.RoleRef, []rbacv1.Subject)) kind.Rules[E] {
	named := func(column, ofKind string) kind.Column[E] {
		return kind.Text(column, column+" in the "+name, func(o *E) string {
			_, subjects := in(o)
			return subjectNames(subjects, ofKind)
		}).Wide()
	}
	return kind.Rules[E]{
		Default: func(o *E) { defaultBinding(in(o)) },
		Validate: func(o, old *E) field.ErrorList {
			ref, subjects := in(o)
			if old == nil {
				return validateBinding(ref, nil, subjects, namespaced, roles)
			}
			before, _ := in(old)
			return validateBinding(ref, before, subjects, namespaced, roles)
		},
		Columns: kind.Columns[E, P]([]kind.Column[E]{kind.Text("Role", roleDoc, func(o *E) string {
			ref, _ := in(o)
			return ref.Kind + "/" + ref.Name
		})}, named("Users", rbacv1.UserKind), named("Groups", rbacv1.GroupKind), named("ServiceAccounts", rbacv1.ServiceAccountKind)),
	}
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
