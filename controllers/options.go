package controllers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/rootca"
)

// Options are the settings of all controllers, with the meaning of kube-controller-manager's flags of the same names.
type Options struct {
	// Controllers selects: "*" is all that are on by default, "foo" turns one on, "-foo" off. Names or aliases.
	Controllers []string
	// RootCA gives what kube-root-ca.crt publishes; without it nothing is published.
	RootCA rootca.Source

	ConcurrentDeploymentSyncs      int
	ConcurrentReplicaSetSyncs      int
	ConcurrentNamespaceSyncs       int
	ConcurrentServiceEndpointSyncs int
	ConcurrentEndpointSyncs        int
	ConcurrentGCSyncs              int
	EnableGarbageCollector         bool
	MaxEndpointsPerSlice           int
	NodeMonitorPeriod              time.Duration
	NodeMonitorGracePeriod         time.Duration
	NodeStartupGracePeriod         time.Duration
	NodeEvictionRate               float64
	SecondaryNodeEvictionRate      float64
	LargeClusterSizeThreshold      int
	UnhealthyZoneThreshold         float64
	TerminatedPodGCThreshold       int
}

// DefaultOptions are upstream's defaults, but for more workers in the garbage collector.
func DefaultOptions() Options {
	return Options{
		Controllers:               []string{"*"},
		ConcurrentDeploymentSyncs: 5, ConcurrentReplicaSetSyncs: 5, ConcurrentNamespaceSyncs: 10,
		ConcurrentServiceEndpointSyncs: 5, ConcurrentEndpointSyncs: 5, ConcurrentGCSyncs: 64, EnableGarbageCollector: true,
		MaxEndpointsPerSlice: 100,
		NodeMonitorPeriod:    5 * time.Second, NodeMonitorGracePeriod: 50 * time.Second, NodeStartupGracePeriod: time.Minute,
		NodeEvictionRate: 0.1, SecondaryNodeEvictionRate: 0.01, LargeClusterSizeThreshold: 50, UnhealthyZoneThreshold: 0.55,
		TerminatedPodGCThreshold: 12500,
	}
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
