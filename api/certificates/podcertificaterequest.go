package certificates

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

type podRequest = certificatesv1.PodCertificateRequest

// Bounds of a request, in seconds and bytes.
const (
	podExpirationDefault = 24 * 60 * 60
	podExpirationMin     = 60 * 60
	podExpirationMax     = 91 * 24 * 60 * 60
	// podExpirationOwnMax is for signers of Kubernetes itself.
	podExpirationOwnMax = 24 * 60 * 60
	stubRequestMax      = 10 << 10
	uidMax              = 128
)

// PodCertificateRequest is the kind of requests that node agents make for certificates of pods.
var PodCertificateRequest = kind.Define(kind.Resource{
	GroupVersion: certificatesv1.SchemeGroupVersion, Plural: "podcertificaterequests", Namespaced: true,
	List: kind.ListOf[certificatesv1.PodCertificateRequestList], StorageVersion: certificatesv1beta1.SchemeGroupVersion, RequireRevision: true,
}, kind.Rules[podRequest]{
	Default: func(r *podRequest) { kind.FillPointer(&r.Spec.MaxExpirationSeconds, podExpirationDefault) },
	Halves:  kind.SpecAndStatus[podRequest](),
	Validate: func(next, _ *podRequest) field.ErrorList {
		return validatePodRequest(&next.Spec)
	},
	ValidateUpdate: func(next, old *podRequest) field.ErrorList {
		return apivalidation.ValidateImmutableField(next.Spec, old.Spec, specPath)
	},
	Status: &kind.Part[podRequest]{
		Prepare:        func(next, old *podRequest) { metav1.ResetObjectMetaForStatus(next, old) },
		ValidateUpdate: validatePodRequestStatus,
	},
	Fields: []kind.Field[podRequest]{
		{Name: "spec.signerName", Value: func(r *podRequest) string { return r.Spec.SignerName }},
		{Name: "spec.podName", Value: func(r *podRequest) string { return r.Spec.PodName }},
		{Name: "spec.nodeName", Value: func(r *podRequest) string { return string(r.Spec.NodeName) }, Indexed: true},
	},
	Columns: []kind.Column[podRequest]{
		kind.NameColumn[podRequest](),
		podRequestColumn("PodName", "podName", func(s *certificatesv1.PodCertificateRequestSpec) string { return s.PodName }),
		podRequestColumn("ServiceAccountName", "serviceAccountName", func(s *certificatesv1.PodCertificateRequestSpec) string { return s.ServiceAccountName }),
		podRequestColumn("NodeName", "nodeName", func(s *certificatesv1.PodCertificateRequestSpec) string { return string(s.NodeName) }),
		podRequestColumn("SignerName", "signerName", func(s *certificatesv1.PodCertificateRequestSpec) string { return s.SignerName }),
		kind.Text("State", "Is the request Pending, Issued, Denied, or Failed?", podRequestState),
		podRequestColumn("UnverifiedUserAnnotations", "unverifiedUserAnnotations", func(s *certificatesv1.PodCertificateRequestSpec) string {
			return labels.FormatLabels(s.UnverifiedUserAnnotations)
		}),
	},
})

func podRequestColumn(name, of string, cell func(*certificatesv1.PodCertificateRequestSpec) string) kind.Column[podRequest] {
	return kind.Text(name, kind.Doc(certificatesv1.PodCertificateRequestSpec{}, of), func(r *podRequest) string { return cell(&r.Spec) })
}

// outcomes are the conditions that end a request; it has at most one of them.
var outcomes = []string{
	certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
	certificatesv1.PodCertificateRequestConditionTypeFailed,
}

func podRequestState(r *podRequest) string {
	state := "Pending"
	for _, c := range r.Status.Conditions {
		if slices.Contains(outcomes, c.Type) {
			state = c.Type
		}
	}
	return state
}

func validatePodRequest(s *certificatesv1.PodCertificateRequestSpec) field.ErrorList {
	var ps kind.Problems
	ps.Add(podspec.ValidateSignerName(s.SignerName, specPath.Child("signerName")))
	if s.UnverifiedUserAnnotations != nil {
		validateUserAnnotations(&ps, s.UnverifiedUserAnnotations)
	}
	for _, about := range []struct{ what, name, uid string }{
		{"pod", s.PodName, string(s.PodUID)},
		{"serviceAccount", s.ServiceAccountName, string(s.ServiceAccountUID)},
		{"node", string(s.NodeName), string(s.NodeUID)},
	} {
		ps.Messages(specPath, about.what+"Name", about.name, apivalidation.NameIsDNSSubdomain(about.name, false))
		if about.uid == "" {
			ps.Invalid(specPath, about.what+"UID", about.uid, "must not be empty")
		}
		if len(about.uid) > uidMax {
			ps.TooLong(specPath, about.what+"UID", uidMax)
		}
	}
	if s.MaxExpirationSeconds == nil {
		ps.Required(specPath, "maxExpirationSeconds", "must be set")
		return ps.List
	}
	most := int32(podExpirationMax)
	if ownSigner(s.SignerName) {
		most = podExpirationOwnMax
	}
	if n := *s.MaxExpirationSeconds; n < podExpirationMin || n > most {
		ps.Invalid(specPath, "maxExpirationSeconds", n, fmt.Sprintf("must be between %d and %d", podExpirationMin, most))
	}
	if len(s.StubPKCS10Request) == 0 {
		ps.Invalid(specPath, "", field.OmitValueType{}, "stubPKCS10Request must be set")
		return ps.List
	}
	validateStub(&ps, s.StubPKCS10Request)
	return ps.List
}

// ownSigner tells whether a signer is one of Kubernetes itself.
func ownSigner(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	return domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")
}

func validateUserAnnotations(ps *kind.Problems, annotations map[string]string) {
	at := specPath.Child("unverifiedUserAnnotations")
	for key := range annotations {
		ps.Add(validation.IsDomainPrefixedKey(at, strings.ToLower(key)))
	}
	if err := apivalidation.ValidateAnnotationsSize(annotations); err != nil {
		ps.TooLong(at, "", apivalidation.TotalAnnotationSizeLimitB)
	}
}

// validateStub wants a request that the pod's key has signed. What else it asks for is the signer's business.
func validateStub(ps *kind.Problems, stub []byte) {
	if len(stub) > stubRequestMax {
		ps.TooLong(specPath, "stubPKCS10Request", stubRequestMax)
		return
	}
	request, err := x509.ParseCertificateRequest(stub)
	if err != nil {
		ps.Invalid(specPath, "stubPKCS10Request", field.OmitValueType{}, "must be a valid PKCS#10 request")
		return
	}
	fault := ""
	switch key := request.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			fault = "a key on an elliptic curve must be on P-256, P-384 or P-521"
		}
	case *rsa.PublicKey:
		if size := key.Size() * 8; size != 3072 && size != 4096 {
			fault = "an RSA key must have 3072 or 4096 bits"
		}
	default:
		fault = "the key must be one of Ed25519, ECDSA or RSA"
	}
	if fault == "" && request.CheckSignature() != nil {
		fault = "the signature is not valid"
	}
	if fault != "" {
		ps.Invalid(specPath, "stubPKCS10Request", field.OmitValueType{}, fault)
	}
}
