package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// claims of a service account token.
type claims struct {
	jwt.Claims
	Kubernetes kubernetesClaims `json:"kubernetes.io,omitzero"`

	// Tokens kept in secrets carry these instead, and never expire.
	LegacyNamespace string `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	LegacySecret    string `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	LegacyName      string `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	LegacyUID       string `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
}

type kubernetesClaims struct {
	Namespace      string           `json:"namespace,omitempty"`
	ServiceAccount objectClaim      `json:"serviceaccount,omitzero"`
	Pod            *objectClaim     `json:"pod,omitempty"`
	Secret         *objectClaim     `json:"secret,omitempty"`
	Node           *objectClaim     `json:"node,omitempty"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

// objectClaim names one object for as long as it lives.
type objectClaim struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// legacyIssuer issued the tokens that are kept in secrets.
const legacyIssuer = "kubernetes/serviceaccount"

// algorithms that are accepted in tokens: those that upstream signs with.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

// publicKey is a key that verifies tokens, with the id that tokens signed by it carry.
type publicKey struct {
	id  string
	key crypto.PublicKey
}

// keyID is the id of a public key: the hash of its PKIX form.
func keyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("service account key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// algorithmOf is the algorithm that a key signs with.
func algorithmOf(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return jose.ES256, nil
		case 384:
			return jose.ES384, nil
		case 521:
			return jose.ES512, nil
		}
	}
	return "", fmt.Errorf("service account key: %T cannot sign tokens", key)
}

// newSigner makes what signs tokens with the key.
func newSigner(key crypto.Signer) (jose.Signer, error) {
	algorithm, err := algorithmOf(key.Public())
	if err != nil {
		return nil, err
	}
	id, err := keyID(key.Public())
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		return nil, fmt.Errorf("service account key: %w", err)
	}
	return signer, nil
}

// verifyToken checks the signature with the key that the token names, or with all keys if it names none.
func verifyToken(token string, keys []publicKey) (*claims, error) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, err
	}
	id := parsed.Headers[0].KeyID
	var failed error
	for _, k := range keys {
		if id != "" && k.id != id {
			continue
		}
		c := &claims{}
		if failed = parsed.Claims(k.key, c); failed == nil {
			return c, nil
		}
	}
	if failed == nil {
		failed = fmt.Errorf("no key of this cluster has signed it")
	}
	return nil, failed
}

// unverifiedIssuer reads who says to have issued a token; it costs little and tells whose token it is.
func unverifiedIssuer(token string) (string, bool) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return "", false
	}
	var c jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil {
		return "", false
	}
	return c.Issuer, true
}
