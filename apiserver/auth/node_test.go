package auth

import (
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// nodeWorld has a pod on n1 that refers to much, one on n2 that refers to little, and a mirror pod on n1.
func nodeWorld(t testing.TB) (*registry.Registry, *Authorizer) {
	r, z := start(t)
	p := pod("p1", "n1", "s1")
	p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
	p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "env"}}}}
	p.Spec.Volumes = []corev1.Volume{
		{Name: "a", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol"}}},
		{Name: "b", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}},
	}
	create(t, r, z, "pods", p)
	create(t, r, z, "pods", pod("p2", "n2", "s2"))
	mirror := pod("m", "n1", "")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	mirror.Spec.Volumes = []corev1.Volume{{Name: "a", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "coveted"}}}}
	create(t, r, z, "pods", mirror)
	return r, z
}

func TestNodeAuthorizer(t *testing.T) {
	_, z := nodeWorld(t)
	for _, c := range []struct {
		request string // with " if FIELD=VALUE" for a selector
		want    string // "yes", or the reason
	}{
		{"get secrets in n vol", "yes"},
		{"list secrets in n vol", "yes"},
		{"get secrets in n pull", "yes"},
		{"get secrets in n coveted", "no relationship found between node 'n1' and this object"},
		{"get secrets in other vol", "no relationship found between node 'n1' and this object"},
		{"list secrets in n", "No Object name found"},
		{"list secrets", "can only read namespaced object of this type"},
		{"delete secrets in n vol", "can only read resources of this type"},
		{"get configmaps in n env", "yes"},
		{"get configmaps in n vol", "no relationship found between node 'n1' and this object"},
		{"get persistentvolumeclaims in n claim", "yes"},
		{"update persistentvolumeclaims/status in n claim", "yes"},
		{"update persistentvolumeclaims in n claim", "can only get individual resources of this type"},
		{"get persistentvolumes v", "no relationship found between node 'n1' and this object"},
		{"create serviceaccounts/token in n s1", "yes"},
		{"create serviceaccounts/token in n s2", "no relationship found between node 'n1' and this object"},
		{"get serviceaccounts in n s1", "yes"},
		{"list serviceaccounts in n", "can only create tokens for individual service accounts"},
		{"get leases.coordination.k8s.io in kube-node-lease n1", "yes"},
		{"create leases.coordination.k8s.io in kube-node-lease", "yes"},
		{"update leases.coordination.k8s.io in kube-node-lease n2", "can only access node lease with the same name as the requesting node"},
		{"list leases.coordination.k8s.io in kube-node-lease", "can only get, create, update, patch, or delete a node lease"},
		{"get leases.coordination.k8s.io in kube-system n1", `can only access leases in the "kube-node-lease" system namespace`},
		{"get csinodes.storage.k8s.io n1", "yes"},
		{"get csinodes.storage.k8s.io n2", "can only access CSINode with the same name as the requesting node"},
		{"create nodes", "yes"},
		{"get nodes n1", "yes"},
		{"get nodes n2", "node 'n1' cannot read 'n2', only its own Node object"},
		{"list nodes", "node 'n1' cannot read all nodes, only its own Node object"},
		{"patch nodes/status n1", "yes"},
		{"delete nodes n1", ""},
		{"get pods in n p1", "yes"},
		{"get pods in n m", "yes"},
		{"get pods in n p2", "no relationship found between node 'n1' and this object"},
		{"list pods if spec.nodeName=n1", "yes"},
		{"watch pods if spec.nodeName=n1", "yes"},
		{"list pods if spec.nodeName=n2", "can only list/watch pods with spec.nodeName field selector"},
		{"list pods", "can only list/watch pods with spec.nodeName field selector"},
		{"patch pods/status in n p1", "yes"},
		{"create pods/eviction in n p1", "yes"},
		{"create pods in n", "yes"},
		{"update pods in n p1", ""},
		{"create pods/binding in n p1", ""},
		{"list services", "yes"},
		{"create events in n", "yes"},
		{"list runtimeclasses.node.k8s.io", "yes"},
		{"create podcertificaterequests.certificates.k8s.io in n", "yes"},
		{"list podcertificaterequests.certificates.k8s.io if spec.nodeName=n1", "yes"},
		{"list podcertificaterequests.certificates.k8s.io", "can only list/watch podcertificaterequests with spec.nodeName field selector"},
		{"list resourceslices.resource.k8s.io if spec.nodeName=n1", "yes"},
		{"list resourceslices.resource.k8s.io", "can only list/watch/deletecollection resourceslices with nodeName field selector"},
		{"deletecollection resourceslices.resource.k8s.io if spec.nodeName=n1", "yes"},
		{"deletecollection resourceslices.resource.k8s.io if spec.nodeName=n2", "can only list/watch/deletecollection resourceslices with nodeName field selector"},
		{"deletecollection resourceslices.resource.k8s.io if spec.nodeName!=n1", "can only list/watch/deletecollection resourceslices with nodeName field selector"},
		{"create resourceslices.resource.k8s.io", "yes"},
		{"delete resourceslices.resource.k8s.io s", "no relationship found between node 'n1' and this object"},
		{"update resourceslices/status.resource.k8s.io s", "cannot authorize ResourceSlice subresources"},
		{"use resourceslices.resource.k8s.io s", "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"},
		{"get podcertificaterequests.certificates.k8s.io in n r", "no relationship found between node 'n1' and this object"},
		{"delete podcertificaterequests.certificates.k8s.io in n r", "nodes may only create, get, list and watch podcertificaterequests"},
		{"update podcertificaterequests/status.certificates.k8s.io in n r", "nodes may not access the subresources of podcertificaterequests"},
		{"get volumeattachments.storage.k8s.io a", "no relationship found between node 'n1' and this object"},
		{"list volumeattachments.storage.k8s.io", "can only get individual resources of this type"},
		{"get resourceclaims.resource.k8s.io in n c", "no relationship found between node 'n1' and this object"},
		{"get persistentvolumeclaims/status in n claim", "can only get/update/patch this type"},
		{"update persistentvolumeclaims/status in n other", "no relationship found between node 'n1' and this object"},
		{"get csinodes/status.storage.k8s.io n1", "cannot authorize CSINode subresources"},
		{"get secrets/status in n vol", "cannot read subresource"},
		{"get nodes/proxy n1", ""},
		{"list pods in n p1", "yes"},
		{"list pods in n p2", "no relationship found between node 'n1' and this object"},
		{"list deployments.apps", ""},
		{"get /metrics", ""},
	} {
		t.Run(c.request, func(t *testing.T) {
			text, selector, _ := strings.Cut(c.request, " if ")
			a := parseRequest(t, &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}}, text)
			if selector != "" {
				a.FieldSelectorRequirements = fields.ParseSelectorOrDie(selector).Requirements()
			}
			decision, reason, err := z.Authorize(t.Context(), a)
			if decision == authorizer.DecisionAllow {
				reason = "yes"
			}
			if err != nil || reason != c.want {
				t.Errorf("%v %q %v", decision, reason, err)
			}
		})
	}
}

func TestNodeIdentity(t *testing.T) {
	_, z := nodeWorld(t)
	for name, c := range map[string]struct {
		user   *user.DefaultInfo
		want   authorizer.Decision
		reason string
	}{
		"no group":  {&user.DefaultInfo{Name: "system:node:n1"}, authorizer.DecisionNoOpinion, ""},
		"no name":   {&user.DefaultInfo{Name: "system:node:", Groups: []string{"system:nodes"}}, authorizer.DecisionNoOpinion, `unknown node for user "system:node:"`},
		"no prefix": {&user.DefaultInfo{Name: "n1", Groups: []string{"system:nodes"}}, authorizer.DecisionNoOpinion, ""},
		"master":    {&user.DefaultInfo{Name: "x", Groups: []string{"system:masters"}}, authorizer.DecisionAllow, ""},
	} {
		decision, reason, err := z.Authorize(t.Context(), parseRequest(t, c.user, "get secrets in n vol"))
		if err != nil || decision != c.want || reason != c.reason {
			t.Errorf("%s: %v %q %v", name, decision, reason, err)
		}
	}
}

// TestNodeLosesAccess: what a pod gave a node goes with the pod.
func TestNodeLosesAccess(t *testing.T) {
	r, z := nodeWorld(t)
	a := parseRequest(t, &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}}, "get secrets in n vol")
	remove(t, r, z, "pods", "n", "p1")
	if decision, _, _ := z.Authorize(t.Context(), a); decision == authorizer.DecisionAllow {
		t.Error("the node may still read the secret")
	}
}

// TestVolumeSecrets: what a kubelet needs to mount a volume, and nothing that only controllers need. A reference without a namespace is
// to one of the claim's, and to none while no claim is bound.
func TestVolumeSecrets(t *testing.T) {
	ref := func(namespace, name string) *corev1.SecretReference {
		return &corev1.SecretReference{Namespace: namespace, Name: name}
	}
	other, empty := "other", ""
	for _, c := range []struct {
		name   string
		source corev1.PersistentVolumeSource
		want   string // as a volume without a claim gives them, then those that the claim adds
	}{
		{"azure", corev1.PersistentVolumeSource{AzureFile: &corev1.AzureFilePersistentVolumeSource{SecretName: "s"}}, "| claim/s"},
		{"azure, empty", corev1.PersistentVolumeSource{AzureFile: &corev1.AzureFilePersistentVolumeSource{SecretName: "s", SecretNamespace: &empty}}, "| claim/s"},
		{"azure elsewhere", corev1.PersistentVolumeSource{AzureFile: &corev1.AzureFilePersistentVolumeSource{SecretName: "s", SecretNamespace: &other}}, "other/s |"},
		{"cephfs", corev1.PersistentVolumeSource{CephFS: &corev1.CephFSPersistentVolumeSource{SecretRef: ref("", "s")}}, "| claim/s"},
		{"cephfs without", corev1.PersistentVolumeSource{CephFS: &corev1.CephFSPersistentVolumeSource{}}, "|"},
		{"cinder", corev1.PersistentVolumeSource{Cinder: &corev1.CinderPersistentVolumeSource{SecretRef: ref("other", "s")}}, "other/s |"},
		{"flex", corev1.PersistentVolumeSource{FlexVolume: &corev1.FlexPersistentVolumeSource{SecretRef: ref("", "s")}}, "| claim/s"},
		{"rbd", corev1.PersistentVolumeSource{RBD: &corev1.RBDPersistentVolumeSource{SecretRef: ref("", "s")}}, "| claim/s"},
		{"scaleio", corev1.PersistentVolumeSource{ScaleIO: &corev1.ScaleIOPersistentVolumeSource{SecretRef: ref("other", "s")}}, "other/s |"},
		{"iscsi", corev1.PersistentVolumeSource{ISCSI: &corev1.ISCSIPersistentVolumeSource{SecretRef: ref("", "s")}}, "| claim/s"},
		{"storageos", corev1.PersistentVolumeSource{StorageOS: &corev1.StorageOSPersistentVolumeSource{SecretRef: &corev1.ObjectReference{Namespace: "other", Name: "s"}}}, "other/s |"},
		{"storageos without", corev1.PersistentVolumeSource{StorageOS: &corev1.StorageOSPersistentVolumeSource{}}, "|"},
		{"csi", corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
			NodePublishSecretRef: ref("", "publish"), NodeStageSecretRef: ref("other", "stage"), NodeExpandSecretRef: ref("", "expand"),
			ControllerPublishSecretRef: ref("", "attach"), ControllerExpandSecretRef: ref("other", "grow"),
		}}, "other/stage | claim/expand claim/publish"},
		{"csi without", corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{}}, "|"},
		{"nfs", corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}, "|"},
	} {
		v := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: c.source}}
		free := secretsOf(v)
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "claim"}
		bound := slices.DeleteFunc(secretsOf(v), func(s string) bool { return slices.Contains(free, s) })
		if got := strings.TrimSpace(strings.Join(free, " ") + " | " + strings.Join(bound, " ")); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// secretsOf are the secrets that a volume names in a namespace, sorted.
func secretsOf(v *corev1.PersistentVolume) []string {
	var found []string
	for _, ref := range volumeSecrets(v) {
		if ref != nil && ref.Namespace != "" {
			found = append(found, ref.Namespace+"/"+ref.Name)
		}
	}
	slices.Sort(found)
	return found
}

func BenchmarkNodeSecret(b *testing.B) {
	r, z := start(b)
	for n := range 100 {
		p := pod(string(rune('a'+n/26))+string(rune('a'+n%26)), "n1", "s")
		p.Spec.Volumes = []corev1.Volume{{Name: "a", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: p.Name}}}}
		create(b, r, z, "pods", p)
	}
	create(b, r, z, api.Of[*coordinationv1.Lease]().GR().String(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "l"}})
	a := parseRequest(b, &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}}, "get secrets in n ca")
	b.ReportAllocs()
	for b.Loop() {
		if decision, _, _ := z.Authorize(b.Context(), a); decision != authorizer.DecisionAllow {
			b.Fatal(decision)
		}
	}
}
