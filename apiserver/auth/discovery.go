package auth

import (
	"encoding/json"
	"net/http"
	"slices"
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
func (t *Tokens) IssuerHandler(server string) http.Handler {
	return document("application/json", func() any {
		m := issuerMetadata{
			Issuer: t.Issuers[0], JWKSURI: t.JWKSURI,
			ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"},
		}
		if m.JWKSURI == "" {
			m.JWKSURI = server + JWKSPath
		}
		for _, k := range t.now.Load().keys {
			algorithm, _ := algorithmOf(k.key) // SetKeys takes no others
			if !slices.Contains(m.Algorithms, string(algorithm)) {
				m.Algorithms = append(m.Algorithms, string(algorithm))
			}
		}
		return m
	})
}

// JWKSHandler serves the public keys that verify tokens.
func (t *Tokens) JWKSHandler() http.Handler {
	return document("application/jwk-set+json", func() any {
		set := jose.JSONWebKeySet{}
		for _, k := range t.now.Load().keys {
			algorithm, _ := algorithmOf(k.key)
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.key, KeyID: k.id, Algorithm: string(algorithm), Use: "sig"})
		}
		return set
	})
}

// document serves a JSON document, which clients may keep for an hour.
func document(contentType string, content func() any) http.Handler {
	refusal := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Reason: metav1.StatusReasonNotAcceptable, Code: http.StatusNotAcceptable,
		Message: "only the following media types are accepted: " + contentType,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, what := http.StatusOK, any(nil)
		if accepts(r.Header.Get("Accept"), contentType) {
			what = content()
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Cache-Control", "public, max-age=3600")
		} else {
			code, what = http.StatusNotAcceptable, refusal
			w.Header().Set("Content-Type", "application/json")
		}
		data, err := json.Marshal(what)
		if err != nil {
			http.Error(w, "service account issuer: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(code)
		w.Write(data)
	})
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
