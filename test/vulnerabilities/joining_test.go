package vulnerabilities

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/master/members"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// joinable is a master on disk, which others can join.
type joinable struct {
	t      *testing.T
	m      *wheelhouse.Master
	admin  *kubernetes.Clientset
	hashes []string
}

func newJoinable(t *testing.T) *joinable {
	t.Helper()
	m, err := wheelhouse.Start(t.Context(), wheelhouse.Options{DataDir: filepath.Join(t.TempDir(), "data"), Components: []master.Component{master.APIServer},
		Configure: func(c *master.Config) { c.PeerPort = 0 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	j := &joinable{t: t, m: m, admin: kubernetes.NewForConfigOrDie(m.RESTConfig())}
	if j.hashes, err = membership.Hashes(m.RESTConfig().CAData); err != nil {
		t.Fatal(err)
	}
	return j
}

// joiner asks to join with a token as the program does.
func (j *joinable) joiner(token membership.Token, name string) *membership.Joiner {
	return &membership.Joiner{Servers: []string{j.m.URL()}, Token: token, Hashes: j.hashes, Log: j.t.Logf, Request: membership.Request{
		Name: name, Version: "v1.37.0", PeerURL: "https://127.0.0.1:1",
		Settings: map[string]string{"service-cluster-ip-range": "10.96.0.0/12", "service-account-issuer": "https://kubernetes.default.svc.cluster.local"},
	}}
}

// client of the master's commands with some credentials.
func (j *joinable) client(config *rest.Config) *admin.Client {
	j.t.Helper()
	c, err := admin.NewClient(config)
	if err != nil {
		j.t.Fatal(err)
	}
	return c
}

func (j *joinable) must(err error) {
	j.t.Helper()
	if err != nil {
		j.t.Fatal(err)
	}
}

// invited makes a token as the administrator does.
func (j *joinable) invited() membership.Token {
	j.t.Helper()
	var a members.InvitationAnswer
	j.must(j.client(j.m.RESTConfig()).Post(j.t.Context(), "tokens", members.InvitationRequest{Seconds: 600}, &a))
	token, err := membership.ParseToken(a.Token)
	j.must(err)
	return token
}

// everything are the commands that give a cluster's keys, or what gets them.
func everything(ctx context.Context, c *admin.Client) map[string]error {
	return map[string]error{
		"shared":      c.Get(ctx, "shared", nil),
		"backup/keys": c.Post(ctx, "backup/keys", nil, nil),
		"tokens":      c.Post(ctx, "tokens", members.InvitationRequest{Seconds: 600}, nil),
	}
}

// TestJoiningBySecret: who may make Secrets in kube-system, and nothing else, does not get the authority's keys by joining.
func TestJoiningBySecret(t *testing.T) {
	j := newJoinable(t)
	ctx := t.Context()
	_, err := j.admin.RbacV1().Roles("kube-system").Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "writes-secrets"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"secrets"}}}}, metav1.CreateOptions{})
	j.must(err)
	_, err = j.admin.RbacV1().RoleBindings("kube-system").Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "writes-secrets"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "writes-secrets"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "mallory"}}}, metav1.CreateOptions{})
	j.must(err)
	mallory := rest.CopyConfig(j.m.RESTConfig())
	mallory.Impersonate = rest.ImpersonationConfig{UserName: "mallory"}
	writer := kubernetes.NewForConfigOrDie(mallory)
	for name, token := range map[string]membership.Token{
		"a bootstrap token": {ID: "abcdef", Secret: "0123456789abcdef"},
		"a longer one":      {ID: "abcdeg", Secret: "0123456789abcdef012345678"},
	} {
		_, err := writer.CoreV1().Secrets("kube-system").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + token.ID},
			Type: "bootstrap.kubernetes.io/token", StringData: map[string]string{"token-id": token.ID, "token-secret": token.Secret,
				"usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true", "auth-extra-groups": membership.MastersGroup}}, metav1.CreateOptions{})
		j.must(err)
		grant, err := j.joiner(token, "mallory_1").Join(ctx)
		if err == nil {
			t.Errorf("%s lets a master in, with %d files", name, len(grant.Files))
		}
		bearer := j.client(&rest.Config{Host: j.m.URL(), BearerToken: token.String(), TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
		for path, err := range everything(ctx, bearer) {
			if err == nil {
				t.Errorf("%s gets %s", name, path)
			}
		}
		if err := bearer.Do(ctx, http.MethodDelete, "join/1", membership.Leave{Token: token.String()}, nil); err == nil {
			t.Errorf("%s removes members", name)
		}
	}
	if members := j.members(); members != 1 {
		t.Errorf("%d members", members)
	}
}

func (j *joinable) members() int {
	j.t.Helper()
	var list struct{ Members []any }
	j.must(j.client(j.m.RESTConfig()).Get(j.t.Context(), "members", &list))
	return len(list.Members)
}

// TestJoiningByToken: a token for masters lets one in, of many that come at the same time too, and nobody finds it in the cluster.
func TestJoiningByToken(t *testing.T) {
	j := newJoinable(t)
	ctx := t.Context()
	token := j.invited()
	secrets, err := j.admin.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
	j.must(err)
	data, err := json.Marshal(secrets)
	j.must(err)
	snapshot, err := j.client(j.m.RESTConfig()).Open(ctx, http.MethodPost, "backup/snapshot", nil)
	j.must(err)
	defer snapshot.Close()
	stored, err := io.ReadAll(snapshot)
	j.must(err)
	for what, data := range map[string][]byte{"the Secrets": data, "the store": stored} {
		if bytes.Contains(data, []byte(token.Secret)) || bytes.Contains(data, []byte(token.Secret[:9])) {
			t.Errorf("%s hold the token", what)
		}
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var grants []*membership.Grant
	var joiners []*membership.Joiner
	for _, name := range []string{"a_1", "b_2", "c_3", "d_4"} {
		wait.Go(func() {
			joiner := j.joiner(token, name)
			bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			grant, err := joiner.Join(bounded)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				grants, joiners = append(grants, grant), append(joiners, joiner)
			}
		})
	}
	wait.Wait()
	if len(grants) != 1 || grants[0].Files["pki/ca.key"] == nil {
		t.Fatalf("%d masters were let in with one token", len(grants))
	}
	j.must(joiners[0].Abandon(ctx, grants[0]))
	if _, err := j.joiner(token, "e_5").Join(ctx); err == nil || !strings.Contains(err.Error(), "used already") {
		t.Errorf("a used token: %v", err)
	}
	if again, err := joiners[0].Join(ctx); err != nil || again.Files["pki/ca.key"] == nil { // its folder is as before, and its key the same
		t.Errorf("the same master again: %v", err)
	} else {
		j.must(joiners[0].Abandon(ctx, again))
	}
	revoked := j.invited()
	j.must(j.client(j.m.RESTConfig()).Do(ctx, http.MethodDelete, "tokens/"+revoked.ID, nil, nil))
	if _, err := j.joiner(revoked, "f_6").Join(ctx); err == nil {
		t.Error("a revoked token lets a master in")
	}
}

// TestMastersTokenOpensOneDoor: a token for masters is a user's nowhere but where masters ask to join, used, revoked or not.
func TestMastersTokenOpensOneDoor(t *testing.T) {
	j := newJoinable(t)
	ctx := t.Context()
	token := j.invited()
	config := &rest.Config{Host: j.m.URL(), BearerToken: token.String(), TLSClientConfig: rest.TLSClientConfig{CAData: j.m.RESTConfig().CAData}}
	bearer := kubernetes.NewForConfigOrDie(config)
	closed := func(when string) {
		t.Helper()
		for _, path := range []string{"/api", "/apis", "/openapi/v2", "/wheelhouse/v1/members", "/wheelhouse/v1/joining", "/api/v1/secrets"} {
			if err := bearer.RESTClient().Get().AbsPath(path).Do(ctx).Error(); !apierrors.IsUnauthorized(err) {
				t.Errorf("%s: %s: %v", when, path, err)
			}
		}
		review, err := j.admin.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token.String()}}, metav1.CreateOptions{})
		j.must(err)
		if review.Status.Authenticated {
			t.Errorf("%s: a review takes it for %s", when, review.Status.User.Username)
		}
	}
	closed("fresh")
	if _, err := j.joiner(token, "a_1").Join(ctx); err != nil {
		t.Fatal(err)
	}
	closed("used")
	j.must(j.client(j.m.RESTConfig()).Do(ctx, http.MethodDelete, "tokens/"+token.ID, nil, nil))
	closed("revoked")
}

// TestKeysByRole: no role gives the cluster's keys, nor a token, nor impersonation: only certificates of masters and administrators.
func TestKeysByRole(t *testing.T) {
	j := newJoinable(t)
	ctx := t.Context()
	_, err := j.admin.CoreV1().ServiceAccounts("kube-system").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "almighty"}}, metav1.CreateOptions{})
	j.must(err)
	_, err = j.admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "almighty"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "kube-system", Name: "almighty"}}}, metav1.CreateOptions{})
	j.must(err)
	r, err := j.admin.CoreV1().ServiceAccounts("kube-system").CreateToken(ctx, "almighty", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	j.must(err)
	bearer := &rest.Config{Host: j.m.URL(), BearerToken: r.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: j.m.RESTConfig().CAData}}
	raised := rest.CopyConfig(bearer)
	raised.Impersonate = rest.ImpersonationConfig{UserName: "admin", Groups: []string{"system:masters"}}
	lowered := rest.CopyConfig(j.m.RESTConfig())
	lowered.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:kube-system:almighty"}
	for who, config := range map[string]*rest.Config{"cluster-admin by a token": bearer, "one who impersonates": raised, "one who is impersonated": lowered} {
		c := j.client(config)
		eventually(t, "the role", func() error { return c.Get(ctx, "backup", nil) })
		for path, err := range everything(ctx, c) {
			if err == nil || !strings.Contains(err.Error(), "only masters") {
				t.Errorf("%s: %s: %v", who, path, err)
			}
		}
	}
	for path, err := range everything(ctx, j.client(j.m.RESTConfig())) {
		if err != nil {
			t.Errorf("the administrator: %s: %v", path, err)
		}
	}
}
