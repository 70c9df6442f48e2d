// Package policy holds the RBAC roles and bindings that every cluster has, and the rules that every node has.
package policy

import (
	"embed"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed roles.txt bindings.txt
var tables embed.FS

const (
	// AutoUpdate is the annotation of objects that are brought up to date at every start, unless it is "false".
	AutoUpdate = "rbac.authorization.kubernetes.io/autoupdate"
	// defaultsLabel and defaultsValue mark the objects of this package.
	defaultsLabel = "kubernetes.io/bootstrapping"
	defaultsValue = "rbac-defaults"
)

// Policy is the set of default RBAC objects.
type Policy struct {
	ClusterRoles        []*rbacv1.ClusterRole
	Roles               []*rbacv1.Role
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	RoleBindings        []*rbacv1.RoleBinding
}

// Default makes the default objects anew: the caller owns them.
func Default() (*Policy, error) {
	p := &Policy{}
	for _, name := range []string{"roles.txt", "bindings.txt"} {
		text, err := tables.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := p.parse(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return p, nil
}

// entry points at the parts of the object that is being read.
type entry struct {
	meta     *metav1.ObjectMeta
	rules    *[]rbacv1.PolicyRule
	selector **rbacv1.AggregationRule
	ref      *rbacv1.RoleRef
	subjects *[]rbacv1.Subject
}

func (p *Policy) parse(text string) error {
	var e entry
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		var err error
		if line[0] != ' ' {
			e, err = p.begin(words)
		} else {
			err = e.add(words)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return nil
}

func (p *Policy) begin(words []string) (entry, error) {
	var namespace string
	switch {
	case len(words) == 4 && words[2] == "in":
		namespace = words[3]
	case len(words) != 2:
		return entry{}, fmt.Errorf("expected KIND NAME [in NAMESPACE], have %q", words)
	}
	meta := metav1.ObjectMeta{
		Name: words[1], Namespace: namespace,
		Labels:      map[string]string{defaultsLabel: defaultsValue},
		Annotations: map[string]string{AutoUpdate: "true"},
	}
	switch words[0] {
	case "ClusterRole":
		o := &rbacv1.ClusterRole{ObjectMeta: meta}
		p.ClusterRoles = append(p.ClusterRoles, o)
		return entry{meta: &o.ObjectMeta, rules: &o.Rules, selector: &o.AggregationRule}, nil
	case "Role":
		o := &rbacv1.Role{ObjectMeta: meta}
		p.Roles = append(p.Roles, o)
		return entry{meta: &o.ObjectMeta, rules: &o.Rules}, nil
	case "ClusterRoleBinding":
		o := &rbacv1.ClusterRoleBinding{ObjectMeta: meta}
		p.ClusterRoleBindings = append(p.ClusterRoleBindings, o)
		return entry{meta: &o.ObjectMeta, ref: &o.RoleRef, subjects: &o.Subjects}, nil
	case "RoleBinding":
		o := &rbacv1.RoleBinding{ObjectMeta: meta}
		p.RoleBindings = append(p.RoleBindings, o)
		return entry{meta: &o.ObjectMeta, ref: &o.RoleRef, subjects: &o.Subjects}, nil
	}
	return entry{}, fmt.Errorf("unknown kind %q", words[0])
}

func (e *entry) add(words []string) error {
	switch {
	case e.meta == nil || len(words) < 2:
		return fmt.Errorf("cannot understand %q", words)
	case words[0] == "label" && len(words) == 2:
		key, value, _ := strings.Cut(words[1], "=")
		e.meta.Labels[key] = value
	case words[0] == "aggregate" && len(words) == 2 && e.selector != nil:
		key, value, _ := strings.Cut(words[1], "=")
		if *e.selector == nil {
			*e.selector = &rbacv1.AggregationRule{}
		}
		(*e.selector).ClusterRoleSelectors = append((*e.selector).ClusterRoleSelectors, metav1.LabelSelector{MatchLabels: map[string]string{key: value}})
	case words[0] == "role" && len(words) == 3 && e.ref != nil:
		*e.ref = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: words[1], Name: words[2]}
	case words[0] == "subject" && len(words) == 3 && e.subjects != nil:
		*e.subjects = append(*e.subjects, parseSubject(words[1], words[2]))
	case e.rules != nil && len(words) >= 3 && len(words) <= 4 && words[0] != "role" && words[0] != "subject":
		*e.rules = append(*e.rules, parseRule(words))
	default:
		return fmt.Errorf("cannot understand %q", words)
	}
	return nil
}

func parseSubject(kind, name string) rbacv1.Subject {
	if kind == rbacv1.ServiceAccountKind {
		namespace, name, _ := strings.Cut(name, "/")
		return rbacv1.Subject{Kind: kind, Namespace: namespace, Name: name}
	}
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func parseRule(words []string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: strings.Split(words[0], ",")}
	if words[1] == "url" {
		r.NonResourceURLs = strings.Split(words[2], ",")
		return r
	}
	r.APIGroups = strings.Split(words[1], ",")
	for n, group := range r.APIGroups {
		if group == `""` {
			r.APIGroups[n] = ""
		}
	}
	r.Resources = strings.Split(words[2], ",")
	if len(words) == 4 {
		r.ResourceNames = strings.Split(words[3], ",")
	}
	return r
}

// nodeExtras are what nodes may do beyond the role system:node, which is kept for clusters that still bind it.
const nodeExtras = `ClusterRole system:node
  get,list,watch certificates.k8s.io clustertrustbundles
  create,get,list,watch certificates.k8s.io podcertificaterequests
`

// NodeRules are what every node may do wherever its name does not matter.
func NodeRules() ([]rbacv1.PolicyRule, error) {
	p, err := Default()
	if err != nil {
		return nil, err
	}
	if err := p.parse(nodeExtras); err != nil {
		return nil, err
	}
	var rules []rbacv1.PolicyRule
	for _, role := range p.ClusterRoles {
		if role.Name == "system:node" {
			rules = append(rules, role.Rules...)
		}
	}
	return rules, nil
}
