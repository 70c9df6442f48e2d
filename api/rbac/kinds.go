package rbac

import (
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Role is the kind of roles in a namespace.
var Role = kind.Kind[*rbacv1.Role]{
	Group: group, Version: version, Kind: "Role", Plural: "roles", Namespaced: true,
	New:            func() *rbacv1.Role { return &rbacv1.Role{} },
	NewList:        func() runtime.Object { return &rbacv1.RoleList{} },
	ValidName:      path.ValidatePathSegmentName,
	Validate:       func(r *rbacv1.Role) field.ErrorList { return validateRules(r.Rules, true) },
	ValidateUpdate: func(new, _ *rbacv1.Role) field.ErrorList { return validateRules(new.Rules, true) },
	CreateOnUpdate: true,
}

// ClusterRole is the kind of roles in the whole cluster.
var ClusterRole = kind.Kind[*rbacv1.ClusterRole]{
	Group: group, Version: version, Kind: "ClusterRole", Plural: "clusterroles",
	New:       func() *rbacv1.ClusterRole { return &rbacv1.ClusterRole{} },
	NewList:   func() runtime.Object { return &rbacv1.ClusterRoleList{} },
	ValidName: path.ValidatePathSegmentName,
	Validate:  validateClusterRole,
	ValidateUpdate: func(new, _ *rbacv1.ClusterRole) field.ErrorList {
		return validateClusterRole(new)
	},
	CreateOnUpdate: true,
}

func validateClusterRole(r *rbacv1.ClusterRole) field.ErrorList {
	return append(validateRules(r.Rules, false), validateAggregation(r.AggregationRule)...)
}

// RoleBinding is the kind that grants a role in its own namespace.
var RoleBinding = kind.Kind[*rbacv1.RoleBinding]{
	Group: group, Version: version, Kind: "RoleBinding", Plural: "rolebindings", Namespaced: true,
	New:       func() *rbacv1.RoleBinding { return &rbacv1.RoleBinding{} },
	NewList:   func() runtime.Object { return &rbacv1.RoleBindingList{} },
	Default:   func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	ValidName: path.ValidatePathSegmentName,
	Validate:  validateRoleBinding,
	ValidateUpdate: func(new, old *rbacv1.RoleBinding) field.ErrorList {
		return append(validateRoleBinding(new), validateRoleRefKept(new.RoleRef, old.RoleRef)...)
	},
	CreateOnUpdate: true,
	Columns: bindingColumns("roleBinding", kind.Doc(rbacv1.RoleBinding{}, "roleRef"),
		func(b *rbacv1.RoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.RoleBinding) []rbacv1.Subject { return b.Subjects }),
}

func validateRoleBinding(b *rbacv1.RoleBinding) field.ErrorList {
	return validateBinding(b.RoleRef, b.Subjects, true, []string{"ClusterRole", "Role"})
}

// ClusterRoleBinding is the kind that grants a cluster role everywhere.
var ClusterRoleBinding = kind.Kind[*rbacv1.ClusterRoleBinding]{
	Group: group, Version: version, Kind: "ClusterRoleBinding", Plural: "clusterrolebindings",
	New:       func() *rbacv1.ClusterRoleBinding { return &rbacv1.ClusterRoleBinding{} },
	NewList:   func() runtime.Object { return &rbacv1.ClusterRoleBindingList{} },
	Default:   func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
	ValidName: path.ValidatePathSegmentName,
	Validate:  validateClusterRoleBinding,
	ValidateUpdate: func(new, old *rbacv1.ClusterRoleBinding) field.ErrorList {
		return append(validateClusterRoleBinding(new), validateRoleRefKept(new.RoleRef, old.RoleRef)...)
	},
	CreateOnUpdate: true,
	Columns: bindingColumns("clusterRoleBinding", kind.Doc(rbacv1.ClusterRoleBinding{}, "roleRef"),
		func(b *rbacv1.ClusterRoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.ClusterRoleBinding) []rbacv1.Subject { return b.Subjects }),
}

func validateClusterRoleBinding(b *rbacv1.ClusterRoleBinding) field.ErrorList {
	return validateBinding(b.RoleRef, b.Subjects, false, []string{"ClusterRole"})
}

func bindingColumns[T kind.Object](of, roleRef string, ref func(T) rbacv1.RoleRef, subjects func(T) []rbacv1.Subject) []kind.Column[T] {
	named := func(column, ofKind string) kind.Column[T] {
		return kind.Column[T]{Name: column, Type: "string", Priority: 1, Description: column + " in the " + of,
			Cell: func(o T, _ time.Time) any { return subjectNames(subjects(o), ofKind) }}
	}
	return []kind.Column[T]{
		kind.NameColumn[T](),
		{Name: "Role", Type: "string", Description: roleRef,
			Cell: func(o T, _ time.Time) any { return ref(o).Kind + "/" + ref(o).Name }},
		kind.AgeColumn[T](),
		named("Users", rbacv1.UserKind),
		named("Groups", rbacv1.GroupKind),
		named("ServiceAccounts", rbacv1.ServiceAccountKind),
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

func contains(list []string, s string) bool { return slices.Contains(list, s) }
