// Package tokencleaner deletes bootstrap tokens that have expired.
package tokencleaner

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

const (
	tokenType     corev1.SecretType = "bootstrap.kubernetes.io/token"
	keyExpiration                   = "expiration"
)

type controller struct {
	secrets reconcile.Objects[*corev1.Secret]
	now     func() time.Time
}

// New declares the token cleaner.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{now: b.Now, secrets: reconcile.Watch[*corev1.Secret](b, tokenChanged, reconcile.Writes(kind.Delete))}
	return &reconcile.Controller{Workers: 1, Reconcile: c.reconcile}
}

// tokenChanged looks at tokens that expire.
func tokenChanged(d client.Delta, enqueue func(reconcile.Key)) {
	if s, ok := d.New.(*corev1.Secret); ok && isToken(s) && len(s.Data[keyExpiration]) > 0 {
		enqueue(reconcile.KeyOf(kind.Object(s)))
	}
}

func isToken(s *corev1.Secret) bool {
	return s.Namespace == metav1.NamespaceSystem && s.Type == tokenType
}

// left is how long a token has yet; 0 or less if it is to go, and false if it stays. A time that cannot be understood has
// passed: nobody can use the token.
func left(s *corev1.Secret, now time.Time) (time.Duration, bool) {
	text := string(s.Data[keyExpiration])
	if !isToken(s) || s.DeletionTimestamp != nil || text == "" {
		return 0, false
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, true
	}
	return at.Sub(now), true
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	s, ok := c.secrets.Live.Get(key.Namespace, key.Name)
	if !ok {
		return reconcile.Result{}, nil
	}
	wait, ends := left(s, c.now())
	switch {
	case !ends:
		return reconcile.Result{}, nil
	case wait > 0:
		return reconcile.Result{After: wait}, nil
	}
	uid, version := s.UID, s.ResourceVersion
	err := c.secrets.Delete(ctx, s.Namespace, s.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // its change brings it back
		err = nil
	}
	return reconcile.Result{}, err
}
