package master

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// clock is one that tests move.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time           { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(by time.Duration) { c.ahead.Add(int64(by)) }
func (c *clock) set(config *Config)       { config.Now = c.now }
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// run starts a master on disk, on loopback.
func run(t *testing.T, change func(*Config)) *Master {
	t.Helper()
	c := Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.BindAddress, c.SecurePort = "127.0.0.1", 0
	c.Components = []Component{APIServer, Controllers}
	c.Log = t.Logf
	if change != nil {
		change(&c)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-m.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return m
}

// fresh is a client of a kubeconfig with connections of its own.
func fresh(t *testing.T, kubeconfig []byte) (*kubernetes.Clientset, *admin.Client) {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	// A dialer of its own keeps client-go from sharing connections with other clients.
	config.Dial = (&net.Dialer{}).DialContext
	config.QPS = -1
	commands, err := admin.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.NewForConfigOrDie(config), commands
}

// stream is a watch that lasts for the whole of a test.
type stream struct {
	t       *testing.T
	clients *kubernetes.Clientset
	watch   watch.Interface
	n       int
}

func openStream(t *testing.T, kubeconfig []byte) *stream {
	t.Helper()
	clients, _ := fresh(t, kubeconfig)
	w, err := clients.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{LabelSelector: "beat"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return &stream{t: t, clients: clients, watch: w}
}

// beat writes an object through some client, and expects it on the watch.
func (s *stream) beat(through *kubernetes.Clientset) {
	s.t.Helper()
	s.n++
	name := fmt.Sprintf("beat-%d", s.n)
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"beat": ""}}}
	if _, err := through.CoreV1().ConfigMaps("default").Create(s.t.Context(), o, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	select {
	case event, ok := <-s.watch.ResultChan():
		if !ok {
			s.t.Fatal("the watch broke")
		}
		if got, _ := event.Object.(*corev1.ConfigMap); got == nil || got.Name != name || event.Type != watch.Added {
			s.t.Fatalf("the watch gave %v, want %s", event, name)
		}
	case <-time.After(patience):
		s.t.Fatal("the watch is silent")
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// published checks that all that tells others whom to trust says so.
func published(ctx context.Context, clients *kubernetes.Clientset, m *Master) error {
	ca := string(m.own.Authority.CA().CertPEM)
	root, err := clients.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if root.Data["ca.crt"] != ca {
		return fmt.Errorf("kube-root-ca.crt is of another time")
	}
	extension, err := clients.CoreV1().ConfigMaps("kube-system").Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if extension.Data["client-ca-file"] != ca || extension.Data["requestheader-client-ca-file"] != string(m.own.Authority.FrontProxyCA().CertPEM) {
		return fmt.Errorf("extension-apiserver-authentication is of another time")
	}
	info, err := clients.CoreV1().ConfigMaps("kube-public").Get(ctx, "cluster-info", metav1.GetOptions{})
	if err != nil {
		return err
	}
	config, err := clientcmd.Load([]byte(info.Data["kubeconfig"]))
	if err != nil {
		return err
	}
	for _, cluster := range config.Clusters {
		if string(cluster.CertificateAuthorityData) != ca {
			return fmt.Errorf("cluster-info is of another time")
		}
	}
	head, signature, _ := strings.Cut(info.Data["jws-kubeconfig-abcdef"], "..")
	sum := hmac.New(sha256.New, []byte("0123456789abcdef"))
	fmt.Fprintf(sum, "%s.%s", head, base64.RawURLEncoding.EncodeToString([]byte(info.Data["kubeconfig"])))
	if base64.RawURLEncoding.EncodeToString(sum.Sum(nil)) != signature {
		return fmt.Errorf("cluster-info is not signed")
	}
	file, err := clientcmd.LoadFromFile(m.config.Kubeconfig)
	if err != nil {
		return err
	}
	for _, cluster := range file.Clusters {
		if string(cluster.CertificateAuthorityData) != ca {
			return fmt.Errorf("the kubeconfig is of another time")
		}
	}
	return nil
}

// makeToken makes a token with which machines could join; cluster-info is signed for it.
func makeToken(t *testing.T, clients *kubernetes.Clientset) {
	t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, Type: "bootstrap.kubernetes.io/token",
		StringData: map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"},
	}
	if _, err := clients.CoreV1().Secrets("kube-system").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestRotateAuthority rotates all authorities of a running master under a client that was there before: its watch never
// breaks, and until the end its kubeconfig is as good as the new one.
func TestRotateAuthority(t *testing.T) {
	var now clock
	m := run(t, now.set)
	old := readFile(t, m.Kubeconfig())
	during := openStream(t, old)
	during.beat(during.clients)
	makeToken(t, during.clients)
	_, commands := fresh(t, old)
	for _, ends := range []string{"finish", "cancel"} {
		if err := commands.Post(t.Context(), "certificates/rotation", certificates.Step{Step: ends}, nil); err == nil || !strings.Contains(err.Error(), "no rotation of an authority is under way") {
			t.Errorf("%s without a rotation: %v", ends, err)
		}
	}
	step := func(s certificates.Step) (certificates.RotationStatus, error) {
		var status certificates.RotationStatus
		return status, commands.Post(t.Context(), "certificates/rotation", s, &status)
	}
	for _, s := range []struct {
		step  string
		stage pki.Stage
	}{{"prepare", pki.Prepared}, {"prepare", pki.Prepared}, {"cancel", pki.Settled}, {"prepare", pki.Prepared}, {"switch", pki.Switched}} {
		status, err := step(certificates.Step{Step: s.step})
		if err == nil {
			_ = commands.Get(t.Context(), "certificates/rotation", &status)
		}
		if err != nil || len(status.Authorities) != 3 || status.Authorities[0].Stage != s.stage {
			t.Fatalf("%s: %v, %+v", s.step, err, status)
		}
		during.beat(during.clients)
		for name, kubeconfig := range map[string][]byte{"old": old, "new": nil} {
			if kubeconfig == nil {
				eventually(t, s.step, func() error { return published(t.Context(), during.clients, m) })
				kubeconfig = readFile(t, m.Kubeconfig())
			}
			clients, _ := fresh(t, kubeconfig)
			t.Log(s.step, name)
			during.beat(clients)
		}
	}
	_, err := step(certificates.Step{Step: "finish"})
	if err == nil || !strings.Contains(err.Error(), "kubernetes-super-admin") || !strings.Contains(err.Error(), "came to "+m.enrolment.Name+" from 127.0.0.1") ||
		!strings.Contains(err.Error(), "(serial ") || !strings.Contains(err.Error(), "remembers who came for only") || !strings.Contains(err.Error(), "--force") {
		t.Fatalf("finishing while the old authority is in use: %v", err)
	}
	if left := m.own.Authority.Rotation()[0].Stage; left != pki.Switched {
		t.Fatalf("a refusal changed something: %s", left)
	}
	// Everybody gets a new kubeconfig, and nobody comes with the old one for a while.
	current := readFile(t, m.Kubeconfig())
	clients, commands := fresh(t, current)
	now.advance(certificates.Quiet + time.Minute)
	if _, err := step(certificates.Step{Step: "finish"}); err != nil {
		t.Fatal(err)
	}
	during.beat(clients)
	eventually(t, "finish", func() error { return published(t.Context(), clients, m) })
	locked, _ := fresh(t, old)
	if _, err := locked.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the old kubeconfig is still good: %v", err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(old)
	if err != nil {
		t.Fatal(err)
	}
	config.CAData, config.Insecure = nil, true
	if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
		t.Errorf("the old client certificate is still good: %v", err)
	}
	again, _ := fresh(t, readFile(t, m.Kubeconfig()))
	during.beat(again)
}

// TestRotateTokenKey rotates the key of service account tokens: old and new tokens are good until the old key is dropped.
func TestRotateTokenKey(t *testing.T) {
	m := run(t, nil)
	kubeconfig := readFile(t, m.Kubeconfig())
	clients, commands := fresh(t, kubeconfig)
	eventually(t, "service account", func() error {
		_, err := clients.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	token := func() string {
		t.Helper()
		out, err := clients.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return out.Status.Token
	}
	good := func(token string) bool {
		t.Helper()
		config := rest.AnonymousClientConfig(m.RESTConfig())
		config.BearerToken = token
		_, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		return err == nil
	}
	keys := func() int {
		t.Helper()
		data, err := clients.RESTClient().Get().AbsPath(auth.JWKSPath).DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(data, &set); err != nil {
			t.Fatal(err)
		}
		return len(set.Keys)
	}
	first := token()
	if !good(first) || keys() != 1 {
		t.Fatal("a token is not good to begin with")
	}
	var status certificates.TokenKeyStatus
	if err := commands.Post(t.Context(), "certificates/service-account-key", certificates.TokenKeyStep{}, &status); err != nil || status.Keys != 2 {
		t.Fatal(status, err)
	}
	second := token()
	if !good(first) || !good(second) || keys() != 2 {
		t.Errorf("after the rotation: old %v, new %v, %d keys", good(first), good(second), keys())
	}
	if err := commands.Post(t.Context(), "certificates/service-account-key", certificates.TokenKeyStep{DropOld: true}, &status); err == nil || !strings.Contains(err.Error(), "--yes-refuse-old-tokens") {
		t.Errorf("dropping a key whose tokens are good: %v", err)
	}
	record, _, err := m.opened.store.Get(t.Context(), notes.TokenKey, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.opened.store.Delete(t.Context(), notes.TokenKey, record.Revision); err != nil { // as after a rotation by a version that wrote none
		t.Fatal(err)
	}
	if err := commands.Post(t.Context(), "certificates/service-account-key", certificates.TokenKeyStep{DropOld: true}, &status); err == nil || !strings.Contains(err.Error(), "not known when") {
		t.Errorf("dropping a key that was replaced nobody knows when: %v", err)
	}
	if !good(first) || keys() != 2 {
		t.Error("a refusal changed something")
	}
	if err := commands.Post(t.Context(), "certificates/service-account-key", certificates.TokenKeyStep{DropOld: true, Confirmed: true}, &status); err != nil || status.Keys != 1 {
		t.Fatal(status, err)
	}
	if good(first) || !good(second) || keys() != 1 {
		t.Errorf("after the old key was dropped: old %v, new %v, %d keys", good(first), good(second), keys())
	}
}

// TestTenYears lets ten years pass for a running master. A watch lasts for all of them; each year a client connects, whose
// clock goes with the master's.
func TestTenYears(t *testing.T) {
	var now clock
	m := run(t, now.set)
	during := openStream(t, readFile(t, m.Kubeconfig()))
	serials := map[string]bool{}
	for range 40 {
		now.advance(3 * 30 * 24 * time.Hour)
		m.certificates.RenewDue()
		if err := m.certificates.Follow(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, d := range m.own.List() {
			if d.Renews != nil && (d.Left(now.now()) < pki.LeafLifetime/4 && d.NotAfter.Before(m.own.Authority.CA().Certificate.NotAfter)) {
				t.Fatalf("%s has %v left", d.Name, d.Left(now.now()))
			}
		}
		data, err := clientcmd.RESTConfigFromKubeConfig(readFile(t, m.Kubeconfig()))
		if err != nil {
			t.Fatal(err)
		}
		clients, serial := clientAt(t, data, now.now)
		serials[serial] = true
		during.beat(clients)
	}
	if len(serials) < 10 {
		t.Errorf("%d serving certificates in ten years", len(serials))
	}
	text := scrapeOf(t, m)
	if !strings.Contains(text, `wheelhouse_certificate_expiration_timestamp_seconds{name="etcd/peer"}`) ||
		!strings.Contains(text, "wheelhouse_certificate_renewal_failures_total 0") {
		t.Error("the metrics do not tell of certificates")
	}
}

// clientAt is a client with a clock of its own, and the serial number of the certificate that it is shown.
func clientAt(t *testing.T, config *rest.Config, now func() time.Time) (*kubernetes.Clientset, string) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(config.CAData)
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	var serial atomic.Pointer[string]
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{pair}, Time: now,
		VerifyConnection: func(s tls.ConnectionState) error {
			text := s.PeerCertificates[0].SerialNumber.String()
			serial.Store(&text)
			return nil
		},
	}}
	t.Cleanup(transport.CloseIdleConnections)
	clients := kubernetes.NewForConfigOrDie(&rest.Config{Host: config.Host, Transport: transport})
	if _, err := clients.ServerVersion(); err != nil {
		t.Fatal(err)
	}
	return clients, *serial.Load()
}

func scrapeOf(t *testing.T, m *Master) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.server.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// TestRenewalFails: a folder that cannot be written is told of, and the next try succeeds.
func TestRenewalFails(t *testing.T) {
	var now clock
	m := run(t, now.set)
	pkiDir := m.config.PKIDir
	now.advance(pki.LeafLifetime * 13 / 20)
	moved := pkiDir + ".moved"
	if err := os.Rename(pkiDir, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pkiDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := m.own.Authority.Server()
	m.certificates.RenewDue()
	if m.own.Authority.Server() != before {
		t.Error("a certificate is in use that could not be written")
	}
	if err := os.Remove(pkiDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(moved, pkiDir); err != nil {
		t.Fatal(err)
	}
	m.certificates.RenewDue()
	if m.own.Authority.Server() == before {
		t.Error("it was not tried again")
	}
}

// TestRenewCommand renews on an operator's command, and offline once the master has stopped.
func TestRenewCommand(t *testing.T) {
	m := run(t, nil)
	_, commands := fresh(t, readFile(t, m.Kubeconfig()))
	before := map[string]string{}
	for _, d := range m.own.List() {
		before[d.Name] = d.Serial
	}
	var answer certificates.OfMaster
	if err := commands.Post(t.Context(), "certificates/renew", certificates.Renewal{Names: []string{"apiserver", "admin.kubeconfig"}}, &answer); err != nil {
		t.Fatal(err)
	}
	for _, d := range answer.Certificates {
		if wanted := d.Name == "apiserver" || d.Name == "admin.kubeconfig"; wanted == (before[d.Name] == d.Serial) {
			t.Errorf("%s: serial %s, before %s", d.Name, d.Serial, before[d.Name])
		}
	}
	for _, in := range []certificates.Renewal{{}, {Names: []string{"ca"}}, {Names: []string{"x"}, All: true}} {
		if err := commands.Post(t.Context(), "certificates/renew", in, nil); err == nil {
			t.Errorf("%+v is taken", in)
		}
	}
	if _, err := certificates.RenewOffline(m.config.DataDir, "", nil); err == nil || !strings.Contains(err.Error(), "another process runs") {
		t.Errorf("renewing beside a running master: %v", err)
	}
	var all []certificates.OfMaster
	if err := commands.Get(t.Context(), "certificates", &all); err != nil || len(all) != 1 || len(all[0].Certificates) != 11 {
		t.Errorf("list: %v, %+v", err, all)
	}
}

func TestRenewOffline(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := Default()
	c.DataDir, c.BindAddress, c.SecurePort = dir, "127.0.0.1", 0
	c.TLSNames = []string{"api.example.com"}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	before := m.own.Authority.Server().Certificate
	m.Close()
	if _, err := certificates.RenewOffline(t.TempDir(), "", nil); err == nil {
		t.Error("an empty folder is renewed")
	}
	all, err := certificates.RenewOffline(dir, "", nil)
	if err != nil || len(all) != 11 {
		t.Fatalf("%v, %d certificates", err, len(all))
	}
	found, err := pki.Ensure(filepath.Join(dir, "pki"), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	after := found.Server().Certificate
	if after.Equal(before) || after.VerifyHostname("api.example.com") != nil || after.VerifyHostname("10.96.0.1") != nil {
		t.Error("the serving certificate is not renewed, or has lost names")
	}
}
