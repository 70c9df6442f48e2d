package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// RBAC decides by the roles and bindings of rbac.authorization.k8s.io.
//
// Bindings are indexed by subject, so the cost of a decision grows with what the asking user was granted, and not
// with the number of bindings in the cluster. The index is kept up to date change by change.
type RBAC struct {
	mu       sync.RWMutex // guards all below: a decision sees each change whole
	roles    map[roleKey]*role
	bindings map[objectKey]*binding
	subjects map[subject]*grants
}

// roleKey names a Role, or a ClusterRole when namespace is empty.
type roleKey struct{ namespace, name string }

// objectKey names a RoleBinding, or a ClusterRoleBinding when namespace is empty.
type objectKey struct{ namespace, name string }

// subject is a user or a group; service accounts are users by their full names.
type subject struct {
	group bool
	name  string
}

// role is a role that exists or is referred to by a binding.
type role struct {
	key roleKey
	// rules are nil and exists is false as long as only bindings know the role.
	rules  []rule
	exists bool
	// bindings counts those that refer to the role.
	bindings int
}

type binding struct {
	role     *role
	subjects []subject
}

// grant is one role given to one subject by one binding.
type grant struct {
	role    *role
	binding objectKey
	// reason is what audit logs and reviews say when this grant allows something.
	reason string
}

type grants struct {
	everywhere []grant
	namespaced map[string][]grant
}

// NewRBAC makes an authorizer without any roles.
func NewRBAC() *RBAC {
	return &RBAC{roles: map[roleKey]*role{}, bindings: map[objectKey]*binding{}, subjects: map[subject]*grants{}}
}

// SetRole takes over a role's rules; namespace is empty for a ClusterRole.
func (r *RBAC) SetRole(namespace, name string, rules []rbacv1.PolicyRule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ro := r.roleLocked(roleKey{namespace, name})
	ro.rules, ro.exists = compile(rules), true
}

// DeleteRole forgets a role; namespace is empty for a ClusterRole.
func (r *RBAC) DeleteRole(namespace, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ro := r.roles[roleKey{namespace, name}]; ro != nil {
		ro.rules, ro.exists = nil, false
		r.dropUnusedLocked(ro)
	}
}

// SetBinding takes over a binding; namespace is empty for a ClusterRoleBinding.
func (r *RBAC) SetBinding(namespace, name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := objectKey{namespace, name}
	r.deleteBindingLocked(key)
	rk := roleKey{namespace, ref.Name}
	if ref.Kind == "ClusterRole" {
		rk.namespace = ""
	}
	b := &binding{role: r.roleLocked(rk)}
	b.role.bindings++
	for _, s := range subjects {
		who, ok := subjectOf(s, namespace)
		if !ok {
			continue
		}
		b.subjects = append(b.subjects, who)
		r.grantLocked(who, namespace, grant{role: b.role, binding: key, reason: describe(key, ref, s)})
	}
	r.bindings[key] = b
}

// DeleteBinding forgets a binding; namespace is empty for a ClusterRoleBinding.
func (r *RBAC) DeleteBinding(namespace, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deleteBindingLocked(objectKey{namespace, name})
}

func (r *RBAC) roleLocked(key roleKey) *role {
	ro := r.roles[key]
	if ro == nil {
		ro = &role{key: key}
		r.roles[key] = ro
	}
	return ro
}

func (r *RBAC) dropUnusedLocked(ro *role) {
	if !ro.exists && ro.bindings == 0 {
		delete(r.roles, ro.key)
	}
}

func (r *RBAC) grantLocked(who subject, namespace string, g grant) {
	gs := r.subjects[who]
	if gs == nil {
		gs = &grants{}
		r.subjects[who] = gs
	}
	if namespace == "" {
		gs.everywhere = append(gs.everywhere, g)
		return
	}
	if gs.namespaced == nil {
		gs.namespaced = map[string][]grant{}
	}
	gs.namespaced[namespace] = append(gs.namespaced[namespace], g)
}

func (r *RBAC) deleteBindingLocked(key objectKey) {
	b := r.bindings[key]
	if b == nil {
		return
	}
	delete(r.bindings, key)
	for _, who := range b.subjects {
		gs := r.subjects[who]
		if gs == nil {
			continue
		}
		if key.namespace == "" {
			gs.everywhere = without(gs.everywhere, key)
		} else if left := without(gs.namespaced[key.namespace], key); len(left) > 0 {
			gs.namespaced[key.namespace] = left
		} else {
			delete(gs.namespaced, key.namespace)
		}
		if len(gs.everywhere) == 0 && len(gs.namespaced) == 0 {
			delete(r.subjects, who)
		}
	}
	b.role.bindings--
	r.dropUnusedLocked(b.role)
}

func without(list []grant, key objectKey) []grant {
	var left []grant
	for _, g := range list {
		if g.binding != key {
			left = append(left, g)
		}
	}
	return left
}

// subjectOf gives the user or group that a subject of a binding stands for; a service account without a namespace
// is one of the binding's own.
func subjectOf(s rbacv1.Subject, bindingNamespace string) (subject, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return subject{name: s.Name}, true
	case rbacv1.GroupKind:
		return subject{group: true, name: s.Name}, true
	case rbacv1.ServiceAccountKind:
		namespace := s.Namespace
		if namespace == "" {
			namespace = bindingNamespace
		}
		return subject{name: serviceaccount.MakeUsername(namespace, s.Name)}, namespace != ""
	}
	return subject{}, false
}

func describe(key objectKey, ref rbacv1.RoleRef, s rbacv1.Subject) string {
	kind, name := "ClusterRoleBinding", key.name
	if key.namespace != "" {
		kind, name = "RoleBinding", key.name+"/"+key.namespace
	}
	who := s.Name
	if s.Kind == rbacv1.ServiceAccountKind {
		namespace := s.Namespace
		if namespace == "" {
			namespace = key.namespace
		}
		who += "/" + namespace
	}
	return fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s %q", kind, name, ref.Kind, ref.Name, s.Kind, who)
}

// visit calls f with each grant of the user that holds in the namespace, until f returns false.
func (r *RBAC) visit(u user.Info, namespace string, f func(g *grant) bool) {
	if !r.visitSubject(subject{name: u.GetName()}, namespace, f) {
		return
	}
	for _, group := range u.GetGroups() {
		if !r.visitSubject(subject{group: true, name: group}, namespace, f) {
			return
		}
	}
}

func (r *RBAC) visitSubject(who subject, namespace string, f func(g *grant) bool) bool {
	gs := r.subjects[who]
	if gs == nil {
		return true
	}
	for n := range gs.everywhere {
		if !f(&gs.everywhere[n]) {
			return false
		}
	}
	if namespace == "" {
		return true
	}
	local := gs.namespaced[namespace]
	for n := range local {
		if !f(&local[n]) {
			return false
		}
	}
	return true
}

// Authorize allows what one of the user's roles allows, and has no opinion otherwise.
func (r *RBAC) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	if u == nil {
		return authorizer.DecisionNoOpinion, "", errors.New("no user in the request")
	}
	q := requestFrom(a)
	var allowed *grant
	var missing []error
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.visit(u, a.GetNamespace(), func(g *grant) bool {
		if !g.role.exists {
			missing = append(missing, g.role.missing())
			return true
		}
		if anyAllows(g.role.rules, &q) {
			allowed = g
		}
		return allowed == nil
	})
	if allowed != nil {
		return authorizer.DecisionAllow, allowed.reason, nil
	}
	if len(missing) > 0 {
		return authorizer.DecisionNoOpinion, fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(missing)), nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func (ro *role) missing() error {
	resource := "clusterrole"
	if ro.key.namespace != "" {
		resource = "role"
	}
	return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: resource}, ro.key.name)
}

// Rules are all rules of the user that hold in the namespace. With an error the rules are incomplete, not wrong.
func (r *RBAC) Rules(u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	var missing []error
	r.mu.RLock()
	defer r.mu.RUnlock()
	seen := map[objectKey]bool{}
	r.visit(u, namespace, func(g *grant) bool {
		if seen[g.binding] {
			return true
		}
		seen[g.binding] = true
		if !g.role.exists {
			missing = append(missing, g.role.missing())
		}
		for _, ru := range g.role.rules {
			rules = append(rules, *ru.PolicyRule)
		}
		return true
	})
	return rules, utilerrors.NewAggregate(missing)
}

// RoleRules are the rules of the role that a binding in the namespace ("" for a ClusterRoleBinding) refers to.
func (r *RBAC) RoleRules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, bool) {
	key := roleKey{namespace, ref.Name}
	if ref.Kind == "ClusterRole" {
		key.namespace = ""
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	ro := r.roles[key]
	if ro == nil || !ro.exists {
		return nil, false
	}
	rules := make([]rbacv1.PolicyRule, len(ro.rules))
	for n := range ro.rules {
		rules[n] = *ro.rules[n].PolicyRule
	}
	return rules, true
}
