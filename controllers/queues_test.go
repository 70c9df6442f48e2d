package controllers

import (
	"maps"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api"
)

// queues are the names that the queues of upstream's kube-controller-manager have in metrics, by the name of the controller.
var queues = map[string]string{
	"serviceaccount-controller":                "serviceaccount",
	"root-ca-certificate-publisher-controller": "root_ca_cert_publisher",
	"deployment-controller":                    "deployment",
	"replicaset-controller":                    "replicaset",
	"namespace-controller":                     "namespace",
	"garbage-collector-controller":             "garbage_collector_attempt_to_delete", // and …_attempt_to_orphan, …_graph_changes
	"endpoints-controller":                     "endpoint",
	"endpointslice-controller":                 "endpoint_slice",            // and endpoint_slice_topology
	"node-lifecycle-controller":                "node_lifecycle_controller", // and …_pods
	"taint-eviction-controller":                "noexec_taint_pod",          // and noexec_taint_node
	"pod-garbage-collector-controller":         "orphaned_pods_nodes",
	"clusterrole-aggregation-controller":       "ClusterRoleAggregator",
	"ttl-controller":                           "ttlcontroller",
	"bootstrap-signer-controller":              "bootstrap_signer_queue",
	"token-cleaner-controller":                 "token_cleaner",
}

func TestQueuesAreNamedAsUpstreams(t *testing.T) {
	declarations, err := Declarations(api.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, d := range declarations {
		have[d.Name] = d.Controller.QueueName()
	}
	if !maps.Equal(have, queues) {
		t.Errorf("queues %v, want %v", have, queues)
	}
}
