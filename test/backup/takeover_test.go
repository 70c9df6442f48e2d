package backup

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// changing are the keys that a master changes when it takes a cluster over.
var changing = []string{
	"/registry/masterleases/", "/registry/leases/kube-system/", "/registry/services/endpoints/default/kubernetes", "/registry/endpointslices/default/kubernetes",
	"/registry/minions/", "/registry/pods/", "/registry/deployments/", "compact_rev_key", "/registry/services/specs/default/kubernetes", "/registry/servicecidrs/",
}

// TestTakeOver starts on the snapshot of an upstream cluster's etcd with its authority, serves it, and gives it back as a
// snapshot that etcd's own tools restore.
func TestTakeOver(t *testing.T) {
	k := newKubeadm(t)
	file := k.dir + "/upstream.db"
	must(k.etcd.Ctl("snapshot", "save", file))(t)
	o := newOperator(t)
	o.refuse("nothing proves who made", "backup", "restore", file, "--data-dir", o.data, "--pki-dir", k.pki, "--encryption-provider-config", k.encryption)
	o.refuse("the authority is missing", "backup", "restore", file, "--untrusted", "--data-dir", o.data)
	// An encryption configuration is no authority: one is not made without being asked for.
	o.refuse("--new-authority", "backup", "restore", file, "--untrusted", "--data-dir", o.data, "--encryption-provider-config", k.encryption)
	o.refuse("--new-authority", "backup", "restore", file, "--untrusted", "--data-dir", o.data, "--encryption-provider-config", k.encryption, "--without-keys")
	o.refuse("there is no encryption configuration", "backup", "restore", file, "--untrusted", "--data-dir", o.data, "--pki-dir", k.pki)
	o.refuse("holds no ca.crt", "backup", "restore", file, "--untrusted", "--data-dir", o.data, "--pki-dir", k.dir)
	if left := must(filepath.Glob(o.data + "*"))(t); len(left) != 0 {
		t.Fatalf("refusals have left %v", left)
	}
	o.run("backup", "restore", file, "--untrusted", "--data-dir", o.data, "--pki-dir", k.pki, "--encryption-provider-config", k.encryption)
	o.start("--advertise-address", "192.0.2.7", "--encryption-provider-config", o.data+"/encryption-provider-config.yaml")
	taken(t, o, k)
	leads(t, o.clients())
	must(o.clients().CoreV1().Secrets("shop").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ours"}, StringData: map[string]string{"k": "ours"}}, metav1.CreateOptions{}))(t)
	o.create()
	giveBack(t, o, k)
}

// taken checks what the master serves.
func taken(t *testing.T, o *operator, k *kubeadm) {
	t.Helper()
	c, ctx := o.clients(), t.Context()
	for _, name := range []string{"plain", "sealed"} {
		if s := must(c.CoreV1().Secrets("shop").Get(ctx, name, metav1.GetOptions{}))(t); string(s.Data["k"]) != name {
			t.Errorf("secret %s holds %q", name, s.Data["k"])
		}
	}
	if m := must(c.CoreV1().ConfigMaps("kube-system").Get(ctx, "kubeadm-config", metav1.GetOptions{}))(t); m.Data["config"] != "kubeadm-config" {
		t.Errorf("kubeadm-config: %v", m.Data)
	}
	if n := must(c.CoreV1().Nodes().Get(ctx, "cp1", metav1.GetOptions{}))(t); n.Spec.PodCIDR != "10.244.0.0/24" {
		t.Errorf("node: %+v", n.Spec)
	}
	if d := must(c.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{}))(t); d.UID != "uid-kube-system-coredns" {
		t.Errorf("deployment: %v", d.UID)
	}
	bearer := rest.AnonymousClientConfig(o.config())
	bearer.BearerToken = k.token
	who, err := must(kubernetes.NewForConfig(bearer))(t).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "system:serviceaccount:default:builder" {
		t.Errorf("the token that upstream issued: %v, %v", who, err)
	}
	service, err := c.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "another"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.10", Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	if err == nil {
		t.Errorf("an address that is in use was given away: %v", service.Spec.ClusterIP)
	}
	await(t, "the old master's address to go", func() bool {
		slices, err := c.DiscoveryV1().EndpointSlices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		return err == nil && !strings.Contains(slices.String(), "10.0.0.10")
	})
	authority, err := os.ReadFile(k.pki + "/ca.crt")
	if err != nil || !bytes.Equal(bytes.TrimSpace(o.config().CAData), bytes.TrimSpace(authority)) {
		t.Errorf("the kubeconfig trusts another authority (%v)", err)
	}
}

// giveBack exports the backup, restores it with etcdutl, and reads it from an etcd with upstream's libraries.
func giveBack(t *testing.T, o *operator, k *kubeadm) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "export")
	said := o.run("backup", "export", "--to", to, "--backup-dir", o.backups, "--backup-key-file", o.keys)
	if !strings.Contains(said, "--encryption-provider-config="+to+"/encryption-provider-config.yaml") {
		t.Errorf("export said %q", said)
	}
	back := t.TempDir()
	restore := exec.Command(must(process.Tool("etcdutl"))(t), "snapshot", "restore", to+"/snapshot.db", "--data-dir", back+"/etcd0")
	if text, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("etcdutl: %v\n%s", err, text)
	}
	e := must(process.StartEtcd(back, 1, false))(t)
	defer e.Close()
	client := must(clientv3.New(clientv3.Config{Endpoints: e.Servers}))(t)
	defer client.Close()
	all := everything(t, client)
	same := 0
	for key, want := range k.values {
		if !startsWithAny(key, changing) {
			if !bytes.Equal(all[key], want) {
				t.Errorf("%s:\nbefore %q\nafter  %q", key, want, all[key])
			}
			same++
		}
	}
	if same < 15 {
		t.Errorf("only %d keys were compared", same)
	}
	open := transformer(t, to+"/encryption-provider-config.yaml")
	for _, name := range []string{"plain", "sealed", "ours"} {
		key := "/registry/secrets/shop/" + name
		plain, _, err := open.TransformFromStorage(t.Context(), all[key], value.DefaultContext(key))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(plain, nil, nil)
		if s, ok := object.(*corev1.Secret); err != nil || !ok || string(s.Data["k"]) != name {
			t.Errorf("%s: %v, %v", name, object, err)
		}
	}
	for _, name := range sharedFiles {
		if !bytes.Equal(must(os.ReadFile(filepath.Join(to, "pki", name)))(t), must(os.ReadFile(filepath.Join(k.pki, name)))(t)) {
			t.Errorf("%s is another than before", name)
		}
	}
}

var sharedFiles = []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key", "sa.pub"}

func startsWithAny(key string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// TestCopiedDatabase starts on a copy of a stopped member's database, which has no hash at its end.
func TestCopiedDatabase(t *testing.T) {
	k := newKubeadm(t)
	database := k.dir + "/upstream/etcd0/member/snap/db"
	if err := k.etcd.Signal(0, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, "the member to stop", func() bool { // it holds the file as long as it runs
		db, err := bolt.Open(database, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Millisecond})
		if err == nil {
			db.Close()
		}
		return err == nil
	})
	data := must(os.ReadFile(database))(t)
	file := k.dir + "/copy.db"
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	o := newOperator(t)
	with := []string{"--data-dir", o.data, "--pki-dir", k.pki, "--encryption-provider-config", k.encryption}
	o.refuse("missing hash", append([]string{"backup", "restore", file, "--untrusted"}, with...)...)
	torn := k.dir + "/torn.db"
	const page = 4096
	copy(data[2*page:60*page], bytes.Repeat([]byte("torn"), 58*page/4)) // all but the two first, which lead to the others
	if err := os.WriteFile(torn, data, 0o600); err != nil {
		t.Fatal(err)
	}
	o.refuse("damaged", append([]string{"backup", "restore", torn, "--untrusted", "--skip-hash-check"}, with...)...)
	o.run(append([]string{"backup", "restore", file, "--untrusted", "--skip-hash-check"}, with...)...)
	o.start("--advertise-address", "192.0.2.7", "--encryption-provider-config", o.data+"/encryption-provider-config.yaml")
	if s := must(o.clients().CoreV1().Secrets("shop").Get(t.Context(), "sealed", metav1.GetOptions{}))(t); string(s.Data["k"]) != "sealed" {
		t.Errorf("the secret holds %q", s.Data["k"])
	}
}
