package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// expect compares complaints, as "field reason", with those that are wanted.
func expect(t *testing.T, what string, errs field.ErrorList, want string) {
	t.Helper()
	var list []string
	for _, e := range errs {
		list = append(list, fmt.Sprintf("%s %s", e.Field, strings.TrimPrefix(string(e.Type), "FieldValue")))
	}
	if got := strings.Join(list, ", "); got != want {
		t.Errorf("%s: complaints %q, want %q", what, got, want)
	}
}

func der(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	out, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func elliptical(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func blocks(kind string, data ...[]byte) []byte {
	var out []byte
	for _, d := range data {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: d})...)
	}
	return out
}

// certificate makes one for the key, valid from begin for a while, changed by edit.
func certificate(t *testing.T, key crypto.Signer, begin time.Time, lasts time.Duration, edit func(*x509.Certificate)) []byte {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: begin, NotAfter: begin.Add(lasts), BasicConstraintsValid: true}
	if edit != nil {
		edit(c)
	}
	out, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func request(t *testing.T) *signingRequest {
	return &signingRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: blocks("CERTIFICATE REQUEST", der(t, elliptical(t))), SignerName: "example.com/a",
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}, Username: "eve", Groups: []string{"g"},
	}}
}

func TestRequester(t *testing.T) {
	r := request(t)
	r.Spec.UID, r.Spec.Extra = "x", map[string]certificatesv1.ExtraValue{"forged": {"yes"}}
	CertificateSigningRequest.Requested(r, &user.DefaultInfo{Name: "bob", UID: "1", Groups: []string{"h"}, Extra: map[string][]string{"k": {"v"}}})
	if s := r.Spec; s.Username != "bob" || s.UID != "1" || fmt.Sprint(s.Groups) != "[h]" || fmt.Sprint(s.Extra) != "map[k:[v]]" {
		t.Errorf("the requester is %q %q %v %v", s.Username, s.UID, s.Groups, s.Extra)
	}
	next := kind.Copy(r)
	next.Spec.Username, next.Status.Certificate = "eve", []byte("x")
	CertificateSigningRequest.PrepareUpdate(next, r)
	if next.Spec.Username != "bob" || next.Status.Certificate != nil {
		t.Error("an update changes who asked, or the status")
	}
}

func TestSigningRequests(t *testing.T) {
	short := int32(599)
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), keyBitsMax+8), E: 3}
	huge.N.Add(huge.N, big.NewInt(1))
	for name, c := range map[string]struct {
		edit func(*signingRequest)
		want string
	}{
		"valid":          {func(*signingRequest) {}, ""},
		"no PEM":         {func(r *signingRequest) { r.Spec.Request = []byte("x") }, "spec.request Invalid"},
		"other block":    {func(r *signingRequest) { r.Spec.Request = blocks("CERTIFICATE", der(t, elliptical(t))) }, "spec.request Invalid"},
		"broken":         {func(r *signingRequest) { r.Spec.Request[80] ^= 1 }, "spec.request Invalid"},
		"huge key":       {func(r *signingRequest) { r.Spec.Request = blocks("CERTIFICATE REQUEST", unsigned(t, huge)) }, "spec.request Invalid"},
		"no usages":      {func(r *signingRequest) { r.Spec.Usages = nil }, "spec.usages Required"},
		"usages":         {func(r *signingRequest) { r.Spec.Usages = append(r.Spec.Usages, "x", "client auth") }, "spec.usages[1] NotSupported, spec.usages[2] Duplicate"},
		"legacy signer":  {func(r *signingRequest) { r.Spec.SignerName = legacySigner }, "spec.signerName Invalid"},
		"long path word": {func(r *signingRequest) { r.Spec.SignerName = "example.com/" + strings.Repeat("a", 100) }, ""},
		"short":          {func(r *signingRequest) { r.Spec.ExpirationSeconds = &short }, "spec.expirationSeconds Invalid"},
	} {
		r := request(t)
		c.edit(r)
		expect(t, name, validateSigningRequest(r, nil), c.want)
	}
}

// unsigned is a request with a key that nobody holds, and a signature that is none.
func unsigned(t *testing.T, key *rsa.PublicKey) []byte {
	t.Helper()
	holder, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificateRequest(der(t, holder))
	if err != nil {
		t.Fatal(err)
	}
	own, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return replaceKey(t, parsed, own)
}

func TestDecisions(t *testing.T) {
	is := func(t certificatesv1.RequestConditionType, status corev1.ConditionStatus) signingCondition {
		return signingCondition{Type: t, Status: status}
	}
	approved, denied, failed := is("Approved", "True"), is("Denied", "True"), is("Failed", "True")
	own := certificate(t, elliptical(t), time.Now(), time.Hour, nil)
	issued := blocks("CERTIFICATE", own)
	type state struct {
		conditions  []signingCondition
		certificate []byte
	}
	for name, c := range map[string]struct {
		part      string
		old, next state
		want      string
	}{
		"approve":              {"approval", state{}, state{conditions: []signingCondition{approved}}, ""},
		"approve twice":        {"approval", state{}, state{conditions: []signingCondition{approved, approved}}, "status.conditions[1].type Duplicate"},
		"approve and deny":     {"approval", state{}, state{conditions: []signingCondition{approved, denied}}, "status.conditions Invalid"},
		"deny the approved":    {"approval", state{conditions: []signingCondition{approved}}, state{conditions: []signingCondition{approved, denied}}, "status.conditions Invalid"},
		"take back":            {"approval", state{conditions: []signingCondition{approved}}, state{}, "status.conditions Forbidden"},
		"half approved":        {"approval", state{}, state{conditions: []signingCondition{is("Approved", "False")}}, "status.conditions[0].status NotSupported"},
		"no status":            {"approval", state{}, state{conditions: []signingCondition{is("x", "")}}, "status.conditions[0].status Required"},
		"no type":              {"approval", state{}, state{conditions: []signingCondition{is("", "True")}}, "status.conditions[0].type Required"},
		"approve by status":    {"status", state{}, state{conditions: []signingCondition{approved}}, "status.conditions Forbidden"},
		"fail":                 {"status", state{conditions: []signingCondition{approved}}, state{conditions: []signingCondition{approved, failed}}, ""},
		"fail no more":         {"status", state{conditions: []signingCondition{failed}}, state{}, "status.conditions Forbidden"},
		"issue":                {"status", state{}, state{certificate: issued}, ""},
		"issue nonsense":       {"status", state{}, state{certificate: []byte("x")}, "status.certificate Invalid"},
		"issue another":        {"status", state{certificate: issued}, state{certificate: append(issued, '\n')}, "status.certificate Forbidden"},
		"issue a key":          {"status", state{}, state{certificate: blocks("PRIVATE KEY", []byte("x"))}, "status.certificate Invalid"},
		"issue by approval":    {"approval", state{}, state{certificate: issued}, ""}, // it is not taken over
		"conditions of before": {"approval", state{conditions: []signingCondition{is("", "True")}}, state{conditions: []signingCondition{is("", "True"), approved}}, ""},
	} {
		old := request(t)
		old.Status = certificatesv1.CertificateSigningRequestStatus{Conditions: c.old.conditions, Certificate: c.old.certificate}
		for n := range old.Status.Conditions {
			at := metav1.NewTime(time.Unix(1000, 0))
			old.Status.Conditions[n].LastUpdateTime, old.Status.Conditions[n].LastTransitionTime = at, at
		}
		next := kind.Copy(old)
		next.Spec.Username = "mallory"
		next.Status = certificatesv1.CertificateSigningRequestStatus{Conditions: c.next.conditions, Certificate: c.next.certificate}
		part, ok := CertificateSigningRequest.Part(c.part)
		if !ok {
			t.Fatal(c.part)
		}
		part.Prepare(next, old)
		expect(t, name, part.ValidateUpdate(next, old), c.want)
		if next.Spec.Username != "eve" {
			t.Errorf("%s changes the spec", name)
		}
		for _, condition := range next.Status.Conditions {
			if c.want == "" && condition.LastTransitionTime.IsZero() && len(c.old.conditions) == 0 {
				t.Errorf("%s: the condition %s has no time", name, condition.Type)
			}
		}
	}
}

func TestTimesOfConditions(t *testing.T) {
	before := metav1.NewTime(time.Unix(1000, 0))
	old, next := request(t), request(t)
	old.Status.Conditions = []signingCondition{{Type: "x", Status: "True", LastTransitionTime: before}, {Type: "y", Status: "True", LastTransitionTime: before}}
	next.Status.Conditions = []signingCondition{{Type: "x", Status: "True"}, {Type: "y", Status: "False"}}
	stampConditions(next, old)
	if c := next.Status.Conditions; !c[0].LastTransitionTime.Equal(&before) || c[1].LastTransitionTime.Equal(&before) || c[0].LastUpdateTime.IsZero() {
		t.Errorf("the conditions have the times %v", c)
	}
}

func TestTrustBundles(t *testing.T) {
	authority := func(c *x509.Certificate) { c.IsCA = true }
	key := elliptical(t)
	one := certificate(t, key, time.Now(), time.Hour, authority)
	two := certificate(t, key, time.Now(), 2*time.Hour, authority)
	leaf := certificate(t, key, time.Now(), time.Hour, nil)
	headed := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one, Headers: map[string]string{"a": "b"}})
	for name, c := range map[string]struct {
		name, signer string
		bundle       []byte
		want         string
	}{
		"one":             {"a", "", blocks("CERTIFICATE", one), ""},
		"two, and text":   {"a", "", append([]byte("hello\n"), blocks("CERTIFICATE", one, two)...), ""},
		"none":            {"a", "", nil, "spec.trustBundle Invalid"},
		"twice":           {"a", "", blocks("CERTIFICATE", one, one), "spec.trustBundle Invalid"},
		"leaf":            {"a", "", blocks("CERTIFICATE", leaf), "spec.trustBundle Invalid"},
		"key":             {"a", "", blocks("PRIVATE KEY", one), "spec.trustBundle Invalid"},
		"headers":         {"a", "", headed, "spec.trustBundle Invalid"},
		"garbage":         {"a", "", blocks("CERTIFICATE", []byte("x")), "spec.trustBundle Invalid"},
		"too long":        {"a", "", make([]byte, trustBundleMax+1), "spec.trustBundle TooLong"},
		"signer's":        {"example.com:s:a", "example.com/s", blocks("CERTIFICATE", one), ""},
		"other signer's":  {"example.com:t:a", "example.com/s", blocks("CERTIFICATE", one), "metadata.name Invalid"},
		"no signer's":     {"example.com:t:a", "", blocks("CERTIFICATE", one), "metadata.name Invalid"},
		"no signer":       {"x:a", "x", blocks("CERTIFICATE", one), "spec.signerName Invalid"},
		"no name of own":  {"example.com:s:", "example.com/s", blocks("CERTIFICATE", one), "metadata.name Invalid"},
		"name of a label": {"example.com:s:A", "example.com/s", blocks("CERTIFICATE", one), "metadata.name Invalid"},
	} {
		b := &trustBundle{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: c.signer, TrustBundle: string(c.bundle)}}
		expect(t, name, validateTrustBundle(b, nil), c.want)
	}
	stored := &trustBundle{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: certificatesv1.ClusterTrustBundleSpec{TrustBundle: "no longer valid"}}
	labelled := kind.Copy(stored)
	labelled.Labels = map[string]string{"a": "b"}
	expect(t, "a bundle that stays", validateTrustBundle(labelled, stored), "")
	labelled.Name, labelled.Spec.SignerName = "example.com:s:a", "example.com/s"
	expect(t, "another signer", validateTrustBundle(labelled, stored), "spec.signerName Invalid")
}

func podFor(stub []byte) *podRequest {
	r := &podRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r"}, Spec: certificatesv1.PodCertificateRequestSpec{
		SignerName: "example.com/s", PodName: "p", PodUID: "1", ServiceAccountName: "s", ServiceAccountUID: "2", NodeName: "n", NodeUID: "3", StubPKCS10Request: stub,
	}}
	PodCertificateRequest.Default(r)
	return r
}

func TestPodRequests(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	seconds := func(n int32) func(*podRequest) { return func(r *podRequest) { r.Spec.MaxExpirationSeconds = &n } }
	stub := func(b []byte) func(*podRequest) { return func(r *podRequest) { r.Spec.StubPKCS10Request = b } }
	broken := der(t, elliptical(t))
	broken[len(broken)-1] ^= 1
	for name, c := range map[string]struct {
		edit func(*podRequest)
		want string
	}{
		"valid":      {func(*podRequest) {}, ""},
		"edwards":    {stub(der(t, edwards)), ""},
		"small key":  {stub(der(t, small)), "spec.stubPKCS10Request Invalid"},
		"broken":     {stub(broken), "spec.stubPKCS10Request Invalid"},
		"garbage":    {stub([]byte("x")), "spec.stubPKCS10Request Invalid"},
		"none":       {stub(nil), "spec Invalid"},
		"too long":   {stub(make([]byte, stubRequestMax+1)), "spec.stubPKCS10Request TooLong"},
		"short":      {seconds(3599), "spec.maxExpirationSeconds Invalid"},
		"91 days":    {seconds(91 * 86400), ""},
		"longer":     {seconds(91*86400 + 1), "spec.maxExpirationSeconds Invalid"},
		"own signer": {func(r *podRequest) { r.Spec.SignerName = "a.kubernetes.io/b"; seconds(86401)(r) }, "spec.maxExpirationSeconds Invalid"},
		"no seconds": {func(r *podRequest) { r.Spec.MaxExpirationSeconds = nil }, "spec.maxExpirationSeconds Required"},
		"no UID":     {func(r *podRequest) { r.Spec.NodeUID = "" }, "spec.nodeUID Invalid"},
		"long UID": {func(r *podRequest) {
			r.Spec.PodUID = "0123456789" + "0"
			r.Spec.PodUID += r.Spec.PodUID
			for len(r.Spec.PodUID) <= uidMax {
				r.Spec.PodUID += "0"
			}
		}, "spec.podUID TooLong"},
		"pod's name":  {func(r *podRequest) { r.Spec.PodName = "" }, "spec.podName Invalid"},
		"annotations": {func(r *podRequest) { r.Spec.UnverifiedUserAnnotations = map[string]string{"plain": "x"} }, "spec.unverifiedUserAnnotations Invalid"},
	} {
		r := podFor(der(t, elliptical(t)))
		c.edit(r)
		expect(t, name, validatePodRequest(&r.Spec), c.want)
	}
	old := podFor(der(t, elliptical(t)))
	next := kind.Copy(old)
	next.Spec.PodUID = "9"
	expect(t, "a change", PodCertificateRequest.ValidateUpdate(next, old), "spec Invalid")
}
