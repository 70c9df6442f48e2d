package admission

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// grants are what a user may do for signers, as "verb name"; an error is what the authorizer gives instead of an answer.
type grants struct {
	Authorizer
	allowed map[string]bool
	err     error
}

func (g grants) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetAPIGroup() == "certificates.k8s.io" && a.GetResource() == "signers" && a.IsResourceRequest() && g.allowed[a.GetVerb()+" "+a.GetName()] {
		return authorizer.DecisionAllow, "", g.err
	}
	return authorizer.DecisionNoOpinion, "", g.err
}

func TestSigners(t *testing.T) {
	condition := func(r *certificatesv1.CertificateSigningRequest, of certificatesv1.RequestConditionType) {
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: of, Status: "True"})
	}
	old := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: "a.com/b"}}
	changed := func(f func(r *certificatesv1.CertificateSigningRequest)) *certificatesv1.CertificateSigningRequest {
		r := kind.Copy(old)
		f(r)
		return r
	}
	approved := changed(func(r *certificatesv1.CertificateSigningRequest) { condition(r, certificatesv1.CertificateApproved) })
	issued := changed(func(r *certificatesv1.CertificateSigningRequest) { r.Status.Certificate = []byte("x") })
	elsewhere := changed(func(r *certificatesv1.CertificateSigningRequest) {
		r.Spec.SignerName = "mine.com/x"
		condition(r, certificatesv1.CertificateApproved)
	})
	bundle := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: "a.com:b:c"}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: "a.com/b", TrustBundle: "x"}}
	more := kind.Copy(bundle)
	more.Spec.TrustBundle = "y"
	owned := kind.Copy(bundle)
	owned.OwnerReferences, owned.Finalizers = []metav1.OwnerReference{{Name: "o"}}, []string{"a/b"}
	plain := kind.Copy(bundle)
	plain.Spec.SignerName = ""
	const noApproval, noSigning, noAttest = "not permitted to approve requests", "not permitted to sign requests", "not permitted to attest"
	for name, c := range map[string]struct {
		grant string
		ask
		want string
	}{
		"approve":              {"approve a.com/b", ask{obj: approved, old: old, subresource: "approval"}, ""},
		"approve a domain":     {"approve a.com/*", ask{obj: approved, old: old, subresource: "approval"}, ""},
		"approve all":          {"approve *", ask{obj: approved, old: old, subresource: "approval"}, noApproval},
		"approve without":      {"sign a.com/b", ask{obj: approved, old: old, subresource: "approval"}, noApproval},
		"approve as another":   {"approve mine.com/x", ask{obj: elsewhere, old: old, subresource: "approval"}, noApproval},
		"the request itself":   {"", ask{obj: approved, old: old}, ""},
		"sign":                 {"sign a.com/b", ask{obj: issued, old: old, subresource: "status"}, ""},
		"sign a domain":        {"sign a.com/*", ask{obj: issued, old: old, subresource: "status"}, ""},
		"sign without":         {"approve a.com/b", ask{obj: issued, old: old, subresource: "status"}, noSigning},
		"fail without":         {"", ask{obj: changed(func(r *certificatesv1.CertificateSigningRequest) { condition(r, certificatesv1.CertificateFailed) }), old: old, subresource: "status"}, noSigning},
		"label through status": {"", ask{obj: changed(func(r *certificatesv1.CertificateSigningRequest) { r.Labels = map[string]string{"a": "b"} }), old: old, subresource: "status"}, ""},
		"attest":               {"attest a.com/b", ask{obj: more, old: bundle}, ""},
		"attest a domain":      {"attest a.com/*", ask{obj: more, old: bundle}, ""},
		"attest without":       {"", ask{obj: more, old: bundle}, noAttest},
		"collect":              {"", ask{obj: owned, old: bundle}, ""},
		"no signer":            {"", ask{obj: plain, old: plain}, ""},
		"a new bundle":         {"", ask{operation: admission.Create, obj: bundle}, noAttest},
	} {
		w := newWorld(t, func(o *Options) {
			o.Authorizer = grants{Authorizer: o.Authorizer, allowed: map[string]bool{c.grant: true}}
		})
		if c.operation == "" {
			c.operation = admission.Update
		}
		c.user = &user.DefaultInfo{Name: "u"}
		expect(t, name, w.admit(c.ask), c.want)
	}
	silent := newWorld(t, func(o *Options) {
		o.Authorizer = grants{Authorizer: o.Authorizer, allowed: map[string]bool{"approve a.com/b": true}, err: fmt.Errorf("no answer")}
	})
	expect(t, "an authorizer that fails", silent.admit(ask{operation: admission.Update, obj: approved, old: old, subresource: "approval"}), noApproval)
}

func TestSubjectRestriction(t *testing.T) {
	w := newWorld(t, nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request := func(signer string, groups ...string) kind.Object {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "u", Organization: groups}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: signer, Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})}}
	}
	broken := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: certificatesv1.KubeAPIServerClientSignerName, Request: []byte("x")}}
	expect(t, "a group", w.admit(ask{obj: request(certificatesv1.KubeAPIServerClientSignerName, "g")}), "")
	expect(t, "masters", w.admit(ask{obj: request(certificatesv1.KubeAPIServerClientSignerName, "g", "system:masters")}), "with system:masters group is not allowed")
	expect(t, "another signer", w.admit(ask{obj: request("a.com/b", "system:masters")}), "")
	expect(t, "garbage", w.admit(ask{obj: broken}), "failed to parse CSR")
}
