package bootstrap

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Joining says who may become a master.
type Joining struct {
	// Group of those with a token for masters, and the paths at which they ask.
	Group string
	Paths []string
	// Server is the URL that nodes are told, in the public ConfigMap that kubeadm looks for.
	Server string
}

// The names of what lets nodes and masters join. That of the ConfigMap's role is kubeadm's.
const (
	clusterInfoReader = "kubeadm:bootstrap-signer-clusterinfo"
	joiningName       = "wheelhouse:joining-masters"
)

// joining makes what those need who come with a token.
func (e *ensurer) joining(ctx context.Context, o *Options) {
	if o.Joining.Group == "" {
		return
	}
	put(ctx, e, "clusterroles.rbac.authorization.k8s.io", &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: joiningName},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get", "post", "delete"}, NonResourceURLs: o.Joining.Paths}},
	}, reconcileClusterRole)
	put(ctx, e, "clusterrolebindings.rbac.authorization.k8s.io", &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: joiningName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: joiningName},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: o.Joining.Group}},
	}, keep)
	put(ctx, e, "roles.rbac.authorization.k8s.io", &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: metaPublic, Name: clusterInfoReader},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{clusterInfo}}},
	}, keep)
	put(ctx, e, "rolebindings.rbac.authorization.k8s.io", &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: metaPublic, Name: clusterInfoReader},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: clusterInfoReader},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user.Anonymous}},
	}, keep)
	if info := newClusterInfo(o); info != nil { // Trust keeps it up to date; it may name a load balancer
		put(ctx, e, "configmaps", info, keep)
	}
}

// newClusterInfo tells everybody how the cluster is reached and verified; nil if that cannot be written down.
func newClusterInfo(o *Options) *corev1.ConfigMap {
	config := clientcmdapi.NewConfig()
	config.Clusters[""] = &clientcmdapi.Cluster{Server: o.Joining.Server, CertificateAuthorityData: o.ClientCA}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return nil
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metaPublic, Name: clusterInfo},
		Data:       map[string]string{clusterInfoConfig: string(data)},
	}
}
