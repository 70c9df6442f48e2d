package podspec

import (
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of a projected token's life.
const (
	tokenSecondsMin = 10 * 60
	tokenSecondsMax = 1 << 32
)

func (v *validator) projected(p *corev1.ProjectedVolumeSource, at *field.Path) {
	v.fileMode(p.DefaultMode, at, "defaultMode")
	var paths kind.NameSet
	// once notes a path in the volume, which only one source may write. Tokens are not noted: their paths were
	// never compared, so a clash with them is a warning only.
	once := func(path string) {
		if path != "" && !paths.Add(path) {
			v.Invalid(at, "", path, "is the path of more than one source")
		}
	}
	for i := range p.Sources {
		v.projection(&p.Sources[i], at, at.Child("sources").Index(i), once)
	}
}

func (v *validator) projection(s *corev1.VolumeProjection, volume, at *field.Path, once func(string)) {
	found := 0
	keyed := func(source, name string, items []corev1.KeyToPath) {
		found++
		if name == "" {
			v.Required(at.Child(source), "name", "")
		}
		v.keysToPaths(items, at.Child(source))
		for i := range items {
			once(items[i].Path)
		}
	}
	if s.Secret != nil {
		keyed("secret", s.Secret.Name, s.Secret.Items)
	}
	if s.ConfigMap != nil {
		keyed("configMap", s.ConfigMap.Name, s.ConfigMap.Items)
	}
	if s.DownwardAPI != nil {
		found++
		for i := range s.DownwardAPI.Items {
			v.downwardFile(&s.DownwardAPI.Items[i], at.Child("downwardAPI"))
			once(s.DownwardAPI.Items[i].Path)
		}
	}
	if s.ServiceAccountToken != nil {
		found++
		v.projectedToken(s.ServiceAccountToken, volume, at.Child("serviceAccountToken"))
	}
	if s.ClusterTrustBundle != nil {
		found++
		v.trustBundle(s.ClusterTrustBundle, at.Child("clusterTrustBundle"))
		once(s.ClusterTrustBundle.Path)
	}
	if s.PodCertificate != nil {
		found++
		v.podCertificate(s.PodCertificate, at.Child("podCertificate"), once)
	}
	if found > 1 {
		v.Forbidden(at, "", "may have one type of source only")
	}
}

// projectedToken reports a bad path at the volume, not at the source: clients know it so.
func (v *validator) projectedToken(t *corev1.ServiceAccountTokenProjection, volume, at *field.Path) {
	if s := t.ExpirationSeconds; s != nil && *s < tokenSecondsMin {
		v.Invalid(at, "expirationSeconds", *s, "must not be less than 10 minutes")
	}
	if s := t.ExpirationSeconds; s != nil && *s > tokenSecondsMax {
		v.Invalid(at, "expirationSeconds", *s, "must not be more than 2^32 seconds")
	}
	if t.Path == "" {
		v.Required(volume, "path", "")
	} else if !v.allow.ProjectedTokenPaths {
		v.pathInVolume(t.Path, volume, "path")
	}
}

func (v *validator) trustBundle(b *corev1.ClusterTrustBundleProjection, at *field.Path) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		v.Invalid(at, "", b, "may have either name or signerName")
	case b.Name != nil:
		if *b.Name == "" {
			v.Required(at, "name", "must be the name of a ClusterTrustBundle")
		}
		v.trustBundleName(*b.Name, at)
		if b.LabelSelector != nil {
			v.Invalid(at, "labelSelector", b.LabelSelector, "may not be set when name is")
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			v.Required(at, "signerName", "must be the name of a signer")
		}
		v.Add(ValidateSignerName(*b.SignerName, at.Child("signerName")))
		v.Add(metav1validation.ValidateLabelSelector(b.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("labelSelector")))
	default:
		v.Required(at, "", "must have name or signerName")
	}
	if b.Path == "" {
		v.Required(at, "path", "")
	}
	v.pathInVolume(b.Path, at, "path")
}

// trustBundleName: bundles of a signer are named "signer:domain:name", bundles of none like other objects.
func (v *validator) trustBundleName(name string, at *field.Path) {
	signer := strings.LastIndex(name, ":")
	if signer < 0 {
		v.Subdomain(at, "name", name)
		return
	}
	v.Subdomain(at, "name", name[signer+1:])
}

// Bounds of a projected certificate's life.
const (
	certificateSecondsMin = 3600
	certificateSecondsMax = 91 * 86400
)

func (v *validator) podCertificate(c *corev1.PodCertificateProjection, at *field.Path, once func(string)) {
	if c.SignerName == "" {
		v.Required(at, "signerName", "")
	} else {
		v.Add(ValidateSignerName(c.SignerName, at.Child("signerName")))
	}
	kind.RequiredOneOf(&v.Problems, at, "keyType", c.KeyType, "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
	if s := c.MaxExpirationSeconds; s == nil {
		v.Required(at, "maxExpirationSeconds", "")
	} else {
		if *s < certificateSecondsMin {
			v.Invalid(at, "maxExpirationSeconds", *s, "must not be less than 1 hour")
		}
		longest := int32(certificateSecondsMax)
		if strings.HasPrefix(c.SignerName, "kubernetes.io/") {
			longest = 86400
		}
		if *s > longest {
			v.Invalid(at, "maxExpirationSeconds", *s, "is longer than certificates of this signer last")
		}
	}
	if c.CredentialBundlePath == "" && c.KeyPath == "" && c.CertificateChainPath == "" {
		v.Required(at, "", "must have credentialBundlePath, keyPath or certificateChainPath")
	}
	for _, path := range []struct{ name, value string }{
		{"credentialBundlePath", c.CredentialBundlePath}, {"keyPath", c.KeyPath}, {"certificateChainPath", c.CertificateChainPath},
	} {
		if path.value != "" {
			v.pathInVolume(path.value, at, path.name)
			once(path.value)
		}
	}
	for _, key := range sortedKeys(c.UserAnnotations) {
		v.Messages(at.Child("userAnnotations").Key(key), "", key, kind.QualifiedName(key))
	}
}

// signerMax bounds a signer's name: a domain, a slash, and a path in which the name of an object and one of a namespace have room.
const signerMax = validation.DNS1123SubdomainMaxLength + 1 + signerPathMax

const signerPathMax = validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 1

// ValidateSignerName judges the name of a certificate signer: a domain, a slash and a path of dotted words.
func ValidateSignerName(name string, at *field.Path) field.ErrorList {
	var p problems
	if name == "" {
		p.Required(at, "", "")
		return p.List
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		p.Invalid(at, "", name, "must be a domain and a path, separated by one slash")
		return p.List
	}
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		p.TooLong(at, "", validation.DNS1123SubdomainMaxLength)
	}
	p.firstWrong(at, domain, kind.DNSLabel)
	if !strings.Contains(domain, ".") {
		p.Invalid(at, "", domain, "the domain must have at least two parts, separated by a dot")
	}
	p.firstWrong(at, path, kind.DNSSubdomain)
	if len(name) > signerMax {
		p.TooLong(at, "", signerMax)
	}
	return p.List
}

// firstWrong complains about the first of dotted words that is none: the others would be told of alike.
func (ps *problems) firstWrong(at *field.Path, text string, wrong func(string) []string) {
	for word := range strings.SplitSeq(text, ".") {
		if messages := wrong(word); len(messages) > 0 {
			ps.Messages(at, "", text, messages)
			return
		}
	}
}
