// Package controllers is the controller manager: the one list of controllers, their selection by --controllers, and
// running them, each under an identity of its own.
package controllers

import (
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/deployment"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/garbage"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/namespace"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/replicaset"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/rootca"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/serviceaccount"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// Entry is one controller of the catalog.
type Entry struct {
	// Name and Alias as --controllers takes them; Alias is upstream's older name, "" if there is none.
	Name, Alias string
	// Account is the service account in kube-system whose rights the controller has.
	Account string
	// Source names the controller in its events; empty means Account.
	Source string
	// OffByDefault: runs only if --controllers names it.
	OffByDefault bool
	// New declares the controller. It is nil for names of upstream that this version does not have: they are accepted, so
	// that flags written for upstream work, and do nothing.
	New func(b Builder) *reconcile.Controller
}

func (e Entry) source() string {
	if e.Source != "" {
		return e.Source
	}
	return e.Account
}

// Builder is what a controller is made with.
type Builder struct {
	Transport client.Transport
	Events    *client.Recorder
	Kinds     []*kind.Info
	Options   Options
}

// Catalog is all controllers, in the order in which they start.
func Catalog() []Entry {
	return []Entry{
		{Name: "serviceaccount-controller", Alias: "serviceaccount", Account: "service-account-controller", New: func(b Builder) *reconcile.Controller {
			return serviceaccount.New(b.Transport)
		}},
		{Name: "root-ca-certificate-publisher-controller", Alias: "root-ca-cert-publisher", Account: "root-ca-cert-publisher", New: func(b Builder) *reconcile.Controller {
			if len(b.Options.RootCA) == 0 {
				return nil
			}
			return rootca.New(b.Transport, b.Options.RootCA)
		}},
		{Name: "deployment-controller", Alias: "deployment", Account: "deployment-controller", New: func(b Builder) *reconcile.Controller {
			return deployment.New(b.Transport, b.Events, b.Options.ConcurrentDeploymentSyncs)
		}},
		{Name: "replicaset-controller", Alias: "replicaset", Account: "replicaset-controller", New: func(b Builder) *reconcile.Controller {
			return replicaset.New(b.Transport, b.Events, b.Options.ConcurrentReplicaSetSyncs)
		}},
		{Name: "namespace-controller", Alias: "namespace", Account: "namespace-controller", New: func(b Builder) *reconcile.Controller {
			return namespace.New(b.Transport, b.Kinds, b.Options.ConcurrentNamespaceSyncs)
		}},
		{Name: "garbage-collector-controller", Alias: "garbagecollector", Account: "generic-garbage-collector", New: func(b Builder) *reconcile.Controller {
			if !b.Options.EnableGarbageCollector {
				return nil
			}
			return garbage.New(b.Transport, b.Events, b.Kinds, b.Options.ConcurrentGCSyncs)
		}},
	}
}
