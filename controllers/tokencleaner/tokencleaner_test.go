package tokencleaner

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLeft(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	secret := func(namespace string, kind corev1.SecretType, expiration string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}, Type: kind, Data: map[string][]byte{keyExpiration: []byte(expiration)}}
	}
	for _, c := range []struct {
		secret *corev1.Secret
		left   time.Duration
		ends   bool
	}{
		{secret("kube-system", tokenType, "2030-01-01T00:01:00Z"), time.Minute, true},
		{secret("kube-system", tokenType, "2029-12-31T23:59:00Z"), -time.Minute, true},
		{secret("kube-system", tokenType, "2030-01-01T02:00:00+02:00"), 0, true},
		{secret("kube-system", tokenType, "tomorrow"), 0, true},
		{secret("kube-system", tokenType, ""), 0, false},
		{secret("default", tokenType, "2029-12-31T23:59:00Z"), 0, false},
		{secret("kube-system", corev1.SecretTypeOpaque, "2029-12-31T23:59:00Z"), 0, false},
	} {
		if d, ends := left(c.secret, now); d != c.left || ends != c.ends {
			t.Errorf("%s %s %s: %v, %v", c.secret.Namespace, c.secret.Type, c.secret.Data[keyExpiration], d, ends)
		}
	}
}
