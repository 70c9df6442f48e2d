package certificates

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

const (
	// legacySigner is one that only versions of the past allowed.
	legacySigner         = "kubernetes.io/legacy-unknown"
	expirationSecondsMin = 600
	// keyBitsMax bounds what the check of a signature costs, which grows with the square of the key's size.
	keyBitsMax = 16384
)

// usages that a certificate can have.
var usages = []certificatesv1.KeyUsage{
	certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment, certificatesv1.UsageDecipherOnly,
	certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection, certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem,
	certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning, certificatesv1.UsageServerAuth,
	certificatesv1.UsageSigning, certificatesv1.UsageSMIME, certificatesv1.UsageTimestamping,
}

// lasting are the condition types that stay once they are set, and are true.
var lasting = []certificatesv1.RequestConditionType{
	certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed,
}

// tolerated are faults that an object may have because it had them before: it was stored when they were none.
type tolerated struct {
	bothDecisions, legacySigner, sameConditions, emptyConditions, anyCertificate, sameUsages, otherUsages bool
}

// toleratedOf finds the faults that old has.
func toleratedOf(next, old *signingRequest) tolerated {
	if old == nil {
		return tolerated{}
	}
	t := tolerated{
		bothDecisions: len(conditionsOf(old, certificatesv1.CertificateApproved)) > 0 && len(conditionsOf(old, certificatesv1.CertificateDenied)) > 0,
		legacySigner:  old.Spec.SignerName == legacySigner,
		anyCertificate: bytes.Equal(next.Status.Certificate, old.Status.Certificate) ||
			validateCertificates(old.Status.Certificate) != nil,
	}
	types := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range old.Status.Conditions {
		t.sameConditions = t.sameConditions || types[c.Type]
		t.emptyConditions = t.emptyConditions || c.Type == ""
		types[c.Type] = true
	}
	used := map[certificatesv1.KeyUsage]bool{}
	for _, u := range old.Spec.Usages {
		t.sameUsages = t.sameUsages || used[u]
		t.otherUsages = t.otherUsages || !slices.Contains(usages, u)
		used[u] = true
	}
	return t
}

func validateSigningRequest(next, old *signingRequest) field.ErrorList {
	t := toleratedOf(next, old)
	var ps kind.Problems
	if err := checkRequest(next.Spec.Request); err != nil {
		ps.Invalid(specPath, "request", omitted, err.Error())
	}
	validateUsages(&ps, next.Spec.Usages, t)
	if !t.legacySigner && next.Spec.SignerName == legacySigner {
		ps.Invalid(specPath, "signerName", next.Spec.SignerName, "this signer stands for requests of older versions only")
	} else {
		ps.Add(podspec.ValidateSignerName(next.Spec.SignerName, specPath.Child("signerName")))
	}
	if s := next.Spec.ExpirationSeconds; s != nil && *s < expirationSecondsMin {
		ps.Invalid(specPath, "expirationSeconds", *s, "must be at least 600 seconds (10 minutes)")
	}
	validateSigningConditions(&ps, next.Status.Conditions, t)
	if !t.anyCertificate {
		if err := validateCertificates(next.Status.Certificate); err != nil {
			ps.Invalid(statusPath, "certificate", omitted, err.Error())
		}
	}
	return ps.List
}

func validateUsages(ps *kind.Problems, list []certificatesv1.KeyUsage, t tolerated) {
	if len(list) == 0 {
		ps.Required(specPath, "usages", "")
	}
	seen := map[certificatesv1.KeyUsage]bool{}
	for n, u := range list {
		at := specPath.Child("usages").Index(n)
		if !t.otherUsages && !slices.Contains(usages, u) {
			kind.Unsupported(ps, at, "", u, usages...)
		}
		if !t.sameUsages && seen[u] {
			ps.Duplicate(at, "", u)
		}
		seen[u] = true
	}
}

func validateSigningConditions(ps *kind.Problems, list []signingCondition, t tolerated) {
	path := statusPath.Child("conditions")
	seen := map[certificatesv1.RequestConditionType]bool{}
	for n, c := range list {
		if c.Type == "" && !t.emptyConditions {
			ps.Required(path.Index(n), "type", "")
		}
		allowed := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		if slices.Contains(lasting, c.Type) {
			allowed = allowed[1:2]
		}
		kind.RequiredOneOf(ps, path.Index(n), "status", c.Status, allowed...)
		if seen[c.Type] && !t.sameConditions {
			ps.Duplicate(path.Index(n), "type", c.Type)
		}
		seen[c.Type] = true
	}
	if seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] && !t.bothDecisions {
		ps.Invalid(path, "", omitted, "a request cannot be both Approved and Denied")
	}
}

// mayChange says what an update may change, which depends on the subresource.
type mayChange struct{ approval, certificate bool }

func validateSigningUpdate(next, old *signingRequest, may mayChange) field.ErrorList {
	ps := kind.Problems{List: validateSigningRequest(next, old)}
	for _, t := range lasting {
		before, after := conditionsOf(old, t), conditionsOf(next, t)
		change := ""
		switch {
		case len(after) < len(before):
			change = "remove"
		case may.approval || t == certificatesv1.CertificateFailed:
		case len(after) > len(before):
			change = "add"
		case !equality.Semantic.DeepEqual(before, after):
			change = "modify"
		}
		if change != "" {
			ps.Forbidden(statusPath, "conditions", fmt.Sprintf("this update may not %s a condition of type %q", change, t))
		}
	}
	if !bytes.Equal(next.Status.Certificate, old.Status.Certificate) {
		switch {
		case !may.certificate:
			ps.Forbidden(statusPath, "certificate", "this update may not set the certificate")
		case len(old.Status.Certificate) > 0:
			ps.Forbidden(statusPath, "certificate", "a certificate that was issued stays as it is")
		}
	}
	return ps.List
}

// ParseRequest reads a PKCS#10 request in PEM form.
func ParseRequest(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// checkRequest wants a request that whoever holds the key has signed.
func checkRequest(data []byte) error {
	request, err := ParseRequest(data)
	if err != nil {
		return err
	}
	if key, ok := request.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > keyBitsMax {
		return fmt.Errorf("the key has %d bits, and at most %d are accepted", key.N.BitLen(), keyBitsMax)
	}
	return request.CheckSignature()
}

// validateCertificates wants certificates in PEM form and nothing else; no data are no fault.
func validateCertificates(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	found := false
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		found, data = true, rest
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("PEM blocks must be of type CERTIFICATE, not %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("PEM blocks may have no headers")
		}
		certificates, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certificates) == 0 {
			return errors.New("a CERTIFICATE block holds no certificate")
		}
	}
	if !found {
		return errors.New("must hold a PEM block of type CERTIFICATE")
	}
	return nil
}
