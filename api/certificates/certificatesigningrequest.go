package certificates

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

type (
	signingRequest   = certificatesv1.CertificateSigningRequest
	signingCondition = certificatesv1.CertificateSigningRequestCondition
)

// CertificateSigningRequest is the kind of requests for certificates. Who made one stands in its spec, which never changes; who approves
// or denies it writes conditions through approval, and who signs it the certificate through status.
var CertificateSigningRequest = kind.Define(kind.Resource{
	GroupVersion: certificatesv1.SchemeGroupVersion, Plural: "certificatesigningrequests", ShortNames: []string{"csr"},
	List:      kind.ListOf[certificatesv1.CertificateSigningRequestList],
	ValidName: func(string, bool) []string { return nil },
}, kind.Rules[signingRequest]{
	Halves:         kind.SpecAndStatus[signingRequest](),
	Requested:      setRequester,
	Prepare:        keepSpec,
	Validate:       validateSigningRequest,
	ValidateUpdate: func(next, old *signingRequest) field.ErrorList { return validateSigningUpdate(next, old, mayChange{}) },
	Fields:         []kind.Field[signingRequest]{{Name: "spec.signerName", Value: func(r *signingRequest) string { return r.Spec.SignerName }}},
	Columns:        signingColumns,
	Status: &kind.Part[signingRequest]{
		Prepare: prepareSigningStatus,
		ValidateUpdate: func(next, old *signingRequest) field.ErrorList {
			return validateSigningUpdate(next, old, mayChange{certificate: true})
		},
	},
	Parts: []kind.Part[signingRequest]{{
		Name:    "approval",
		Prepare: prepareApproval,
		ValidateUpdate: func(next, old *signingRequest) field.ErrorList {
			return validateSigningUpdate(next, old, mayChange{approval: true})
		},
	}},
})

// setRequester notes who asks for the certificate, whatever the object says.
func setRequester(r *signingRequest, by kind.Requester) {
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = by.GetName(), by.GetUID(), by.GetGroups(), nil
	if extra := by.GetExtra(); len(extra) > 0 {
		r.Spec.Extra = make(map[string]certificatesv1.ExtraValue, len(extra))
		for key, values := range extra {
			r.Spec.Extra[key] = values
		}
	}
}

func keepSpec(next, old *signingRequest) {
	if old != nil {
		next.Spec = old.Spec
	}
}

// prepareSigningStatus keeps what approval alone may change, unless conditions of the type come or go, which is refused later.
func prepareSigningStatus(next, old *signingRequest) {
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		kept, given := conditionsOf(old, t), conditionsOf(next, t)
		if len(kept) != len(given) {
			continue
		}
		for n := range given {
			*given[n] = *kept[n]
		}
	}
	stampConditions(next, old)
}

// prepareApproval leaves of what was sent the conditions only.
func prepareApproval(next, old *signingRequest) {
	stampConditions(next, old)
	conditions := next.Status.Conditions
	next.Spec, next.Status = old.Spec, old.Status
	next.Status.Conditions = conditions
}

// conditionsOf are the request's conditions of a type, where they stand.
func conditionsOf(r *signingRequest, t certificatesv1.RequestConditionType) (out []*signingCondition) {
	for n := range r.Status.Conditions {
		if c := &r.Status.Conditions[n]; c.Type == t {
			out = append(out, c)
		}
	}
	return out
}

// stampConditions gives conditions the times that they lack: a condition that was there before has had its status since then.
func stampConditions(next, old *signingRequest) {
	type state struct {
		certificatesv1.RequestConditionType
		corev1.ConditionStatus
	}
	since := map[state]metav1.Time{}
	for _, c := range old.Status.Conditions {
		at := state{c.Type, c.Status}
		if _, ok := since[at]; !ok && !c.LastTransitionTime.IsZero() {
			since[at] = c.LastTransitionTime
		}
	}
	now := metav1.Now()
	for n := range next.Status.Conditions {
		c := &next.Status.Conditions[n]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		if before, ok := since[state{c.Type, c.Status}]; ok {
			c.LastTransitionTime = before
		}
	}
}

var signingColumns = []kind.Column[signingRequest]{
	kind.NameColumn[signingRequest](),
	kind.AgeColumn[signingRequest](),
	kind.Text("SignerName", kind.Doc(certificatesv1beta1.CertificateSigningRequestSpec{}, "signerName"), func(r *signingRequest) string {
		return orNone(r.Spec.SignerName)
	}),
	kind.Text("Requestor", kind.Doc(certificatesv1beta1.CertificateSigningRequestSpec{}, "request"), func(r *signingRequest) string { return r.Spec.Username }),
	kind.Text("RequestedDuration", kind.Doc(certificatesv1beta1.CertificateSigningRequestSpec{}, "expirationSeconds"), func(r *signingRequest) string {
		if r.Spec.ExpirationSeconds == nil {
			return "<none>"
		}
		return duration.HumanDuration(time.Duration(*r.Spec.ExpirationSeconds) * time.Second)
	}),
	kind.Text("Condition", kind.Doc(certificatesv1beta1.CertificateSigningRequestStatus{}, "conditions"), signingState),
}

func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

// signingState is how far a request has come: denial counts more than approval.
func signingState(r *signingRequest) string {
	has := func(t certificatesv1.RequestConditionType) bool { return len(conditionsOf(r, t)) > 0 }
	state := "Pending"
	switch {
	case has(certificatesv1.CertificateDenied):
		state = "Denied"
	case has(certificatesv1.CertificateApproved):
		state = "Approved"
	}
	if has(certificatesv1.CertificateFailed) {
		state += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}
