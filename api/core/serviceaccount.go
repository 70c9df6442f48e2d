package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// enforceMountableSecrets is an annotation that no longer does what its users hope for.
const enforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// ServiceAccount is the kind of service accounts; tokens are issued by its token subresource.
var ServiceAccount = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "serviceaccounts", ShortNames: []string{"sa"}, Namespaced: true,
	List: kind.ListOf[corev1.ServiceAccountList], DeleteReturnsObject: true,
	Actions: []kind.Action{{
		Name: "token", Verbs: []kind.Verb{kind.Create},
		Kind: schema.GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"},
	}},
}, kind.Rules[corev1.ServiceAccount]{
	Prepare:  keepSecretNames,
	Warnings: warnServiceAccount,
	Columns:  kind.Columns([]kind.Column[corev1.ServiceAccount]{}),
})

// keepSecretNames drops everything but the names of the secrets: they are in the service account's namespace.
func keepSecretNames(s, _ *corev1.ServiceAccount) {
	for n := range s.Secrets {
		s.Secrets[n] = corev1.ObjectReference{Name: s.Secrets[n].Name}
	}
}

func warnServiceAccount(next, old *corev1.ServiceAccount) []string {
	if _, present := next.Annotations[enforceMountableSecrets]; !present {
		return nil
	}
	if old != nil {
		if _, before := old.Annotations[enforceMountableSecrets]; before {
			return nil
		}
	}
	return []string{"metadata.annotations[" + enforceMountableSecrets +
		"]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
}
