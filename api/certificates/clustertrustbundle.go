package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

type trustBundle = certificatesv1.ClusterTrustBundle

// trustBundleMax bounds a bundle, in bytes.
const trustBundleMax = 1 << 20

// ClusterTrustBundle is the kind of bundles of authorities' certificates, which pods can mount.
var ClusterTrustBundle = kind.Define(kind.Resource{
	GroupVersion: certificatesv1.SchemeGroupVersion, Plural: "clustertrustbundles", List: kind.ListOf[certificatesv1.ClusterTrustBundleList],
	StorageVersion: certificatesv1beta1.SchemeGroupVersion, RequireRevision: true,
	// What a name may be depends on the signer: see validateTrustBundle.
	ValidName: func(string, bool) []string { return nil },
}, kind.Rules[trustBundle]{
	Validate: validateTrustBundle,
	Fields:   []kind.Field[trustBundle]{{Name: "spec.signerName", Value: func(b *trustBundle) string { return b.Spec.SignerName }}},
	Columns: []kind.Column[trustBundle]{
		kind.NameColumn[trustBundle](),
		kind.Text("SignerName", kind.Doc(certificatesv1.ClusterTrustBundleSpec{}, "signerName"), func(b *trustBundle) string { return orNone(b.Spec.SignerName) }),
	},
})

func validateTrustBundle(next, old *trustBundle) field.ErrorList {
	var ps kind.Problems
	metadata := field.NewPath("metadata")
	if next.GenerateName != "" {
		ps.Messages(metadata, "generateName", next.GenerateName, trustBundleName(next.Spec.SignerName, next.GenerateName, true))
	}
	if next.Name != "" {
		ps.Messages(metadata, "name", next.Name, trustBundleName(next.Spec.SignerName, next.Name, false))
	}
	if next.Spec.SignerName != "" {
		ps.Add(podspec.ValidateSignerName(next.Spec.SignerName, specPath.Child("signerName")))
	}
	// A bundle that stays is not read again: what counts as a certificate may have become stricter.
	if old == nil || next.Spec.TrustBundle != old.Spec.TrustBundle {
		validateAnchors(&ps, next.Spec.TrustBundle)
	}
	if old != nil {
		ps.Add(apivalidation.ValidateImmutableField(next.Spec.SignerName, old.Spec.SignerName, specPath.Child("signerName")))
	}
	return ps.List
}

// trustBundleName judges a name: bundles of a signer carry its name, with colons for slashes, before their own.
func trustBundleName(signer, name string, prefix bool) []string {
	if signer == "" {
		if strings.Contains(name, ":") {
			return []string{"only a bundle with a signer has a colon in its name"}
		}
		return apivalidation.NameIsDNSSubdomain(name, prefix)
	}
	owner := strings.ReplaceAll(signer, "/", ":") + ":"
	own, ok := strings.CutPrefix(name, owner)
	if !ok {
		return []string{fmt.Sprintf("a bundle of this signer must have a name that begins with %s", owner)}
	}
	return apivalidation.NameIsDNSSubdomain(own, prefix)
}

// validateAnchors wants certificates of authorities, each of them once, and at least one.
func validateAnchors(ps *kind.Problems, bundle string) {
	if len(bundle) > trustBundleMax {
		ps.TooLong(specPath, "trustBundle", trustBundleMax)
		return
	}
	seen, again, faults := map[string]int{}, "", 0
	rest := []byte(bundle)
	for n := 0; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if fault := anchorFault(block); fault != "" {
			faults++
			ps.Invalid(specPath, "trustBundle", omitted, fmt.Sprintf("certificate %d %s", n, fault))
			continue
		}
		if first, ok := seen[string(block.Bytes)]; ok {
			again = fmt.Sprintf("certificate %d is the same as certificate %d", n, first)
			continue
		}
		seen[string(block.Bytes)] = n
	}
	switch {
	case faults > 0: // that says enough
	case len(seen) == 0:
		ps.Invalid(specPath, "trustBundle", omitted, "must hold a certificate")
	case again != "":
		ps.Invalid(specPath, "trustBundle", omitted, again)
	}
}

// anchorFault says what keeps a block from being an authority's certificate; nothing if it is one.
func anchorFault(block *pem.Block) string {
	if block.Type != "CERTIFICATE" {
		return fmt.Sprintf("is a block of type %q", block.Type)
	}
	if len(block.Headers) != 0 {
		return "has headers"
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "cannot be read as X.509"
	case !certificate.IsCA:
		return "is not that of an authority"
	case !certificate.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}
