package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// tokensKept bounds the tokens whose signature is remembered.
const tokensKept = 8192

// deletionLeeway is how long after its deletion an object still counts, for those who finish up.
const deletionLeeway = time.Minute

// errInvalidated is what a token is refused with whose object is gone.
var errInvalidated = errors.New("service account token has been invalidated")

// knownTokens remembers what tokens with a good signature say. Whether a token is still good is asked of the mirror
// at each use, so nothing here can be out of date.
type knownTokens struct {
	mu     sync.RWMutex // guards tokens; what it holds never changes
	tokens map[[sha256.Size]byte]*knownToken
}

type knownToken struct {
	claims *claims
	user   *user.DefaultInfo
	// forServer answers requests that ask for the API server's own audiences.
	forServer *authenticator.Response
}

func (k *knownTokens) get(sum [sha256.Size]byte) *knownToken {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.tokens[sum]
}

func (k *knownTokens) put(sum [sha256.Size]byte, t *knownToken) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tokens == nil || len(k.tokens) >= tokensKept {
		// All go at once: to come back costs each one verification, and no order of use is kept at each request.
		k.tokens = map[[sha256.Size]byte]*knownToken{}
	}
	k.tokens[sum] = t
}

// AuthenticateToken gives the service account of a token; false without an error means that the token is somebody
// else's business. The response is shared and must not be changed.
func (t *Tokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	sum := sha256.Sum256([]byte(token))
	keys := t.now.Load()
	known := keys.known.get(sum)
	if known == nil {
		issuer, ok := unverifiedIssuer(token)
		if !ok || (issuer != legacyIssuer && !slices.Contains(t.Issuers, issuer)) {
			return nil, false, nil
		}
		c, err := verifyToken(token, keys.keys)
		if err != nil {
			return nil, false, err
		}
		if known, err = t.understand(c); err != nil {
			return nil, false, err
		}
		// Before it is known to be good: what is remembered is that its signature is, and what it says.
		keys.known.put(sum, known)
	}
	audiences, response, err := t.forAudiences(ctx, known)
	if err != nil {
		return nil, false, err
	}
	if err := t.good(ctx, known.claims, token); err != nil {
		return nil, false, err
	}
	if response == nil {
		response = &authenticator.Response{User: known.user, Audiences: audiences}
	}
	return response, true, nil
}

// understand makes the user of a token. Tokens kept in secrets are brought into the form of the others.
func (t *Tokens) understand(c *claims) (*knownToken, error) {
	if c.Issuer == legacyIssuer {
		c.Kubernetes = kubernetesClaims{
			Namespace:      c.LegacyNamespace,
			ServiceAccount: objectClaim{c.LegacyName, c.LegacyUID},
			Secret:         &objectClaim{Name: c.LegacySecret},
		}
	}
	k := &c.Kubernetes
	if k.Namespace == "" || k.ServiceAccount.Name == "" || k.ServiceAccount.UID == "" ||
		c.Subject != serviceaccount.MakeUsername(k.Namespace, k.ServiceAccount.Name) {
		return nil, errors.New("service account token claims do not name a service account")
	}
	info := serviceaccount.ServiceAccountInfo{Namespace: k.Namespace, Name: k.ServiceAccount.Name, UID: k.ServiceAccount.UID}
	if c.ID != "" {
		info.CredentialID = "JTI=" + c.ID
	}
	if k.Pod != nil {
		info.PodName, info.PodUID = k.Pod.Name, k.Pod.UID
	}
	if k.Node != nil {
		info.NodeName, info.NodeUID = k.Node.Name, k.Node.UID
	}
	u := info.UserInfo()
	known := &knownToken{claims: c, user: &user.DefaultInfo{
		Name: u.GetName(), UID: u.GetUID(), Extra: u.GetExtra(), Groups: append(u.GetGroups(), user.AllAuthenticated),
	}}
	audiences := authenticator.Audiences(c.Audience)
	if len(audiences) == 0 {
		audiences = t.Audiences
	}
	known.forServer = &authenticator.Response{User: known.user, Audiences: audiences.Intersect(t.Audiences)}
	return known, nil
}

// forAudiences gives the audiences for which a token may be used here, or the response if they are the server's own.
func (t *Tokens) forAudiences(ctx context.Context, known *knownToken) (authenticator.Audiences, *authenticator.Response, error) {
	asked, given := authenticator.AudiencesFrom(ctx)
	if !given || slices.Equal(asked, t.Audiences) {
		if len(known.forServer.Audiences) > 0 {
			return nil, known.forServer, nil
		}
		asked = t.Audiences
	}
	held := authenticator.Audiences(known.claims.Audience)
	if len(held) == 0 {
		held = t.Audiences
	}
	both := held.Intersect(asked)
	if len(both) == 0 {
		return nil, nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", held, asked)
	}
	return both, nil, nil
}

// good tells whether the token's time has come and not gone, and whether all that it is bound to lives.
func (t *Tokens) good(ctx context.Context, c *claims, token string) error {
	now := t.Now()
	switch err := c.ValidateWithLeeway(jwt.Expected{Time: now}, time.Minute); {
	case errors.Is(err, jwt.ErrExpired):
		return errors.New("service account token has expired")
	case errors.Is(err, jwt.ErrNotValidYet):
		return errors.New("service account token is not valid yet")
	case err != nil:
		return fmt.Errorf("service account token claims could not be validated: %w", err)
	}
	err := t.alive(c, now, token)
	if err == nil {
		return nil
	}
	// The mirror may not have seen yet what another master has written: look again when it surely has.
	if _, fresh := t.Registry.Fresh(ctx); fresh != nil {
		return err
	}
	return t.alive(c, now, token)
}

func (t *Tokens) alive(c *claims, now time.Time, token string) error {
	k := &c.Kubernetes
	sa, ok := get[*corev1.ServiceAccount](t.objects, serviceAccountsResource, k.Namespace, k.ServiceAccount.Name)
	if !ok {
		return fmt.Errorf("service account %s/%s does not exist", k.Namespace, k.ServiceAccount.Name)
	}
	if deleted(sa, now) {
		return fmt.Errorf("service account %s/%s has been deleted", k.Namespace, k.ServiceAccount.Name)
	}
	if sa.UID != types.UID(k.ServiceAccount.UID) {
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", sa.UID, k.ServiceAccount.UID)
	}
	if k.Secret != nil {
		s, ok := get[*corev1.Secret](t.objects, secretsResource, k.Namespace, k.Secret.Name)
		if !ok || deleted(s, now) {
			return errInvalidated
		}
		if c.Issuer == legacyIssuer {
			if subtle.ConstantTimeCompare(s.Data[corev1.ServiceAccountTokenKey], []byte(token)) != 1 {
				return errors.New("token does not match server's copy")
			}
		} else if s.UID != types.UID(k.Secret.UID) {
			return errInvalidated
		}
	}
	if k.Pod != nil {
		pod, ok := get[*corev1.Pod](t.objects, podsResource, k.Namespace, k.Pod.Name)
		if !ok || deleted(pod, now) || pod.UID != types.UID(k.Pod.UID) {
			return errInvalidated
		}
	} else if k.Node != nil {
		node, ok := get[*corev1.Node](t.objects, nodesResource, "", k.Node.Name)
		if !ok || deleted(node, now) || node.UID != types.UID(k.Node.UID) {
			return errInvalidated
		}
	}
	return nil
}

// deleted tells whether an object was marked for removal a while ago. The mark of a pod lies ahead by its grace.
func deleted(o metav1.Object, now time.Time) bool {
	at := o.GetDeletionTimestamp()
	return at != nil && at.Time.Before(now.Add(-deletionLeeway))
}
