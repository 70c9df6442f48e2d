package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/rootca"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// Declaration is an entry of the catalog with the controller that it declares.
type Declaration struct {
	Entry
	Controller *reconcile.Controller
}

// Declarations are what all controllers declare that they read and write. They are for reading: these controllers reach no
// server.
func Declarations(kinds []*kind.Kind) ([]Declaration, error) {
	o := DefaultOptions()
	o.RootCA.Source = rootca.Fixed([]byte("-"))
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

// Document is the table of all controllers: who each one is, what it watches, and what it may write.
func Document(kinds []*kind.Kind) (string, error) {
	declarations, err := Declarations(kinds)
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
	for _, d := range declarations {
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
