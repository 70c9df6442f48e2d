// Package authentication defines the kinds of authentication.k8s.io: questions and requests that are answered, never
// stored.
package authentication

import (
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

const (
	group   = "authentication.k8s.io"
	version = "v1"
)

var create = []kind.Verb{kind.Create}

// none is the list type of kinds that cannot be listed.
func none() runtime.Object { return nil }

// TokenReview asks who a token belongs to.
var TokenReview = kind.Kind[*authenticationv1.TokenReview]{
	Group: group, Version: version, Kind: "TokenReview", Plural: "tokenreviews", Verbs: create,
	New: func() *authenticationv1.TokenReview { return &authenticationv1.TokenReview{} }, NewList: none,
}

// SelfSubjectReview asks who the asker is.
var SelfSubjectReview = kind.Kind[*authenticationv1.SelfSubjectReview]{
	Group: group, Version: version, Kind: "SelfSubjectReview", Plural: "selfsubjectreviews", Verbs: create,
	New: func() *authenticationv1.SelfSubjectReview { return &authenticationv1.SelfSubjectReview{} }, NewList: none,
}

// Bounds of a token's life.
const (
	tokenLifeDefault = time.Hour
	tokenLifeMin     = 10 * time.Minute
	tokenLifeMax     = 1 << 32 * time.Second
)

// TokenRequest asks for a token; it is the body of a service account's token subresource and no resource of its own.
var TokenRequest = kind.Kind[*authenticationv1.TokenRequest]{
	Group: group, Version: version, Kind: "TokenRequest", Plural: "tokenrequests", Namespaced: true, Verbs: create,
	New: func() *authenticationv1.TokenRequest { return &authenticationv1.TokenRequest{} }, NewList: none,
	Default: func(r *authenticationv1.TokenRequest) {
		if r.Spec.ExpirationSeconds == nil {
			seconds := int64(tokenLifeDefault / time.Second)
			r.Spec.ExpirationSeconds = &seconds
		}
	},
	Validate: func(r *authenticationv1.TokenRequest) field.ErrorList {
		at := field.NewPath("spec", "expirationSeconds")
		switch s := *r.Spec.ExpirationSeconds; {
		case s < int64(tokenLifeMin/time.Second):
			return field.ErrorList{field.Invalid(at, s, "may not specify a duration less than 10 minutes")}
		case s > int64(tokenLifeMax/time.Second):
			return field.ErrorList{field.Invalid(at, s, "may not specify a duration larger than 2^32 seconds")}
		}
		return nil
	},
}
