package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	rbacvalidation "k8s.io/component-helpers/auth/rbac/validation"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap/policy"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

func TestDocument(t *testing.T) {
	const file = "../docs/controllers.md"
	want, err := document(api.Kinds())
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
	all, err := Declarations(api.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
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

// Declaration is an entry of the catalog with the controller that it declares.
type Declaration struct {
	Entry
	Controller *reconcile.Controller
}

// Declarations are what all controllers declare that they read and write. They are for reading: these controllers reach no
// server.
func Declarations(kinds []*kind.Kind) ([]Declaration, error) {
	o := DefaultOptions()
	o.RootCA.Source = func() ([]byte, <-chan struct{}) { return []byte("-"), nil }
	var list []Declaration
	for _, e := range Catalog() {
		if e.New == nil {
			continue
		}
		c, _, err := e.build(nowhere{}, reconcile.FixedKinds(kinds), &o)
		if err != nil {
			return nil, err
		}
		list = append(list, Declaration{Entry: e, Controller: c})
	}
	return list, nil
}

// document is the table of all controllers: who each one is, what it watches, and what it may write.
func document(kinds []*kind.Kind) (string, error) {
	all, err := Declarations(kinds)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(`# Controllers

What each controller watches and writes. A controller acts as the service account
in kube-system that is named with it, with the rights of upstream's role
` + "`system:controller:<account>`" + `; what it does not declare here it can neither read nor write.
Those whose role allows it also write Events. This page is made from the
declarations in ` + "`controllers/`" + `
by ` + "`go test ./controllers -run TestDocument -rewrite`" + `.

In the metrics of queues (` + "`workqueue_depth`" + ` and its like) the label ` + "`name`" + ` names a controller's queue, as
upstream's is called. Where upstream's controller has several queues, ours has one, with the name of that whose keys are most like ours.

| controller | alias | account | queue | watches | writes |
| --- | --- | --- | --- | --- | --- |
`)
	for _, d := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", d.Name, d.Alias, d.Account, d.Controller.QueueName(), d.reads(), d.writes())
	}
	return b.String(), nil
}

func (d Declaration) reads() string {
	var names []string
	for _, r := range d.Controller.Reads {
		names = append(names, r.Kind.Plural)
	}
	for _, v := range d.Controller.AllReads {
		names = append(names, v.What())
	}
	return strings.Join(names, ", ")
}

func (d Declaration) writes() string {
	var parts []string
	for _, w := range d.Controller.Writes {
		var name string
		if w.All != nil {
			name = w.All.What()
		} else {
			name = w.Kind.Plural
		}
		if w.Subresource != "" {
			name += "/" + w.Subresource
		}
		var verbs []string
		for _, v := range w.Verbs {
			verbs = append(verbs, string(v))
		}
		slices.Sort(verbs)
		parts = append(parts, name+" ("+strings.Join(verbs, ", ")+")")
	}
	return strings.Join(parts, "; ")
}

// nowhere is a transport to no server.
type nowhere struct{}

var errNowhere = errors.New("this controller was made to be read, not to run")

func (nowhere) Do(context.Context, client.Request) (runtime.Object, error) { return nil, errNowhere }
func (nowhere) View(*kind.Kind) client.View                                { return nil }
func (nowhere) Applied() int64                                             { return 0 }
func (nowhere) WaitFor(context.Context, int64) error                       { return errNowhere }
func (nowhere) Fresh(context.Context, ...*kind.Kind) error                 { return errNowhere }
