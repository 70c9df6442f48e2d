package certificates

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// replaceKey makes a request of another one's parts with another key; its signature fits no longer.
func replaceKey(t *testing.T, r *x509.CertificateRequest, key []byte) []byte {
	t.Helper()
	var info struct {
		Version    int
		Subject    asn1.RawValue
		Key        asn1.RawValue
		Attributes asn1.RawValue `asn1:"optional,tag:0"`
	}
	if _, err := asn1.Unmarshal(r.RawTBSCertificateRequest, &info); err != nil {
		t.Fatal(err)
	}
	info.Key = asn1.RawValue{FullBytes: key}
	body, err := asn1.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	out, err := asn1.Marshal(struct {
		Info      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		asn1.RawValue{FullBytes: body},
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: r.Signature, BitLength: len(r.Signature) * 8},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func outcome(name string) metav1.Condition {
	return metav1.Condition{Type: name, Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: metav1.Now()}
}

// answered is a request with what a signer writes.
func answered(t *testing.T, lasts time.Duration, edit func(r *podRequest, leaf *x509.Certificate)) (next, old *podRequest) {
	t.Helper()
	key := elliptical(t)
	old = podFor(der(t, key))
	next = kind.Copy(old)
	begin := time.Now().Truncate(time.Second)
	at := func(d time.Duration) *metav1.Time { v := metav1.NewTime(begin.Add(d)); return &v }
	next.Status.Conditions = []metav1.Condition{outcome("Issued")}
	next.Status.NotBefore, next.Status.NotAfter, next.Status.BeginRefreshAt = at(0), at(lasts), at(lasts/2)
	leaf := certificate(t, key, begin, lasts, func(c *x509.Certificate) {
		if edit != nil {
			edit(next, c)
		}
	})
	if next.Status.CertificateChain == "" {
		next.Status.CertificateChain = string(blocks("CERTIFICATE", leaf))
	}
	return next, old
}

func TestIssued(t *testing.T) {
	add := func(p **metav1.Time, d time.Duration) {
		v := metav1.NewTime((*p).Add(d))
		*p = &v
	}
	stranger := blocks("CERTIFICATE", certificate(t, elliptical(t), time.Now(), time.Hour, nil))
	for name, c := range map[string]struct {
		lasts time.Duration
		edit  func(r *podRequest, leaf *x509.Certificate)
		want  string
	}{
		"valid":     {time.Hour, nil, ""},
		"other key": {time.Hour, func(r *podRequest, _ *x509.Certificate) { r.Status.CertificateChain = string(stranger) }, "status.certificateChain Invalid"},
		"no chain":  {time.Hour, func(r *podRequest, _ *x509.Certificate) { r.Status.CertificateChain = "x" }, "status.certificateChain Invalid"},
		"a key": {time.Hour, func(r *podRequest, _ *x509.Certificate) {
			r.Status.CertificateChain = string(blocks("KEY", []byte("x")))
		}, "status.certificateChain Invalid"},
		"garbage": {time.Hour, func(r *podRequest, _ *x509.Certificate) {
			r.Status.CertificateChain = string(blocks("CERTIFICATE", []byte("x")))
		}, "status.certificateChain Invalid"},
		"too long":      {time.Hour, func(r *podRequest, _ *x509.Certificate) { r.Status.CertificateChain = string(make([]byte, chainMax+1)) }, "status.certificateChain TooLong"},
		"short life":    {time.Hour - time.Second, nil, "status.certificateChain Invalid"},
		"long life":     {24*time.Hour + time.Second, nil, "status.certificateChain Invalid"},
		"no times":      {time.Hour, func(r *podRequest, _ *x509.Certificate) { r.Status.NotBefore, r.Status.BeginRefreshAt = nil, nil }, "status.notBefore Required, status.beginRefreshAt Required"},
		"other begin":   {time.Hour, func(r *podRequest, _ *x509.Certificate) { add(&r.Status.NotBefore, time.Second) }, "status.notBefore Invalid"},
		"other end":     {time.Hour, func(r *podRequest, _ *x509.Certificate) { add(&r.Status.NotAfter, time.Second) }, "status.notAfter Invalid"},
		"early refresh": {time.Hour, func(r *podRequest, _ *x509.Certificate) { add(&r.Status.BeginRefreshAt, -21*time.Minute) }, "status.beginRefreshAt Invalid"},
		"late refresh":  {time.Hour, func(r *podRequest, _ *x509.Certificate) { add(&r.Status.BeginRefreshAt, 21*time.Minute) }, "status.beginRefreshAt Invalid"},
		"long ago": {time.Hour, func(r *podRequest, leaf *x509.Certificate) {
			add(&r.Status.NotBefore, -5*time.Minute)
			leaf.NotBefore = r.Status.NotBefore.Time
		}, "status.notBefore Invalid"},
		"two outcomes": {time.Hour, func(r *podRequest, _ *x509.Certificate) {
			r.Status.Conditions = append(r.Status.Conditions, outcome("Denied"))
		}, "status.conditions.[1].type Invalid"},
		"other":      {time.Hour, func(r *podRequest, _ *x509.Certificate) { r.Status.Conditions = []metav1.Condition{outcome("Other")} }, "status.conditions.[0].type NotSupported"},
		"not true":   {time.Hour, func(r *podRequest, _ *x509.Certificate) { r.Status.Conditions[0].Status = "False" }, "status.conditions.[0].status NotSupported"},
		"no outcome": {time.Hour, func(r *podRequest, _ *x509.Certificate) { r.Status.Conditions = nil }, "status Invalid"},
		"denied":     {time.Hour, func(r *podRequest, _ *x509.Certificate) { r.Status.Conditions = []metav1.Condition{outcome("Denied")} }, "status Invalid"},
	} {
		next, old := answered(t, c.lasts, c.edit)
		expect(t, name, validatePodRequestStatus(next, old), c.want)
	}
	next, old := answered(t, time.Hour, nil)
	next.Status.CertificateChain += string(stranger)
	expect(t, "a chain", validatePodRequestStatus(next, old), "")
	next.Status.CertificateChain += string(blocks("CERTIFICATE", []byte("x")))
	expect(t, "a chain that ends badly", validatePodRequestStatus(next, old), "status.certificateChain Invalid")
	denied := kind.Copy(old)
	denied.Status.Conditions = []metav1.Condition{outcome("Denied")}
	expect(t, "denied", validatePodRequestStatus(denied, old), "")
	expect(t, "after the end", validatePodRequestStatus(next, denied), "status Invalid")
	expect(t, "denied no more", validatePodRequestStatus(old, denied), "status Invalid")
	broken := kind.Copy(old)
	broken.Spec.StubPKCS10Request = nil
	fine, _ := answered(t, time.Hour, nil)
	expect(t, "a stored request without a key", validatePodRequestStatus(fine, broken), "status.certificateChain Invalid")
}

// TestStatusKeepsMetadata: whoever signs changes nothing else.
func TestStatusKeepsMetadata(t *testing.T) {
	next, old := answered(t, time.Hour, nil)
	next.Labels, next.Finalizers, next.Spec.PodName = map[string]string{"a": "b"}, []string{"a/b"}, "other"
	part, _ := PodCertificateRequest.Part("status")
	part.Prepare(next, old)
	if next.Labels != nil || next.Finalizers != nil || next.Spec.PodName != old.Spec.PodName {
		t.Errorf("the status changes %v %v %v", next.Labels, next.Finalizers, next.Spec.PodName)
	}
}
