package auth

import (
	"context"
	"crypto/subtle"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// AuthenticateToken asks every token authenticator in turn.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	var refused []error
	for _, t := range a.tokens {
		response, ok, err := t.AuthenticateToken(ctx, token)
		if ok {
			return withGroup(response), true, nil
		}
		if err != nil {
			refused = append(refused, err)
		}
	}
	return nil, false, utilerrors.NewAggregate(refused)
}

const (
	bootstrapUserPrefix  = "system:bootstrap:"
	bootstrapGroup       = "system:bootstrappers"
	bootstrapSecretStart = "bootstrap-token-"
	bootstrapSecretType  = "bootstrap.kubernetes.io/token"
)

var (
	bootstrapToken      = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)
	bootstrapGroupNames = regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`)
)

// bootstrapTokens authenticates machines that join with a token kept in a secret of kube-system.
type bootstrapTokens struct {
	objects objects
	now     func() time.Time
}

// NewBootstrapTokens makes an authenticator of bootstrap tokens.
func NewBootstrapTokens(r *registry.Registry) authenticator.Token {
	return &bootstrapTokens{objects{r}, time.Now}
}

func (b *bootstrapTokens) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	parts := bootstrapToken.FindStringSubmatch(token)
	if parts == nil {
		return nil, false, nil
	}
	id, secret := parts[1], parts[2]
	s, ok := get[*corev1.Secret](b.objects, secretsResource, "kube-system", bootstrapSecretStart+id)
	if !ok || s.DeletionTimestamp != nil || s.Type != bootstrapSecretType || string(s.Data["token-id"]) != id ||
		subtle.ConstantTimeCompare(s.Data["token-secret"], []byte(secret)) != 1 ||
		string(s.Data["usage-bootstrap-authentication"]) != "true" || b.expired(s) {
		return nil, false, nil
	}
	groups := []string{bootstrapGroup}
	if extra := string(s.Data["auth-extra-groups"]); extra != "" {
		for _, group := range strings.Split(extra, ",") {
			if !bootstrapGroupNames.MatchString(group) {
				return nil, false, nil
			}
			groups = append(groups, group)
		}
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: bootstrapUserPrefix + id, Groups: groups}}, true, nil
}

// expired also holds for an expiration that cannot be understood.
func (b *bootstrapTokens) expired(s *corev1.Secret) bool {
	text := string(s.Data["expiration"])
	if text == "" {
		return false
	}
	at, err := time.Parse(time.RFC3339, text)
	return err != nil || !b.now().Before(at)
}
