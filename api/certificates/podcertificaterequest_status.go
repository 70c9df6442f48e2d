package certificates

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Bounds of what is issued.
const (
	chainMax      = 100 << 10 // bytes
	lifetimeMin   = time.Hour
	refreshMargin = 10 * time.Minute // between the times of the certificate and when it is to be renewed
	clockSkewMax  = 5 * time.Minute
)

// validatePodRequestStatus lets a request come to one outcome, after which its status stays as it is.
func validatePodRequestStatus(next, old *podRequest) field.ErrorList {
	var ps kind.Problems
	validateOutcomes(&ps, next.Status.Conditions)
	ps.Add(metav1validation.ValidateConditions(next.Status.Conditions, statusPath.Child("conditions")))
	if len(ps.List) > 0 {
		return ps.List // what the other fields may be depends on the conditions
	}
	must, fault := &old.Status, `the status changes only with a condition "Issued", "Denied" or "Failed"`
	switch {
	case outcomeOf(old) != "":
		fault = "the status stays as it is once the request has its outcome"
	case outcomeOf(next) == certificatesv1.PodCertificateRequestConditionTypeIssued:
		validateIssued(&ps, next, old)
		return ps.List
	case outcomeOf(next) != "":
		must = &certificatesv1.PodCertificateRequestStatus{Conditions: next.Status.Conditions}
		fault = "a request that is denied or has failed has nothing but conditions in its status"
	}
	if !equality.Semantic.DeepEqual(&next.Status, must) {
		ps.Invalid(statusPath, "", field.OmitValueType{}, fault)
	}
	return ps.List
}

// outcomeOf is the condition that has ended a request; empty while there is none.
func outcomeOf(r *podRequest) string {
	for _, c := range r.Status.Conditions {
		if c.Status == metav1.ConditionTrue && slices.Contains(outcomes, c.Type) {
			return c.Type
		}
	}
	return ""
}

// validateOutcomes wants no more than one outcome, which is true, and no other conditions.
func validateOutcomes(ps *kind.Problems, conditions []metav1.Condition) {
	known := 0
	for n, c := range conditions {
		at := statusPath.Child("conditions", fmt.Sprintf("[%d]", n)) // as upstream writes this path
		if !slices.Contains(outcomes, c.Type) {
			kind.Unsupported(ps, at, "type", c.Type, outcomes...)
			continue
		}
		if known++; known > 1 {
			ps.Invalid(at, "type", c.Type, `only one of "Issued", "Denied" and "Failed" may be there`)
		}
		kind.OneOf(ps, at, "status", c.Status, metav1.ConditionTrue)
	}
}

// validateIssued compares what is issued with what was asked for. The first thing that does not fit ends it: what follows rests on it.
func validateIssued(ps *kind.Problems, next, old *podRequest) {
	s := &next.Status
	if len(s.CertificateChain) > chainMax {
		ps.TooLong(statusPath, "certificateChain", chainMax)
		return
	}
	leaf, rest := leafOf(ps, s.CertificateChain)
	if leaf == nil {
		return
	}
	validateNames(ps, leaf)
	if !isFor(leaf, old.Spec.StubPKCS10Request) {
		ps.Invalid(statusPath, "certificateChain", omitted, "the first certificate is for another key than the request's")
		return
	}
	for _, time := range []struct {
		name  string
		value *metav1.Time
	}{{"notBefore", s.NotBefore}, {"notAfter", s.NotAfter}, {"beginRefreshAt", s.BeginRefreshAt}} {
		if time.value == nil {
			ps.Required(statusPath, time.name, "must agree with the certificate")
		}
	}
	if len(ps.List) > 0 {
		return
	}
	if child, fault := timesFault(s, leaf, next.Spec.MaxExpirationSeconds); fault != "" {
		ps.Invalid(statusPath, child, omitted, fault)
		return
	}
	// The chain ends with an authority that is not known here, so it cannot be verified.
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err != nil || block.Type != "CERTIFICATE" {
			ps.Invalid(statusPath, "certificateChain", omitted, "must hold X.509 certificates alone")
			return
		}
	}
}

// leafOf reads the first certificate; nil if that is none, which has been reported then.
func leafOf(ps *kind.Problems, chain string) (leaf *x509.Certificate, rest []byte) {
	block, rest := pem.Decode([]byte(chain))
	fault := ""
	switch {
	case block == nil:
		fault = "must hold a certificate"
	case block.Type != "CERTIFICATE":
		fault = "must hold PEM blocks of type CERTIFICATE alone"
	default:
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err == nil {
			return leaf, rest
		}
		fault = "the first certificate cannot be read as X.509"
	}
	ps.Invalid(statusPath, "certificateChain", omitted, fault)
	return nil, nil
}

// validateNames complains about names that some who read certificates would take for others.
func validateNames(ps *kind.Problems, leaf *x509.Certificate) {
	for _, name := range leaf.DNSNames {
		if name == "" || strings.Contains(name, "..") || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			ps.Invalid(statusPath, "certificateChain", name, "no part of a DNS name may be empty")
		}
	}
	for _, address := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(address); err != nil {
			ps.Invalid(statusPath, "certificateChain", address, "must be a valid email address")
		}
	}
}

// isFor tells whether a certificate has the key of a request.
func isFor(leaf *x509.Certificate, stub []byte) bool {
	request, err := x509.ParseCertificateRequest(stub)
	if err != nil {
		return false
	}
	key, ok := request.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(leaf.PublicKey)
}

// timesFault says which of the status' times does not fit the certificate, and why; nothing if all do.
func timesFault(s *certificatesv1.PodCertificateRequestStatus, leaf *x509.Certificate, lifetimeMax *int32) (child, fault string) {
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	switch begin := s.BeginRefreshAt.Time; {
	case !s.NotBefore.Time.Equal(leaf.NotBefore):
		return "notBefore", "must be when the certificate begins to be valid"
	case time.Until(s.NotBefore.Time).Abs() >= clockSkewMax:
		return "notBefore", "must be no more than 5 minutes from now"
	case !s.NotAfter.Time.Equal(leaf.NotAfter):
		return "notAfter", "must be when the certificate ends to be valid"
	case lifetime < lifetimeMin:
		return "certificateChain", "the first certificate must be valid for an hour at least"
	case lifetimeMax != nil && lifetime > time.Duration(*lifetimeMax)*time.Second:
		return "certificateChain", fmt.Sprintf("the first certificate may be valid for %d seconds at most", *lifetimeMax)
	case begin.Before(s.NotBefore.Add(refreshMargin)):
		return "beginRefreshAt", "must be 10 minutes after notBefore at least"
	case begin.After(s.NotAfter.Add(-refreshMargin)):
		return "beginRefreshAt", "must be 10 minutes before notAfter at least"
	}
	return "", ""
}
