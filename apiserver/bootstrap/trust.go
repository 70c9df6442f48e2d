package bootstrap

import (
	"bytes"
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
)

// clusterInfo is the ConfigMap by which machines that join learn whom to trust, if somebody has made it (kubeadm does).
const (
	clusterInfo       = "cluster-info"
	clusterInfoConfig = "kubeconfig"
)

// Trust brings up to date what tells others which authorities this server trusts and is verified with. It writes nothing
// that is so already. Of the options it needs the registry, the authorities and the front proxies' names.
func Trust(ctx context.Context, o Options) error {
	e := &ensurer{registry: o.Registry, slots: make(chan struct{}, writesInFlight)}
	put(ctx, e, "configmaps", authenticationConfig(&o), mergeData)
	maps, ok := o.Registry.Resource(schema.GroupResource{Resource: "configmaps"})
	if ok && maps.Peek(metaPublic, clusterInfo) != nil {
		want := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metaPublic, Name: clusterInfo}}
		put(ctx, e, "configmaps", want, func(have, _ *corev1.ConfigMap) { trustInClusterInfo(have, o.ClientCA) })
	}
	return e.wait()
}

// trustInClusterInfo sets the authorities; the controller that signs it does so again. What cannot be understood stays as
// it is.
func trustInClusterInfo(have *corev1.ConfigMap, ca []byte) {
	config, err := clientcmd.Load([]byte(have.Data[clusterInfoConfig]))
	if err != nil {
		return
	}
	changed := false
	for _, cluster := range config.Clusters {
		if len(cluster.CertificateAuthorityData) > 0 && !bytes.Equal(cluster.CertificateAuthorityData, ca) {
			cluster.CertificateAuthorityData, changed = ca, true
		}
	}
	if !changed {
		return
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return
	}
	have.Data[clusterInfoConfig] = string(data)
}
