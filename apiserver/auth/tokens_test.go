package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

func newTokens(t testing.TB, r *registry.Registry, edit func(o *TokenOptions)) *Tokens {
	t.Helper()
	a, err := pki.New(pki.Options{Hostname: "m"})
	if err != nil {
		t.Fatal(err)
	}
	o := TokenOptions{Registry: r, Issuers: []string{issuer}, Key: a.TokenKey(), Keys: a.TokenKeys()}
	if edit != nil {
		edit(&o)
	}
	tokens, err := NewTokens(o)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// master is the identity of the server itself, which may do everything.
func master() user.Info {
	return &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
}

func account(name string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}}
}

func pod(name, node, account string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name},
		Spec:       corev1.PodSpec{NodeName: node, ServiceAccountName: account, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func ask(seconds int64, audiences ...string) *authenticationv1.TokenRequest {
	tr := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	if seconds != 0 {
		tr.Spec.ExpirationSeconds = &seconds
	}
	return tr
}

func bound(kind, name string, uid types.UID) *authenticationv1.TokenRequest {
	tr := ask(3607)
	tr.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name, UID: uid}
	return tr
}

func TestIssueRefuses(t *testing.T) {
	r, z := start(t)
	tokens := newTokens(t, r, nil)
	sa := create(t, r, z, "serviceaccounts", account("s"))
	create(t, r, z, "pods", pod("mine", "", "s"))
	create(t, r, z, "pods", pod("other", "", "x"))
	wrongName := ask(0)
	wrongName.Name = "x"
	wrongNamespace := ask(0)
	wrongNamespace.Namespace = "x"
	group := bound("Deployment", "d", "")
	group.Spec.BoundObjectRef.APIVersion = "apps/v1"
	for name, c := range map[string]struct {
		tr      *authenticationv1.TokenRequest
		code    int32
		field   string
		message string
	}{
		"too short":       {ask(599), 422, "spec.expirationSeconds", "may not specify a duration less than 10 minutes"},
		"too long":        {ask(1<<32 + 1), 422, "spec.expirationSeconds", "larger than 2^32"},
		"other name":      {wrongName, 422, "metadata.name", "must match the service account name"},
		"other namespace": {wrongNamespace, 422, "metadata.namespace", "must match the service account namespace"},
		"missing pod":     {bound("Pod", "none", ""), 404, "", `pods "none" not found`},
		"missing secret":  {bound("Secret", "none", ""), 404, "", `secrets "none" not found`},
		"missing node":    {bound("Node", "none", ""), 404, "", `nodes "none" not found`},
		"other's pod":     {bound("Pod", "other", ""), 400, "", "cannot bind token for serviceaccount"},
		"other uid":       {bound("Pod", "mine", "x"), 409, "", "does not match the UID in record"},
		"other kind":      {group, 400, "", "cannot bind token to object of type apps/v1, Kind=Deployment"},
	} {
		_, err := tokens.Issue(t.Context(), master(), sa, c.tr)
		status, ok := err.(*apierrors.StatusError)
		if !ok || status.ErrStatus.Code != c.code || !strings.Contains(status.Error(), c.message) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.field != "" && (len(status.ErrStatus.Details.Causes) != 1 || status.ErrStatus.Details.Causes[0].Field != c.field) {
			t.Errorf("%s: causes %v", name, status.ErrStatus.Details.Causes)
		}
	}
}

func readClaims(t *testing.T, token string) map[string]any {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		t.Fatal(err)
	}
	c := map[string]any{}
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIssueClaims(t *testing.T) {
	r, z := start(t)
	now := time.Unix(1_800_000_000, 0)
	tokens := newTokens(t, r, func(o *TokenOptions) { o.Now = func() time.Time { return now } })
	sa := create(t, r, z, "serviceaccounts", account("s"))
	node := create(t, r, z, "nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	p := create(t, r, z, "pods", pod("p", "n1", "s"))
	out, err := tokens.Issue(t.Context(), master(), sa, bound("Pod", "p", p.UID))
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Status.ExpirationTimestamp.Unix(); got != now.Unix()+3607 {
		t.Errorf("expiration: %d", got-now.Unix())
	}
	if out.Name != "s" || out.Namespace != "n" || !slices.Equal(out.Spec.Audiences, []string{issuer}) {
		t.Errorf("answer: %v", out)
	}
	c := readClaims(t, out.Status.Token)
	if c["jti"] == "" || c["iss"] != issuer || c["sub"] != "system:serviceaccount:n:s" || c["exp"].(float64) != float64(now.Unix()+extendedTokenSeconds) {
		t.Errorf("claims: %v", c)
	}
	data, err := json.Marshal(c["kubernetes.io"])
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(map[string]any{
		"namespace": "n", "warnafter": now.Unix() + 3607,
		"serviceaccount": map[string]any{"name": "s", "uid": sa.UID},
		"pod":            map[string]any{"name": "p", "uid": p.UID},
		"node":           map[string]any{"name": "n1", "uid": node.UID},
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != string(want) {
		t.Errorf("claims\nhave %s\nwant %s", data, want)
	}
	plain, err := tokens.Issue(t.Context(), master(), sa, ask(0))
	if err != nil {
		t.Fatal(err)
	}
	if c := readClaims(t, plain.Status.Token); c["exp"].(float64) != float64(now.Unix()+3600) || *plain.Spec.ExpirationSeconds != 3600 {
		t.Errorf("claims: %v", c)
	}
	if c := readClaims(t, plain.Status.Token)["kubernetes.io"].(map[string]any); len(c) != 2 {
		t.Errorf("claims: %v", c)
	}
}

func TestVerify(t *testing.T) {
	r, z := start(t)
	now := time.Now()
	clock := func(o *TokenOptions) { o.Now = func() time.Time { return now } }
	tokens := newTokens(t, r, clock)
	sa := create(t, r, z, "serviceaccounts", account("s"))
	issue := func(with *Tokens, tr *authenticationv1.TokenRequest) string {
		t.Helper()
		out, err := with.Issue(t.Context(), master(), sa, tr)
		if err != nil {
			t.Fatal(err)
		}
		return out.Status.Token
	}
	verify := func(step, token string, audiences []string, message string) *authenticator.Response {
		t.Helper()
		ctx := t.Context()
		if audiences != nil {
			ctx = authenticator.WithAudiences(ctx, audiences)
		}
		var response *authenticator.Response
		for range 2 { // the second time from memory
			var ok bool
			var err error
			response, ok, err = tokens.AuthenticateToken(ctx, token)
			switch {
			case message == "" && (!ok || err != nil), message != "" && (ok || err == nil || !strings.Contains(err.Error(), message)):
				t.Errorf("%s: %v %v", step, ok, err)
				return nil
			}
		}
		return response
	}
	good := issue(tokens, ask(3600))
	u := verify("good", good, nil, "").User
	if u.GetName() != "system:serviceaccount:n:s" || u.GetUID() != string(sa.UID) || len(u.GetExtra()[user.CredentialIDKey]) != 1 ||
		!slices.Equal(u.GetGroups(), []string{"system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"}) {
		t.Errorf("user: %v", u)
	}
	other := issue(tokens, ask(3600, "other", "more"))
	verify("other audience", other, nil, "is invalid for the target audiences")
	if got := verify("asked audience", other, []string{"x", "more"}, ""); !slices.Equal(got.Audiences, []string{"more"}) {
		t.Errorf("audiences: %v", got.Audiences)
	}
	verify("unknown audience", good, []string{"x"}, "is invalid for the target audiences")
	verify("other key", issue(newTokens(t, r, clock), ask(3600)), nil, "no key of this cluster")
	verify("changed", good[:len(good)-4]+"AAAA", nil, "error")

	p := create(t, r, z, "pods", pod("p", "n1", "s"))
	withPod := issue(tokens, bound("Pod", "p", p.UID))
	if got := verify("pod", withPod, nil, "").User.GetExtra(); got["authentication.kubernetes.io/pod-name"][0] != "p" || got["authentication.kubernetes.io/node-name"][0] != "n1" {
		t.Errorf("extra: %v", got)
	}
	remove(t, r, z, "pods", "n", "p")
	verify("pod gone", withPod, nil, "invalidated")
	create(t, r, z, "pods", pod("p", "n1", "s"))
	verify("pod made anew", withPod, nil, "invalidated")
	node := create(t, r, z, "nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	withNode := issue(tokens, bound("Node", "n1", node.UID))
	verify("node", withNode, nil, "")
	remove(t, r, z, "nodes", "", "n1")
	verify("node gone", withNode, nil, "invalidated")
	create(t, r, z, "secrets", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x"}})
	withSecret := issue(tokens, bound("Secret", "x", ""))
	verify("secret", withSecret, nil, "")
	remove(t, r, z, "secrets", "n", "x")
	verify("secret gone", withSecret, nil, "invalidated")

	now = now.Add(3600*time.Second + 2*time.Minute)
	verify("expired", good, nil, "expired")
	now = now.Add(-3 * time.Hour)
	verify("not yet", good, nil, "not valid yet")
	now = now.Add(2 * time.Hour)
	verify("again", good, nil, "")
	remove(t, r, z, "serviceaccounts", "n", "s")
	verify("account gone", good, nil, "does not exist")
	create(t, r, z, "serviceaccounts", account("s"))
	verify("account made anew", good, nil, "does not match claim")
}

func TestVerifyLeavesOthersTokens(t *testing.T) {
	r, _ := start(t)
	tokens := newTokens(t, r, nil)
	foreign := newTokens(t, r, func(o *TokenOptions) { o.Issuers = []string{"https://elsewhere"} })
	out, err := foreign.Issue(t.Context(), master(), account("s"), ask(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"bogus", "a.b.c", "", out.Status.Token} {
		if _, ok, err := tokens.AuthenticateToken(t.Context(), token); ok || err != nil {
			t.Errorf("%q: %v %v", token, ok, err)
		}
	}
}

// TestVerifyRefusesForgedAlgorithm: a token whose signature is none, or made with the public key as a shared secret.
func TestVerifyRefusesForgedAlgorithm(t *testing.T) {
	r, z := start(t)
	tokens := newTokens(t, r, nil)
	sa := create(t, r, z, "serviceaccounts", account("s"))
	out, err := tokens.Issue(t.Context(), master(), sa, ask(0))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(out.Status.Token, ".")
	none := "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + "."
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("k", 32))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := jwt.Signed(signer).Claims(readClaims(t, out.Status.Token)).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{none, shared} {
		if _, ok, _ := tokens.AuthenticateToken(t.Context(), token); ok {
			t.Error("a forged token is taken")
		}
	}
}

func TestLegacyTokens(t *testing.T) {
	r, z := start(t)
	tokens := newTokens(t, r, nil)
	sa := create(t, r, z, "serviceaccounts", account("s"))
	c := claims{
		Claims:          jwt.Claims{Issuer: legacyIssuer, Subject: "system:serviceaccount:n:s"},
		LegacyNamespace: "n", LegacySecret: "x", LegacyName: "s", LegacyUID: string(sa.UID),
	}
	token, err := jwt.Signed(tokens.now.Load().signer).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := tokens.AuthenticateToken(t.Context(), token); ok || err == nil {
		t.Error("a token without its secret is taken")
	}
	create(t, r, z, "secrets", &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x", Annotations: map[string]string{corev1.ServiceAccountNameKey: "s", corev1.ServiceAccountUIDKey: string(sa.UID)}},
		Type:       corev1.SecretTypeServiceAccountToken, Data: map[string][]byte{"token": []byte(token)},
	})
	if response, ok, err := tokens.AuthenticateToken(t.Context(), token); !ok || err != nil || response.User.GetName() != "system:serviceaccount:n:s" {
		t.Errorf("%v %v", ok, err)
	}
}

func TestKeysRotate(t *testing.T) {
	r, z := start(t)
	sa := create(t, r, z, "serviceaccounts", account("s"))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	older := newTokens(t, r, func(o *TokenOptions) { o.Key, o.Keys = key, nil })
	out, err := older.Issue(t.Context(), master(), sa, ask(0))
	if err != nil {
		t.Fatal(err)
	}
	newer := newTokens(t, r, func(o *TokenOptions) { o.Keys = append(o.Keys, crypto.PublicKey(key.Public())) })
	if _, ok, err := newer.AuthenticateToken(t.Context(), out.Status.Token); !ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	handler := newer.JWKSHandler()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, JWKSPath, nil))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 2 || w.Header().Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("keys: %v %v", set, err)
	}
	parsed, err := jwt.ParseSigned(out.Status.Token, algorithms)
	if err != nil {
		t.Fatal(err)
	}
	if found := set.Key(parsed.Headers[0].KeyID); len(found) != 1 || parsed.Claims(found[0].Key, &claims{}) != nil {
		t.Error("the published key does not verify the token")
	}
	handler = newer.IssuerHandler("https://192.0.2.1:6443")
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, IssuerPath, nil))
	var m issuerMetadata
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || m.Issuer != issuer || m.JWKSURI != "https://192.0.2.1:6443/openid/v1/jwks" || len(m.Algorithms) != 2 {
		t.Errorf("discovery: %v %v", m, err)
	}
}

// TestSetKeys rotates the keys of running Tokens: what an earlier key signed is good until that key is dropped, also for
// tokens that were seen before.
func TestSetKeys(t *testing.T) {
	r, z := start(t)
	sa := create(t, r, z, "serviceaccounts", account("s"))
	tokens := newTokens(t, r, nil)
	issue := func() string {
		t.Helper()
		out, err := tokens.Issue(t.Context(), master(), sa, ask(0))
		if err != nil {
			t.Fatal(err)
		}
		return out.Status.Token
	}
	good := func(token string) bool {
		_, ok, _ := tokens.AuthenticateToken(t.Context(), token)
		return ok
	}
	published := func() int {
		w := httptest.NewRecorder()
		tokens.JWKSHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, JWKSPath, nil))
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
			t.Fatal(err)
		}
		return len(set.Keys)
	}
	first, old := issue(), tokens.Key
	next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		key       crypto.Signer
		keys      []crypto.PublicKey
		old, new  bool // whether the old and the new token are good
		published int
	}{
		{old, []crypto.PublicKey{next.Public()}, true, true, 2},
		{next, []crypto.PublicKey{old.Public()}, true, true, 2},
		{next, nil, false, true, 1},
	} {
		if err := tokens.SetKeys(step.key, step.keys); err != nil {
			t.Fatal(err)
		}
		second := issue()
		if good(first) != step.old || good(second) != step.new || published() != step.published {
			t.Errorf("%+v: %v %v %d", step, good(first), good(second), published())
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	r, z := start(b)
	tokens := newTokens(b, r, nil)
	sa := create(b, r, z, "serviceaccounts", account("s"))
	out, err := tokens.Issue(b.Context(), master(), sa, ask(0))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := tokens.AuthenticateToken(b.Context(), out.Status.Token); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

func TestDocumentsNegotiate(t *testing.T) {
	r, _ := start(t)
	handler := newTokens(t, r, nil).JWKSHandler()
	for accept, want := range map[string]int{
		"": 200, "*/*": 200, "application/*": 200, "application/jwk-set+json": 200, "text/html, */*;q=0.8": 200, "application/json": 406, "text/html": 406,
	} {
		q := httptest.NewRequest(http.MethodGet, JWKSPath, nil)
		if accept != "" {
			q.Header.Set("Accept", accept)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, q)
		if w.Code != want {
			t.Errorf("%q: %d", accept, w.Code)
		}
	}
}
