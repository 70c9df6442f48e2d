package controllers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/deployment"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/endpoints"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/endpointslice"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/garbage"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/namespace"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/nodelifecycle"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/podgc"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/replicaset"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/rootca"
)

// Options are the settings of all controllers: each package's own, and which controllers run.
type Options struct {
	// Controllers selects: "*" is all that are on by default, "foo" turns one on, "-foo" off. Names or aliases.
	Controllers []string

	Deployment    deployment.Options
	Endpoints     endpoints.Options
	EndpointSlice endpointslice.Options
	Garbage       garbage.Options
	Namespace     namespace.Options
	NodeLifecycle nodelifecycle.Options
	PodGC         podgc.Options
	ReplicaSet    replicaset.Options
	RootCA        rootca.Options
}

// options are those of one package.
type options interface {
	// AddFlags adds the flags, and sets the defaults.
	AddFlags(s *pflag.FlagSet)
}

// each gives the options of each package.
func (o *Options) each() []options {
	return []options{
		&o.Deployment, &o.Endpoints, &o.EndpointSlice, &o.Garbage, &o.Namespace, &o.NodeLifecycle, &o.PodGC, &o.ReplicaSet, &o.RootCA,
	}
}

// AddFlags adds the flags of all controllers, and sets the defaults.
func (o *Options) AddFlags(s *pflag.FlagSet) {
	s.StringSliceVar(&o.Controllers, "controllers", []string{"*"}, "Controllers to run: * for all that are on by default, NAME for one, -NAME to leave one out.")
	for _, own := range o.each() {
		own.AddFlags(s)
	}
}

// DefaultOptions are what the flags are by default.
func DefaultOptions() Options {
	var o Options
	o.AddFlags(pflag.NewFlagSet("controllers", pflag.ContinueOnError))
	return o
}

// Select gives the entries of the catalog that the options choose, or says which name is unknown.
func (o Options) Select() ([]Entry, error) {
	catalog := Catalog()
	for _, word := range o.Controllers {
		name := strings.TrimPrefix(word, "-")
		if word != "*" && !slices.ContainsFunc(catalog, func(e Entry) bool { return e.isCalled(name) }) {
			return nil, fmt.Errorf("--controllers: %q is not in the list of known controllers", name)
		}
	}
	var chosen []Entry
	for _, e := range catalog {
		if e.New != nil && o.chooses(e) {
			chosen = append(chosen, e)
		}
	}
	return chosen, nil
}

// chooses finds the first word that speaks of the entry.
func (o Options) chooses(e Entry) bool {
	star := false
	for _, word := range o.Controllers {
		switch {
		case word == "*":
			star = true
		case e.isCalled(word):
			return true
		case strings.HasPrefix(word, "-") && e.isCalled(word[1:]):
			return false
		}
	}
	return star && !e.OffByDefault
}

func (e Entry) isCalled(name string) bool { return name == e.Name || e.Alias != "" && name == e.Alias }
