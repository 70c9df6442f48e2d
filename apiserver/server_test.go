package apiserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/patch"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

var root = &user.DefaultInfo{Name: "root", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}

// house is a server on a store in memory.
type house struct {
	t      testing.TB
	server *apiserver.Server
	config *rest.Config
	// stopped is closed when Serve has returned.
	stopped chan struct{}
	stop    context.CancelFunc
}

// tokens name their users: "root" may do everything, others what allow says.
func authenticate(r *http.Request) (*authenticator.Response, bool, error) {
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok || name == "":
		return nil, false, nil
	case name == "root":
		return &authenticator.Response{User: root}, true, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}}, true, nil
}

// authorize lets root do everything, "reader" read, and "proxy" impersonate.
func authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	switch {
	case slices.Contains(a.GetUser().GetGroups(), user.SystemPrivilegedGroup),
		a.GetUser().GetName() == "reader" && a.IsReadOnly(),
		a.GetUser().GetName() == "proxy" && a.GetVerb() == "impersonate":
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// echo answers reviews with what was sent.
type echo struct{}

func (echo) Review(_ context.Context, _ user.Info, _ *kind.Kind, _ string, o kind.Object) (runtime.Object, error) {
	return o, nil
}

func newServer(t testing.TB, change func(*apiserver.Options)) *apiserver.Server {
	t.Helper()
	return newServerOf(t, memory.New(), api.Kinds(), change)
}

// newServerOf serves kinds from a store, which it closes at the end.
func newServerOf(t testing.TB, s store.Store, kinds []*kind.Kind, change func(*apiserver.Options)) *apiserver.Server {
	t.Helper()
	r, err := registry.New(registry.Options{Store: s, Kinds: kinds})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // it ends with the context
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	<-r.Ready()
	o := apiserver.Options{Registry: r, Catalog: kind.NewCatalog(kinds), Tracker: patch.NewTracker(), Reviewer: echo{},
		Authenticator: authenticator.RequestFunc(authenticate), Authorizer: authorizer.AuthorizerFunc(authorize)}
	if change != nil {
		change(&o)
	}
	server := apiserver.New(o)
	if _, err := server.Do(ctx, &apiserver.Request{User: root, Verb: "create", Kind: api.Of[*corev1.Namespace](),
		Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}}); err != nil {
		t.Fatal(err)
	}
	return server
}

func newHouse(t testing.TB, change func(*apiserver.Options)) *house {
	t.Helper()
	return newHouseOf(t, newServer(t, change))
}

// newHouseOf opens a socket for a server.
func newHouseOf(t testing.TB, server *apiserver.Server) *house {
	t.Helper()
	h := &house{t: t, server: server, stopped: make(chan struct{})}
	certificate, authority := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	go func() {
		defer close(h.stopped)
		if err := h.server.Serve(ctx, l, &tls.Config{Certificates: []tls.Certificate{certificate}}); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-h.stopped
	})
	h.config = &rest.Config{Host: "https://" + l.Addr().String(), BearerToken: "root", TLSClientConfig: rest.TLSClientConfig{CAData: authority}, QPS: -1}
	return h
}

func selfSigned(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// as is the configuration of a client with that token.
func (h *house) as(token string) *rest.Config {
	c := rest.CopyConfig(h.config)
	c.BearerToken = token
	return c
}

func (h *house) client(contentType string) *kubernetes.Clientset {
	h.t.Helper()
	c := rest.CopyConfig(h.config)
	c.ContentType = contentType
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		h.t.Fatal(err)
	}
	return client
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/app:1.0"}}}}
}

var guest = &user.DefaultInfo{Name: "guest", Groups: []string{user.AllAuthenticated}}

func podKind() *kind.Kind { return api.Of[*corev1.Pod]() }
