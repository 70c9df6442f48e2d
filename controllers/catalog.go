// Package controllers is the controller manager: the one list of controllers, their selection by --controllers, and
// running them, each under an identity of its own.
package controllers

import (
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/bootstrapsigner"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/clusterrole"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/deployment"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/endpoints"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/endpointslice"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/garbage"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/namespace"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/nodelifecycle"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/podgc"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/replicaset"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/rootca"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/serviceaccount"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/tainteviction"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/tokencleaner"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/ttl"
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

// Catalog is all controllers, in the order in which they start, and after them the names of upstream's that this version
// does not have.
func Catalog() []Entry { return append(entries(), elsewhere()...) }

func entries() []Entry {
	return []Entry{
		{Name: "serviceaccount-controller", Alias: "serviceaccount", Account: "service-account-controller",
			New: func(b Builder) *reconcile.Controller { return serviceaccount.New(b.Transport) }},
		{Name: "root-ca-certificate-publisher-controller", Alias: "root-ca-cert-publisher", Account: "root-ca-cert-publisher", New: newRootCA},
		{Name: "deployment-controller", Alias: "deployment", Account: "deployment-controller",
			New: func(b Builder) *reconcile.Controller {
				return deployment.New(b.Transport, b.Events, b.Options.ConcurrentDeploymentSyncs)
			}},
		{Name: "replicaset-controller", Alias: "replicaset", Account: "replicaset-controller",
			New: func(b Builder) *reconcile.Controller {
				return replicaset.New(b.Transport, b.Events, b.Options.ConcurrentReplicaSetSyncs)
			}},
		{Name: "namespace-controller", Alias: "namespace", Account: "namespace-controller",
			New: func(b Builder) *reconcile.Controller {
				return namespace.New(b.Transport, b.Kinds, b.Options.ConcurrentNamespaceSyncs)
			}},
		{Name: "garbage-collector-controller", Alias: "garbagecollector", Account: "generic-garbage-collector", Source: "garbage-collector-controller", New: newGarbage},
		{Name: "endpoints-controller", Alias: "endpoint", Account: "endpoint-controller",
			New: func(b Builder) *reconcile.Controller {
				return endpoints.New(b.Transport, b.Events, b.Options.ConcurrentEndpointSyncs)
			}},
		{Name: "endpointslice-controller", Alias: "endpointslice", Account: "endpointslice-controller", Source: "endpoint-slice-controller",
			New: func(b Builder) *reconcile.Controller {
				return endpointslice.New(b.Transport, b.Events, b.Options.ConcurrentServiceEndpointSyncs, b.Options.MaxEndpointsPerSlice)
			}},
		{Name: "node-lifecycle-controller", Alias: "nodelifecycle", Account: "node-controller", New: newNodeLifecycle},
		{Name: "taint-eviction-controller", Account: "node-controller", Source: "taint-eviction-controller",
			New: func(b Builder) *reconcile.Controller { return tainteviction.New(b.Transport, b.Events) }},
		{Name: "pod-garbage-collector-controller", Alias: "podgc", Account: "pod-garbage-collector",
			New: func(b Builder) *reconcile.Controller {
				return podgc.New(b.Transport, b.Options.TerminatedPodGCThreshold)
			}},
		{Name: "clusterrole-aggregation-controller", Alias: "clusterrole-aggregation", Account: "clusterrole-aggregation-controller",
			New: func(b Builder) *reconcile.Controller { return clusterrole.New(b.Transport) }},
		{Name: "ttl-controller", Alias: "ttl", Account: "ttl-controller",
			New: func(b Builder) *reconcile.Controller { return ttl.New(b.Transport) }},
		// Upstream has these two off, and kubeadm turns them on: without them nobody could join with a token.
		{Name: "bootstrap-signer-controller", Alias: "bootstrapsigner", Account: "bootstrap-signer",
			New: func(b Builder) *reconcile.Controller { return bootstrapsigner.New(b.Transport) }},
		{Name: "token-cleaner-controller", Alias: "tokencleaner", Account: "token-cleaner",
			New: func(b Builder) *reconcile.Controller { return tokencleaner.New(b.Transport) }},
	}
}

func newRootCA(b Builder) *reconcile.Controller {
	if b.Options.RootCA == nil {
		return nil
	}
	return rootca.New(b.Transport, b.Options.RootCA)
}

func newGarbage(b Builder) *reconcile.Controller {
	if !b.Options.EnableGarbageCollector {
		return nil
	}
	return garbage.New(b.Transport, b.Events, b.Kinds, b.Options.ConcurrentGCSyncs)
}

func newNodeLifecycle(b Builder) *reconcile.Controller {
	o := b.Options
	return nodelifecycle.New(b.Transport, b.Events, nodelifecycle.Settings{
		NodeMonitorPeriod: o.NodeMonitorPeriod, NodeMonitorGracePeriod: o.NodeMonitorGracePeriod, NodeStartupGracePeriod: o.NodeStartupGracePeriod,
		NodeEvictionRate: o.NodeEvictionRate, SecondaryNodeEvictionRate: o.SecondaryNodeEvictionRate,
		UnhealthyZoneThreshold: o.UnhealthyZoneThreshold, LargeClusterSizeThreshold: o.LargeClusterSizeThreshold,
	})
}

// elsewhere are controllers of upstream that are not part of this version.
func elsewhere() []Entry {
	names := []struct{ name, alias string }{
		{"serviceaccount-token-controller", "serviceaccount-token"},
		{"endpointslice-mirroring-controller", "endpointslicemirroring"},
		{"replicationcontroller-controller", "replicationcontroller"},
		{"resourcequota-controller", "resourcequota"},
		{"daemonset-controller", "daemonset"},
		{"job-controller", "job"},
		{"horizontal-pod-autoscaler-controller", "horizontalpodautoscaling"},
		{"disruption-controller", "disruption"},
		{"statefulset-controller", "statefulset"},
		{"cronjob-controller", "cronjob"},
		{"certificatesigningrequest-signing-controller", "csrsigning"},
		{"certificatesigningrequest-approving-controller", "csrapproving"},
		{"certificatesigningrequest-cleaner-controller", "csrcleaner"},
		{"podcertificaterequest-cleaner-controller", ""},
		{"node-ipam-controller", "nodeipam"},
		{"device-taint-eviction-controller", ""},
		{"persistentvolume-binder-controller", "persistentvolume-binder"},
		{"persistentvolume-attach-detach-controller", "attachdetach"},
		{"persistentvolume-expander-controller", "persistentvolume-expander"},
		{"persistentvolumeclaim-protection-controller", "pvc-protection"},
		{"persistentvolume-protection-controller", "pv-protection"},
		{"podgroup-protection-controller", ""},
		{"volumeattributesclass-protection-controller", ""},
		{"ttl-after-finished-controller", "ttl-after-finished"},
		{"kube-apiserver-serving-clustertrustbundle-publisher-controller", ""},
		{"ephemeral-volume-controller", "ephemeral-volume"},
		{"storageversion-garbage-collector-controller", "storage-version-gc"},
		{"resourceclaim-controller", "resource-claim-controller"},
		{"resourcepoolstatusrequest-controller", ""},
		{"legacy-serviceaccount-token-cleaner-controller", "legacy-service-account-token-cleaner"},
		{"validatingadmissionpolicy-status-controller", ""},
		{"service-cidr-controller", ""},
		{"storage-version-migrator-controller", ""},
		{"selinux-warning-controller", ""},
		{"service-lb-controller", "service"},
		{"node-route-controller", "route"},
		{"cloud-node-lifecycle-controller", "cloud-node-lifecycle"},
	}
	list := make([]Entry, len(names))
	for i, n := range names {
		list[i] = Entry{Name: n.name, Alias: n.alias}
	}
	return list
}
