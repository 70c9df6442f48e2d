package auth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Paths at which others learn how to verify service account tokens.
const (
	IssuerPath = "/.well-known/openid-configuration"
	JWKSPath   = "/openid/v1/jwks"
)

// issuerMetadata is the part of OpenID Connect discovery that verifying tokens needs.
type issuerMetadata struct {
	Issuer        string   `json:"issuer"`
	JWKSURI       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// IssuerHandler serves the issuer's OpenID Connect discovery document. server is the address of the API server as
// clients reach it ("https://192.0.2.1:6443").
func (t *Tokens) IssuerHandler(server string) (http.Handler, error) {
	m := issuerMetadata{
		Issuer: t.Issuers[0], JWKSURI: t.JWKSURI,
		ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"},
	}
	if m.JWKSURI == "" {
		m.JWKSURI = server + JWKSPath
	}
	seen := map[jose.SignatureAlgorithm]bool{}
	for _, k := range t.keys {
		algorithm, err := algorithmOf(k.key)
		if err != nil {
			return nil, err
		}
		if !seen[algorithm] {
			seen[algorithm] = true
			m.Algorithms = append(m.Algorithms, string(algorithm))
		}
	}
	return document(m, "application/json")
}

// JWKSHandler serves the public keys that verify tokens.
func (t *Tokens) JWKSHandler() (http.Handler, error) {
	set := jose.JSONWebKeySet{}
	for _, k := range t.keys {
		algorithm, err := algorithmOf(k.key)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.key, KeyID: k.id, Algorithm: string(algorithm), Use: "sig"})
	}
	return document(set, "application/jwk-set+json")
}

// document serves one unchanging JSON document, which clients may keep for an hour.
func document(v any, contentType string) (http.Handler, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("service account issuer: %w", err)
	}
	refusal, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Reason: metav1.StatusReasonNotAcceptable, Code: http.StatusNotAcceptable,
		Message: "only the following media types are accepted: " + contentType,
	})
	if err != nil {
		return nil, fmt.Errorf("service account issuer: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !accepts(r.Header.Get("Accept"), contentType) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotAcceptable)
			w.Write(refusal)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Write(data)
	}), nil
}

// accepts tells whether an Accept header, which may be missing, allows the media type.
func accepts(header, mediaType string) bool {
	if header == "" {
		return true
	}
	family, _, _ := strings.Cut(mediaType, "/")
	for _, part := range strings.Split(header, ",") {
		part, _, _ = strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(part)) {
		case mediaType, "*/*", family + "/*":
			return true
		}
	}
	return false
}
