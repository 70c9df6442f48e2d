package admission

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

const (
	certificatesGroup = "certificates.k8s.io"
	signingRequests   = "certificatesigningrequests"
)

// signers is what the plugins share that ask what a user may do for a signer. Signers are no objects; they are authorized as if they were.
type signers struct {
	operations
	authorizer Authorizer
}

// may tells whether the user has the verb for the signer, or for all signers of its domain.
func (p *signers) may(ctx context.Context, a admission.Attributes, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
			User: a.GetUserInfo(), Verb: verb, APIGroup: certificatesGroup, APIVersion: "*", Resource: "signers", Name: name, ResourceRequest: true,
		})
		if err == nil && decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}

func unexpectedType(a admission.Attributes, got any) error {
	return admission.NewForbidden(a, fmt.Errorf("unexpected type %T", got))
}

// certificateApproval lets only those approve or deny a request for a certificate who may do so for its signer.
type certificateApproval struct{ signers }

func newCertificateApproval(o *Options) admission.Interface {
	return &certificateApproval{signers{onUpdate, o.Authorizer}}
}

// Validate asks about the signer of the request as it is stored, whatever the user makes of it.
func (p *certificateApproval) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !is(a, certificatesGroup, signingRequests) || a.GetSubresource() != "approval" {
		return nil
	}
	old, ok := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return unexpectedType(a, a.GetOldObject())
	}
	if !p.may(ctx, a, "approve", old.Spec.SignerName) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to approve requests with signerName %q", old.Spec.SignerName))
	}
	return nil
}

// certificateSigning lets only those write a certificate, or conditions, into a request who may sign for its signer.
type certificateSigning struct{ signers }

func newCertificateSigning(o *Options) admission.Interface {
	return &certificateSigning{signers{onUpdate, o.Authorizer}}
}

func (p *certificateSigning) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !is(a, certificatesGroup, signingRequests) || a.GetSubresource() != "status" {
		return nil
	}
	old, ok := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return unexpectedType(a, a.GetOldObject())
	}
	next, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return unexpectedType(a, a.GetObject())
	}
	if bytes.Equal(old.Status.Certificate, next.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, next.Status.Conditions) {
		return nil
	}
	if !p.may(ctx, a, "sign", old.Spec.SignerName) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to sign requests with signerName %q", old.Spec.SignerName))
	}
	return nil
}

// trustBundleAttest lets only those say whom to trust for a signer who may attest for it.
type trustBundleAttest struct{ signers }

func newTrustBundleAttest(o *Options) admission.Interface {
	return &trustBundleAttest{signers{onCreate | onUpdate, o.Authorizer}}
}

func (p *trustBundleAttest) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !is(a, certificatesGroup, "clustertrustbundles") {
		return nil
	}
	next, ok := a.GetObject().(*certificatesv1.ClusterTrustBundle)
	if !ok {
		return unexpectedType(a, a.GetObject())
	}
	if next.Spec.SignerName == "" {
		return nil
	}
	if old, ok := a.GetOldObject().(*certificatesv1.ClusterTrustBundle); ok && old != nil && collects(next, old) {
		return nil
	}
	if !p.may(ctx, a, "attest", next.Spec.SignerName) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to attest for signerName %q", next.Spec.SignerName))
	}
	return nil
}

// collects tells whether an update changes nothing but what the garbage collector changes.
func collects(next, old *certificatesv1.ClusterTrustBundle) bool {
	same := kind.Copy(next)
	same.OwnerReferences, same.Finalizers, same.SelfLink, same.ManagedFields = old.OwnerReferences, old.Finalizers, old.SelfLink, old.ManagedFields
	return equality.Semantic.DeepEqual(same, old)
}

// subjectRestriction keeps everybody from asking for a client certificate of the group that may do everything.
type subjectRestriction struct{ operations }

func newSubjectRestriction(*Options) admission.Interface { return &subjectRestriction{onCreate} }

func (*subjectRestriction) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !is(a, certificatesGroup, signingRequests) || a.GetSubresource() != "" {
		return nil
	}
	request, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return unexpectedType(a, a.GetObject())
	}
	if request.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := parseSigningRequest(request)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to parse CSR: %w", err))
	}
	if slices.Contains(parsed.Subject.Organization, user.SystemPrivilegedGroup) {
		return admission.NewForbidden(a, fmt.Errorf("use of %s signer with %s group is not allowed", request.Spec.SignerName, user.SystemPrivilegedGroup))
	}
	return nil
}

func parseSigningRequest(r *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(r.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
