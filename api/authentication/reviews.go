// Package authentication defines the kinds of authentication.k8s.io: questions and requests that are answered, never
// stored.
package authentication

import (
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var create = []kind.Verb{kind.Create}

// TokenReview asks who a token belongs to.
var TokenReview = kind.Define(kind.Resource{
	GroupVersion: authenticationv1.SchemeGroupVersion, Plural: "tokenreviews", Verbs: create,
}, kind.Rules[authenticationv1.TokenReview]{})

// SelfSubjectReview asks who the asker is.
var SelfSubjectReview = kind.Define(kind.Resource{
	GroupVersion: authenticationv1.SchemeGroupVersion, Plural: "selfsubjectreviews", Verbs: create,
}, kind.Rules[authenticationv1.SelfSubjectReview]{})

// Bounds of a token's life.
const (
	tokenLifeDefault = time.Hour
	tokenLifeMin     = 10 * time.Minute
	tokenLifeMax     = 1 << 32 * time.Second
)

// TokenRequest asks for a token; it is the body of a service account's token subresource and no resource of its own.
var TokenRequest = kind.Define(kind.Resource{
	GroupVersion: authenticationv1.SchemeGroupVersion, Plural: "tokenrequests", Namespaced: true, Verbs: create,
}, kind.Rules[authenticationv1.TokenRequest]{
	Default: func(r *authenticationv1.TokenRequest) {
		if r.Spec.ExpirationSeconds == nil {
			seconds := int64(tokenLifeDefault / time.Second)
			r.Spec.ExpirationSeconds = &seconds
		}
	},
	Validate: func(r, _ *authenticationv1.TokenRequest) field.ErrorList {
		var ps kind.Problems
		at := field.NewPath("spec")
		switch s := *r.Spec.ExpirationSeconds; {
		case s < int64(tokenLifeMin/time.Second):
			ps.Invalid(at, "expirationSeconds", s, "may not specify a duration less than 10 minutes")
		case s > int64(tokenLifeMax/time.Second):
			ps.Invalid(at, "expirationSeconds", s, "may not specify a duration larger than 2^32 seconds")
		}
		return ps.List
	},
})
