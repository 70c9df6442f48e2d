// Package controllers is the controller manager: the one list of controllers, their selection by --controllers, and
// running them, each under an identity of its own.
package controllers

import (
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
	// Queue names its queue in metrics as upstream's is called; empty means Name without -controller and with underscores. Where
	// upstream has several queues, it is the one whose keys are most like ours.
	Queue string
	// OffByDefault: runs only if --controllers names it.
	OffByDefault bool
	// New declares the controller; what it gives is nil if the options turn it off. New itself is nil for names of upstream that this
	// version does not have: they are accepted, so that flags written for upstream work, and do nothing.
	New func(b *reconcile.Builder) *reconcile.Controller
}

// build makes the entry's controller over a transport with its account's rights. Its events, which are not part of what it declares,
// go over the transport itself, as long as the recorder runs.
func (e Entry) build(t client.Transport, kinds reconcile.KindSet, o *Options) (*reconcile.Controller, *client.Recorder, error) {
	source := e.Source
	if source == "" {
		source = e.Account
	}
	b := reconcile.NewBuilder(e.Name, t)
	b.Events, b.Kinds, b.Queue = client.NewRecorder(t, source), kinds, e.Queue
	for _, own := range o.each() {
		b.Options = append(b.Options, own)
	}
	c, err := b.Make(e.New)
	return c, b.Events, err
}

// Catalog is all controllers, in the order in which they start, and after them the names of upstream's that this version
// does not have.
func Catalog() []Entry { return append(own(), absent()...) }

// own are the controllers of this version.
func own() []Entry {
	return []Entry{
		{Name: "serviceaccount-controller", Alias: "serviceaccount", Account: "service-account-controller", New: serviceaccount.New},
		{Name: "root-ca-certificate-publisher-controller", Alias: "root-ca-cert-publisher", Account: "root-ca-cert-publisher",
			Queue: "root_ca_cert_publisher", New: rootca.New},
		{Name: "deployment-controller", Alias: "deployment", Account: "deployment-controller", New: deployment.New},
		{Name: "replicaset-controller", Alias: "replicaset", Account: "replicaset-controller", New: replicaset.New},
		{Name: "namespace-controller", Alias: "namespace", Account: "namespace-controller", New: namespace.New},
		{Name: "garbage-collector-controller", Alias: "garbagecollector", Account: "generic-garbage-collector", Source: "garbage-collector-controller",
			Queue: "garbage_collector_attempt_to_delete", New: garbage.New},
		{Name: "endpoints-controller", Alias: "endpoint", Account: "endpoint-controller", Queue: "endpoint", New: endpoints.New},
		{Name: "endpointslice-controller", Alias: "endpointslice", Account: "endpointslice-controller", Source: "endpoint-slice-controller",
			Queue: "endpoint_slice", New: endpointslice.New},
		{Name: "node-lifecycle-controller", Alias: "nodelifecycle", Account: "node-controller",
			Queue: "node_lifecycle_controller", New: nodelifecycle.New},
		{Name: "taint-eviction-controller", Account: "node-controller", Source: "taint-eviction-controller",
			Queue: "noexec_taint_pod", New: tainteviction.New},
		{Name: "pod-garbage-collector-controller", Alias: "podgc", Account: "pod-garbage-collector", Queue: "orphaned_pods_nodes", New: podgc.New},
		{Name: "clusterrole-aggregation-controller", Alias: "clusterrole-aggregation", Account: "clusterrole-aggregation-controller",
			Queue: "ClusterRoleAggregator", New: clusterrole.New},
		{Name: "ttl-controller", Alias: "ttl", Account: "ttl-controller", Queue: "ttlcontroller", New: ttl.New},
		// Upstream has these two off, and kubeadm turns them on: without them nobody could join with a token.
		{Name: "bootstrap-signer-controller", Alias: "bootstrapsigner", Account: "bootstrap-signer",
			Queue: "bootstrap_signer_queue", New: bootstrapsigner.New},
		{Name: "token-cleaner-controller", Alias: "tokencleaner", Account: "token-cleaner", New: tokencleaner.New},
	}
}

// absent are the controllers of upstream that this version does not have.
func absent() []Entry {
	return []Entry{
		{Name: "serviceaccount-token-controller", Alias: "serviceaccount-token"},
		{Name: "endpointslice-mirroring-controller", Alias: "endpointslicemirroring"},
		{Name: "replicationcontroller-controller", Alias: "replicationcontroller"},
		{Name: "resourcequota-controller", Alias: "resourcequota"},
		{Name: "daemonset-controller", Alias: "daemonset"},
		{Name: "job-controller", Alias: "job"},
		{Name: "horizontal-pod-autoscaler-controller", Alias: "horizontalpodautoscaling"},
		{Name: "disruption-controller", Alias: "disruption"},
		{Name: "statefulset-controller", Alias: "statefulset"},
		{Name: "cronjob-controller", Alias: "cronjob"},
		{Name: "certificatesigningrequest-signing-controller", Alias: "csrsigning"},
		{Name: "certificatesigningrequest-approving-controller", Alias: "csrapproving"},
		{Name: "certificatesigningrequest-cleaner-controller", Alias: "csrcleaner"},
		{Name: "podcertificaterequest-cleaner-controller"},
		{Name: "node-ipam-controller", Alias: "nodeipam"},
		{Name: "device-taint-eviction-controller"},
		{Name: "persistentvolume-binder-controller", Alias: "persistentvolume-binder"},
		{Name: "persistentvolume-attach-detach-controller", Alias: "attachdetach"},
		{Name: "persistentvolume-expander-controller", Alias: "persistentvolume-expander"},
		{Name: "persistentvolumeclaim-protection-controller", Alias: "pvc-protection"},
		{Name: "persistentvolume-protection-controller", Alias: "pv-protection"},
		{Name: "podgroup-protection-controller"},
		{Name: "volumeattributesclass-protection-controller"},
		{Name: "ttl-after-finished-controller", Alias: "ttl-after-finished"},
		{Name: "kube-apiserver-serving-clustertrustbundle-publisher-controller"},
		{Name: "ephemeral-volume-controller", Alias: "ephemeral-volume"},
		{Name: "storageversion-garbage-collector-controller", Alias: "storage-version-gc"},
		{Name: "resourceclaim-controller", Alias: "resource-claim-controller"},
		{Name: "resourcepoolstatusrequest-controller"},
		{Name: "legacy-serviceaccount-token-cleaner-controller", Alias: "legacy-service-account-token-cleaner"},
		{Name: "validatingadmissionpolicy-status-controller"},
		{Name: "service-cidr-controller"},
		{Name: "storage-version-migrator-controller"},
		{Name: "selinux-warning-controller"},
		{Name: "service-lb-controller", Alias: "service"},
		{Name: "node-route-controller", Alias: "route"},
		{Name: "cloud-node-lifecycle-controller", Alias: "cloud-node-lifecycle"},
	}
}
