package backup

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	clientv3 "go.etcd.io/etcd/client/v3"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// kubeadm is what a cluster of upstream's leaves behind: an etcd with its objects as upstream's libraries encode them, the
// authority in kubeadm's layout, and an encryption configuration.
type kubeadm struct {
	t          *testing.T
	etcd       *process.Etcd
	client     *clientv3.Client
	dir        string
	pki        string
	encryption string
	token      string // of a service account
	// values are all that was written, by key.
	values map[string][]byte
}

// accountUID is that of the service account default/builder.
const accountUID = "11111111-2222-3333-4444-555555555555"

func newKubeadm(t *testing.T) *kubeadm {
	t.Helper()
	dir := t.TempDir()
	k := &kubeadm{t: t, dir: dir, pki: dir + "/pki", encryption: dir + "/encryption.yaml", values: map[string][]byte{}}
	k.etcd = must(process.StartEtcd(dir+"/upstream", 1, false))(t)
	t.Cleanup(k.etcd.Close)
	k.client = must(clientv3.New(clientv3.Config{Endpoints: k.etcd.Servers}))(t)
	t.Cleanup(func() { k.client.Close() })
	k.certify()
	k.fill()
	return k
}

// certify makes the authority as kubeadm does: RSA keys, and the certificates of a master of another name and address.
func (k *kubeadm) certify() {
	ca := k.pair("ca", "kubernetes", nil)
	k.pair("front-proxy-ca", "front-proxy-ca", nil)
	k.pair("etcd/ca", "etcd-ca", nil)
	k.pair("apiserver", "kube-apiserver", ca)
	k.pair("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ca)
	key := must(rsa.GenerateKey(rand.Reader, 2048))(k.t)
	k.write("sa.key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	public := must(x509.MarshalPKIXPublicKey(key.Public()))(k.t)
	k.write("sa.pub", "PUBLIC KEY", public)
	k.sign(key, public)
}

type pair struct {
	certificate *x509.Certificate
	key         *rsa.PrivateKey
}

func (k *kubeadm) pair(file, name string, issuer *pair) *pair {
	k.t.Helper()
	p := &pair{key: must(rsa.GenerateKey(rand.Reader, 2048))(k.t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	parent := &pair{template, p.key}
	if issuer == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, template.KeyUsage|x509.KeyUsageCertSign
		template.DNSNames = []string{name}
	} else {
		parent = issuer
		template.DNSNames, template.IPAddresses = []string{"cp1", "kubernetes"}, []net.IP{net.IPv4(10, 0, 0, 10)}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent.certificate, p.key.Public(), parent.key))(k.t)
	p.certificate = must(x509.ParseCertificate(der))(k.t)
	k.write(file+".crt", "CERTIFICATE", der)
	k.write(file+".key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(p.key))
	return p
}

func (k *kubeadm) write(file, kind string, der []byte) {
	k.t.Helper()
	path := filepath.Join(k.pki, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// sign issues the token of a service account as upstream's API server does.
func (k *kubeadm) sign(key *rsa.PrivateKey, public []byte) {
	k.t.Helper()
	hash := crypto.SHA256.New()
	hash.Write(public)
	id := base64.RawURLEncoding.EncodeToString(hash.Sum(nil))
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil))(k.t)
	const issuer = "https://kubernetes.default.svc.cluster.local"
	claims := jwt.Claims{Issuer: issuer, Subject: "system:serviceaccount:default:builder", Audience: jwt.Audience{issuer}, ID: "1",
		IssuedAt: jwt.NewNumericDate(time.Now()), NotBefore: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}
	private := map[string]any{"kubernetes.io": map[string]any{"namespace": "default", "serviceaccount": map[string]any{"name": "builder", "uid": accountUID}}}
	k.token = must(jwt.Signed(signer).Claims(claims).Claims(private).Serialize())(k.t)
}

// put writes a value.
func (k *kubeadm) put(key string, value []byte) {
	k.t.Helper()
	k.values[key] = value
	if _, err := k.client.Put(k.t.Context(), key, string(value)); err != nil {
		k.t.Fatal(err)
	}
}

// object writes an object as upstream stores it.
func (k *kubeadm) object(key string, o runtime.Object) {
	k.t.Helper()
	k.put("/registry/"+key, k.encode(o))
}

func (k *kubeadm) encode(o runtime.Object) []byte {
	k.t.Helper()
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		k.t.Fatal(err)
	}
	encoder := scheme.Codecs.EncoderForVersion(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), kinds[0].GroupVersion())
	var b bytes.Buffer
	if err := encoder.Encode(o, &b); err != nil {
		k.t.Fatal(err)
	}
	return b.Bytes()
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + namespace + "-" + name),
		CreationTimestamp: metav1.NewTime(time.Now().Add(-24 * time.Hour).Truncate(time.Second))}
}

const encryptionConfiguration = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aescbc:
      keys:
      - name: key1
        secret: c2VjcmV0IGlzIHNlY3VyZSBzZWNyZXQgaXMgc2VjdXI=
  - identity: {}
`

// fill writes what kubeadm and a few users make.
func (k *kubeadm) fill() {
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease", "shop"} {
		m := meta("", name)
		m.Labels = map[string]string{"kubernetes.io/metadata.name": name}
		k.object("namespaces/"+name, &corev1.Namespace{ObjectMeta: m, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}})
	}
	for _, name := range []string{"kubeadm-config", "kubelet-config", "kube-proxy", "coredns"} {
		k.object("configmaps/kube-system/"+name, &corev1.ConfigMap{ObjectMeta: meta("kube-system", name), Data: map[string]string{"config": name}})
	}
	account := &corev1.ServiceAccount{ObjectMeta: meta("default", "builder")}
	account.UID = accountUID
	k.object("serviceaccounts/default/builder", account)
	k.object("minions/cp1", &corev1.Node{ObjectMeta: meta("", "cp1"), Spec: corev1.NodeSpec{PodCIDR: "10.244.0.0/24"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.37.0"}}})
	k.object("pods/kube-system/kube-apiserver-cp1", &corev1.Pod{ObjectMeta: meta("kube-system", "kube-apiserver-cp1"), Spec: corev1.PodSpec{NodeName: "cp1", Containers: []corev1.Container{{Name: "kube-apiserver", Image: "registry.k8s.io/kube-apiserver:v1.37.0"}}}})
	k.object("deployments/kube-system/coredns", &appsv1.Deployment{ObjectMeta: meta("kube-system", "coredns"), Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"k8s-app": "kube-dns"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "coredns", Image: "coredns"}}}}}})
	k.object("services/specs/default/kubernetes", &corev1.Service{ObjectMeta: meta("default", "kubernetes"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1"}, Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}}}})
	k.object("services/specs/kube-system/kube-dns", &corev1.Service{ObjectMeta: meta("kube-system", "kube-dns"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.10", ClusterIPs: []string{"10.96.0.10"}, Ports: []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}}}})
	old := []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "10.0.0.10"}}, Ports: []corev1.EndpointPort{{Name: "https", Port: 6443, Protocol: corev1.ProtocolTCP}}}}
	k.object("services/endpoints/default/kubernetes", &corev1.Endpoints{ObjectMeta: meta("default", "kubernetes"), Subsets: old})
	k.object("endpointslices/default/kubernetes", &discoveryv1.EndpointSlice{ObjectMeta: meta("default", "kubernetes"), AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.10"}}}})
	k.object("ipaddresses/10.96.0.10", &networkingv1.IPAddress{ObjectMeta: meta("", "10.96.0.10"), Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: "kube-system", Name: "kube-dns"}}})
	k.object("servicecidrs/kubernetes", &networkingv1.ServiceCIDR{ObjectMeta: meta("", "kubernetes"), Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/12"}}})
	k.object("clusterrolebindings/kubeadm:get-nodes", &rbacv1.ClusterRoleBinding{ObjectMeta: meta("", "kubeadm:get-nodes"), RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "kubeadm:get-nodes"}, Subjects: []rbacv1.Subject{{Kind: "Group", APIGroup: "rbac.authorization.k8s.io", Name: "system:bootstrappers:kubeadm:default-node-token"}}})
	k.object("clusterroles/kubeadm:get-nodes", &rbacv1.ClusterRole{ObjectMeta: meta("", "kubeadm:get-nodes"), Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}}}})
	k.object("priorityclasses/shop-first", &schedulingv1.PriorityClass{ObjectMeta: meta("", "shop-first"), Value: 100})
	k.object("flowschemas/shop", &flowcontrolv1.FlowSchema{ObjectMeta: meta("", "shop"), Spec: flowcontrolv1.FlowSchemaSpec{PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "workload-low"}}})
	holder, seconds, now := "cp1_of-the-past", int32(15), metav1.NewMicroTime(time.Now())
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		k.object("leases/kube-system/"+name, &coordinationv1.Lease{ObjectMeta: meta("kube-system", name), Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now}})
	}
	k.object("masterleases/10.0.0.10", &corev1.Endpoints{Subsets: old})
	k.put("/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.shop.example", []byte(`{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"widgets.shop.example","uid":"crd"},"spec":{"group":"shop.example","names":{"plural":"widgets","kind":"Widget"},"scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`+"\n"))
	k.put("/registry/shop.example/widgets/shop/first", []byte(`{"apiVersion":"shop.example/v1","kind":"Widget","metadata":{"name":"first","namespace":"shop","uid":"w1"},"spec":{"size":3}}`+"\n"))
	k.put("/registry/apiregistration.k8s.io/apiservices/v1.apps", []byte(`{"kind":"APIService","apiVersion":"apiregistration.k8s.io/v1","metadata":{"name":"v1.apps","uid":"a1"},"spec":{"group":"apps","version":"v1","groupPriorityMinimum":17800,"versionPriority":15}}`+"\n"))
	k.put("compact_rev_key", []byte("17"))
	k.secrets()
}

// secrets writes one secret as it was before encryption was turned on, and one after.
func (k *kubeadm) secrets() {
	if err := os.WriteFile(k.encryption, []byte(encryptionConfiguration), 0o600); err != nil {
		k.t.Fatal(err)
	}
	k.object("secrets/shop/plain", &corev1.Secret{ObjectMeta: meta("shop", "plain"), Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"k": []byte("plain")}})
	key := "/registry/secrets/shop/sealed"
	plain := k.encode(&corev1.Secret{ObjectMeta: meta("shop", "sealed"), Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"k": []byte("sealed")}})
	sealed := must(transformer(k.t, k.encryption).TransformToStorage(k.t.Context(), plain, value.DefaultContext(key)))(k.t)
	k.put(key, sealed)
}

// transformer is upstream's, for secrets, from a configuration.
func transformer(t *testing.T, file string) value.Transformer {
	t.Helper()
	c := must(encryptionconfig.LoadEncryptionConfig(t.Context(), file, false, "test"))(t)
	return encryptionconfig.StaticTransformers(c.Transformers).TransformerForResource(corev1.Resource("secrets"))
}

// everything is all that an etcd holds.
func everything(t *testing.T, c *clientv3.Client) map[string][]byte {
	t.Helper()
	all := must(c.Get(t.Context(), "\x00", clientv3.WithFromKey()))(t)
	out := map[string][]byte{}
	for _, kv := range all.Kvs {
		out[string(kv.Key)] = kv.Value
	}
	if len(out) == 0 {
		t.Fatal(fmt.Errorf("etcd is empty"))
	}
	return out
}
