package auth

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func withPolicy(t testing.TB) *Authorizer {
	t.Helper()
	_, z := start(t)
	z.RBAC = loaded(t, 0)
	return z
}

func TestEscalation(t *testing.T) {
	z := withPolicy(t)
	rule := func(verbs, group, resource string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names}
	}
	z.RBAC.SetRole("n", "own", []rbacv1.PolicyRule{rule("get,list", "", "pods"), rule("get", "", "secrets", "a")})
	z.RBAC.SetBinding("n", "own", rbacv1.RoleRef{Kind: "Role", Name: "own"}, []rbacv1.Subject{{Kind: "User", Name: "u"}})
	z.RBAC.SetRole("n", "free", []rbacv1.PolicyRule{rule("escalate", rbacv1.GroupName, "roles"), rule("bind", rbacv1.GroupName, "clusterroles", "cluster-admin")})
	z.RBAC.SetBinding("n", "free", rbacv1.RoleRef{Kind: "Role", Name: "free"}, []rbacv1.Subject{{Kind: "User", Name: "free"}})
	role := func(rules ...rbacv1.PolicyRule) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x"}, Rules: rules}
	}
	bind := func(kind, name string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x"}, RoleRef: rbacv1.RoleRef{Kind: kind, Name: name}}
	}
	released := role(rule("*", "", "nodes"))
	held := kind.Copy(released)
	held.Finalizers = []string{"a/b"}
	aggregated := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"}, AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}}
	for name, c := range map[string]struct {
		user     string
		obj, old kind.Object
		code     int32
		message  string
	}{
		"own rule":          {"u", role(rule("get", "", "pods")), nil, 0, ""},
		"own rules":         {"u", role(rule("get", "", "pods"), rule("list", "", "pods")), nil, 0, ""},
		"named":             {"u", role(rule("get", "", "secrets", "a")), nil, 0, ""},
		"nothing":           {"u", role(), nil, 0, ""},
		"other name":        {"u", role(rule("get", "", "secrets", "b")), nil, 403, `{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}`},
		"all names":         {"u", role(rule("get", "", "secrets")), nil, 403, "user \"u\" (groups=[]) is attempting to grant RBAC permissions not currently held:\n"},
		"two verbs":         {"u", role(rule("get,list", "", "nodes")), nil, 403, `{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}`},
		"only finalizers":   {"u", released, held, 0, ""},
		"changed":           {"u", released, role(), 403, "not currently held"},
		"may escalate":      {"free", role(rule("*", "*", "*")), nil, 0, ""},
		"bind own":          {"u", bind("Role", "own"), nil, 0, ""},
		"bind other":        {"u", bind("ClusterRole", "cluster-admin"), nil, 403, "not currently held"},
		"bind missing":      {"u", bind("Role", "nope"), nil, 404, `rolebindings.rbac.authorization.k8s.io "nope" not found`},
		"may bind":          {"free", bind("ClusterRole", "cluster-admin"), nil, 0, ""},
		"may bind not that": {"free", bind("ClusterRole", "system:node"), nil, 403, "not currently held"},
		"aggregation":       {"u", aggregated, nil, 403, "must have cluster-admin privileges to use an aggregationRule"},
		"cluster binding":   {"u", &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "x"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}}, nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := z.ConfirmNoEscalation(t.Context(), &user.DefaultInfo{Name: c.user}, "n", c.obj, c.old)
			if c.code == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			status, ok := err.(*apierrors.StatusError)
			if !ok || status.ErrStatus.Code != c.code || !strings.Contains(err.Error(), c.message) {
				t.Errorf("%v", err)
			}
		})
	}
	if err := z.ConfirmNoEscalation(t.Context(), master(), "n", role(rule("*", "*", "*")), nil); err != nil {
		t.Error(err)
	}
}

func TestAccessReviews(t *testing.T) {
	r := &Reviews{Authorizer: withPolicy(t)}
	resource := &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: "n"}
	url := &authorizationv1.NonResourceAttributes{Path: "/healthz", Verb: "get"}
	access := func(spec authorizationv1.SubjectAccessReviewSpec) *authorizationv1.SubjectAccessReview {
		return &authorizationv1.SubjectAccessReview{Spec: spec}
	}
	with := func(edit func(a *authorizationv1.ResourceAttributes)) authorizationv1.SubjectAccessReviewSpec {
		a := *resource
		edit(&a)
		return authorizationv1.SubjectAccessReviewSpec{User: "u", ResourceAttributes: &a}
	}
	named := access(authorizationv1.SubjectAccessReviewSpec{User: "u", ResourceAttributes: resource})
	named.Name = "x"
	for name, c := range map[string]struct {
		obj    kind.Object
		causes string // or "allowed", "refused"
	}{
		"refused": {access(authorizationv1.SubjectAccessReviewSpec{User: "u", ResourceAttributes: resource}), "refused"},
		"group":   {access(authorizationv1.SubjectAccessReviewSpec{Groups: []string{"system:masters"}, ResourceAttributes: resource}), "allowed"},
		"url":     {access(authorizationv1.SubjectAccessReviewSpec{Groups: []string{"system:unauthenticated"}, NonResourceAttributes: url}), "allowed"},
		"nothing": {access(authorizationv1.SubjectAccessReviewSpec{}), "spec.resourceAttributes spec.user"},
		"both":    {access(authorizationv1.SubjectAccessReviewSpec{User: "u", ResourceAttributes: resource, NonResourceAttributes: url}), "spec.nonResourceAttributes"},
		"name":    {named, "metadata"},
		"empty selector": {access(with(func(a *authorizationv1.ResourceAttributes) {
			a.LabelSelector = &authorizationv1.LabelSelectorAttributes{}
		})), "spec.resourceAttributes.labelSelector.requirements"},
		"raw selector": {access(with(func(a *authorizationv1.ResourceAttributes) {
			a.FieldSelector = &authorizationv1.FieldSelectorAttributes{RawSelector: "a=b"}
		})), "refused"},
		"self":              {&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: resource}}, "allowed"},
		"self nothing":      {&authorizationv1.SelfSubjectAccessReview{}, "spec.resourceAttributes"},
		"local":             {&authorizationv1.LocalSubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "u", ResourceAttributes: resource}}, "refused"},
		"local elsewhere":   {&authorizationv1.LocalSubjectAccessReview{Spec: with(func(a *authorizationv1.ResourceAttributes) { a.Namespace = "o" })}, "spec.resourceAttributes.namespace"},
		"local url":         {&authorizationv1.LocalSubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "u", NonResourceAttributes: url}}, "spec.nonResourceAttributes"},
		"strange operator":  {access(with(func(a *authorizationv1.ResourceAttributes) { a.FieldSelector = requirement("Near", "x") })), "spec.resourceAttributes.fieldSelector.requirements[0].operator"},
		"operator no value": {access(with(func(a *authorizationv1.ResourceAttributes) { a.FieldSelector = requirement("In") })), "spec.resourceAttributes.fieldSelector.requirements[0].values"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := r.Review(t.Context(), master(), nil, "n", c.obj)
			got := ""
			if status, ok := err.(*apierrors.StatusError); ok && status.ErrStatus.Code == 422 {
				var fields []string
				for _, cause := range status.ErrStatus.Details.Causes {
					fields = append(fields, cause.Field)
				}
				got = strings.Join(fields, " ")
			} else if err != nil {
				t.Fatal(err)
			} else {
				got = map[bool]string{true: "allowed", false: "refused"}[allowed(out)]
			}
			if got != c.causes {
				t.Errorf("%s, want %s", got, c.causes)
			}
		})
	}
}

func requirement(operator string, values ...string) *authorizationv1.FieldSelectorAttributes {
	return &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{
		{Key: "a", Operator: metav1.FieldSelectorOperator(operator), Values: values},
	}}
}

func allowed(o any) bool {
	switch o := o.(type) {
	case *authorizationv1.SubjectAccessReview:
		return o.Status.Allowed
	case *authorizationv1.SelfSubjectAccessReview:
		return o.Status.Allowed
	case *authorizationv1.LocalSubjectAccessReview:
		return o.Status.Allowed
	}
	return false
}

func TestRulesReview(t *testing.T) {
	r := &Reviews{Authorizer: withPolicy(t)}
	alice := &user.DefaultInfo{Name: "alice", Groups: []string{"system:authenticated"}}
	if _, err := r.Review(t.Context(), alice, nil, "", &authorizationv1.SelfSubjectRulesReview{}); !apierrors.IsBadRequest(err) {
		t.Errorf("without a namespace: %v", err)
	}
	ask := func(u user.Info) authorizationv1.SubjectRulesReviewStatus {
		t.Helper()
		o := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "n"}}
		if _, err := r.Review(t.Context(), u, nil, "", o); err != nil {
			t.Fatal(err)
		}
		return o.Status
	}
	s := ask(alice)
	if len(s.ResourceRules) != 2 || len(s.NonResourceRules) != 2 || s.Incomplete || s.EvaluationError != "" {
		t.Errorf("alice: %+v", s)
	}
	s = ask(&user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}})
	if !s.Incomplete || s.EvaluationError != "node authorizer does not support user rule resolution" || s.ResourceRules == nil {
		t.Errorf("node: %+v", s)
	}
}

func TestIdentityReviews(t *testing.T) {
	registry, z := start(t)
	tokens := newTokens(t, registry, nil)
	r := &Reviews{Authorizer: z, Authenticator: NewAuthenticator(AuthenticatorOptions{Tokens: []authenticator.Token{tokens}, Audiences: []string{issuer}})}
	self := &authenticationv1.SelfSubjectReview{}
	if _, err := r.Review(t.Context(), &user.DefaultInfo{Name: "u", UID: "1", Extra: map[string][]string{"a": {"b"}}}, nil, "", self); err != nil ||
		self.Status.UserInfo.Username != "u" || self.Status.UserInfo.UID != "1" || self.Status.UserInfo.Extra["a"][0] != "b" {
		t.Errorf("self: %v %v", self.Status, err)
	}
	sa := create(t, registry, z, "serviceaccounts", account("s"))
	out, err := tokens.Issue(t.Context(), master(), sa, ask(3600, issuer, "other"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spec  authenticationv1.TokenReviewSpec
		user  string
		auds  []string
		wrong string
	}{
		"own":     {authenticationv1.TokenReviewSpec{Token: out.Status.Token}, "system:serviceaccount:n:s", []string{issuer}, ""},
		"other":   {authenticationv1.TokenReviewSpec{Token: out.Status.Token, Audiences: []string{"other", "x"}}, "system:serviceaccount:n:s", []string{"other"}, ""},
		"foreign": {authenticationv1.TokenReviewSpec{Token: out.Status.Token, Audiences: []string{"x"}}, "", nil, "invalid for the target audiences"},
		"bogus":   {authenticationv1.TokenReviewSpec{Token: "bogus"}, "", nil, "invalid bearer token"},
	} {
		o := &authenticationv1.TokenReview{Spec: c.spec}
		if _, err := r.Review(t.Context(), master(), nil, "", o); err != nil {
			t.Fatal(err)
		}
		s := o.Status
		if s.Authenticated != (c.user != "") || s.User.Username != c.user || !slices.Equal(s.Audiences, c.auds) || !strings.Contains(s.Error, c.wrong) || (s.Error == "") != (c.wrong == "") {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if _, err := r.Review(t.Context(), master(), nil, "", &authenticationv1.TokenReview{}); !apierrors.IsBadRequest(err) {
		t.Errorf("empty: %v", err)
	}
}
