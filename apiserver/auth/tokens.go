package auth

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

const (
	// minTokenSeconds is the shortest life that may be asked for.
	minTokenSeconds = 10 * 60
	// maxTokenSeconds is the longest life that can be asked for.
	maxTokenSeconds = 1 << 32
	// defaultTokenSeconds is the life of a token for which none is asked.
	defaultTokenSeconds = 60 * 60
	// projectedTokenSeconds is what the tokens ask for that are mounted into every pod. They stay good for a year,
	// for programs that read the file only once; after these seconds they are stale.
	projectedTokenSeconds = 60*60 + 7
	extendedTokenSeconds  = 365 * 24 * 60 * 60
)

// TokenOptions of Tokens.
type TokenOptions struct {
	Registry *registry.Registry
	// Issuers of accepted tokens; the first one issues.
	Issuers []string
	// Audiences of the API server; empty means the issuers.
	Audiences []string
	// Key signs tokens. Keys verify them; Key's own public part need not be among them. SetKeys replaces them.
	Key  crypto.Signer
	Keys []crypto.PublicKey
	// MaxLife bounds the life of tokens; 0 means no bound.
	MaxLife time.Duration
	// NoExtension ends the tokens mounted into pods when they are stale.
	NoExtension bool
	// JWKSURI is told to those who discover the issuer; empty means the issuer's own address.
	JWKSURI string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Tokens issues and verifies service account tokens.
type Tokens struct {
	TokenOptions
	objects objects
	now     atomic.Pointer[keySet]
}

// keySet are the keys at one time, with the tokens that were verified with them.
type keySet struct {
	signer jose.Signer
	keys   []publicKey // the signer's first
	known  knownTokens
}

// NewTokens makes Tokens.
func NewTokens(o TokenOptions) (*Tokens, error) {
	if len(o.Issuers) == 0 {
		return nil, errors.New("service account tokens need an issuer")
	}
	if o.Key == nil {
		return nil, errors.New("service account tokens need a key to sign with")
	}
	if len(o.Audiences) == 0 {
		o.Audiences = o.Issuers
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &Tokens{TokenOptions: o, objects: objects{o.Registry}}
	return t, t.SetKeys(o.Key, o.Keys)
}

// SetKeys replaces the keys while tokens are issued and verified: tokens of a key that is not given any more are refused
// from now on.
func (t *Tokens) SetKeys(key crypto.Signer, keys []crypto.PublicKey) error {
	signer, err := newSigner(key)
	if err != nil {
		return err
	}
	next := &keySet{signer: signer}
	for _, key := range append([]crypto.PublicKey{key.Public()}, keys...) {
		id, err := keyID(key)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(next.keys, func(k publicKey) bool { return k.id == id }) {
			if _, err := algorithmOf(key); err != nil {
				return err
			}
			next.keys = append(next.keys, publicKey{id, key})
		}
	}
	if have := t.now.Load(); have != nil && slices.EqualFunc(have.keys, next.keys, func(a, b publicKey) bool { return a.id == b.id }) {
		return nil
	}
	t.now.Store(next)
	return nil
}

// Issue answers a TokenRequest for a service account. tr is not changed.
func (t *Tokens) Issue(_ context.Context, _ user.Info, sa *corev1.ServiceAccount, tr *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	out := tr.DeepCopy()
	if out.Spec.ExpirationSeconds == nil {
		seconds := int64(defaultTokenSeconds)
		out.Spec.ExpirationSeconds = &seconds
	}
	if err := validateTokenRequest(sa, out); err != nil {
		return nil, err
	}
	out.Name, out.Namespace = sa.Name, sa.Namespace
	if len(out.Spec.Audiences) == 0 {
		out.Spec.Audiences = slices.Clone(t.Audiences)
	}
	if most := int64(t.MaxLife / time.Second); most > 0 && *out.Spec.ExpirationSeconds > most {
		*out.Spec.ExpirationSeconds = most
	}
	c := t.newClaims(sa, out)
	if err := t.bind(c, sa, out.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	if t.extends(c, out) {
		c.Kubernetes.WarnAfter = c.Expiry
		c.Expiry = jwt.NewNumericDate(c.IssuedAt.Time().Add(extendedTokenSeconds * time.Second))
	}
	token, err := jwt.Signed(t.now.Load().signer).Claims(c).Serialize()
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("signing a token: %w", err))
	}
	out.Status = authenticationv1.TokenRequestStatus{
		Token:               token,
		ExpirationTimestamp: metav1.NewTime(c.IssuedAt.Time().Add(time.Duration(*out.Spec.ExpirationSeconds) * time.Second)),
	}
	return out, nil
}

func validateTokenRequest(sa *corev1.ServiceAccount, tr *authenticationv1.TokenRequest) error {
	kind := authenticationv1.SchemeGroupVersion.WithKind("TokenRequest").GroupKind()
	metadata, seconds := field.NewPath("metadata"), field.NewPath("spec", "expirationSeconds")
	if tr.Name != "" && tr.Name != sa.Name {
		return bounds.Invalid(kind, sa.Name, field.ErrorList{field.Invalid(metadata.Child("name"), tr.Name, "must match the service account name if specified")})
	}
	if tr.Namespace != "" && tr.Namespace != sa.Namespace {
		return bounds.Invalid(kind, sa.Name, field.ErrorList{field.Invalid(metadata.Child("namespace"), tr.Namespace, "must match the service account namespace if specified")})
	}
	var problems field.ErrorList
	if *tr.Spec.ExpirationSeconds < minTokenSeconds {
		problems = append(problems, field.Invalid(seconds, *tr.Spec.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
	}
	if *tr.Spec.ExpirationSeconds > maxTokenSeconds {
		problems = append(problems, field.Invalid(seconds, *tr.Spec.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if len(problems) > 0 {
		return bounds.Invalid(kind, "", problems)
	}
	return nil
}

func (t *Tokens) newClaims(sa *corev1.ServiceAccount, tr *authenticationv1.TokenRequest) *claims {
	now := t.Now()
	return &claims{
		Claims: jwt.Claims{
			Issuer: t.Issuers[0], Subject: serviceaccount.MakeUsername(sa.Namespace, sa.Name), Audience: tr.Spec.Audiences,
			ID: uuid.NewString(), IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
			Expiry: jwt.NewNumericDate(now.Add(time.Duration(*tr.Spec.ExpirationSeconds) * time.Second)),
		},
		Kubernetes: kubernetesClaims{Namespace: sa.Namespace, ServiceAccount: objectClaim{sa.Name, string(sa.UID)}},
	}
}

// extends tells whether the token is one that is mounted into a pod for the API server.
func (t *Tokens) extends(c *claims, tr *authenticationv1.TokenRequest) bool {
	if t.NoExtension || c.Kubernetes.Pod == nil || *tr.Spec.ExpirationSeconds != projectedTokenSeconds {
		return false
	}
	for _, audience := range tr.Spec.Audiences {
		if !slices.Contains(t.Audiences, audience) {
			return false
		}
	}
	return true
}

// bind ties a token to an object: it is good only as long as the object lives.
func (t *Tokens) bind(c *claims, sa *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	var uid types.UID
	switch {
	case gvk.Group == "" && gvk.Kind == "Pod":
		pod, ok := get[*corev1.Pod](t.objects, podsResource, sa.Namespace, ref.Name)
		if !ok {
			return apierrors.NewNotFound(podsResource, ref.Name)
		}
		if pod.Spec.ServiceAccountName != sa.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", sa.Name))
		}
		uid = pod.UID
		c.Kubernetes.Pod = &objectClaim{pod.Name, string(pod.UID)}
		if pod.Spec.NodeName != "" {
			c.Kubernetes.Node = &objectClaim{Name: pod.Spec.NodeName}
			if node, ok := get[*corev1.Node](t.objects, nodesResource, "", pod.Spec.NodeName); ok {
				c.Kubernetes.Node.UID = string(node.UID)
			}
		}
	case gvk.Group == "" && gvk.Kind == "Secret":
		secret, ok := get[*corev1.Secret](t.objects, secretsResource, sa.Namespace, ref.Name)
		if !ok {
			return apierrors.NewNotFound(secretsResource, ref.Name)
		}
		uid = secret.UID
		c.Kubernetes.Secret = &objectClaim{secret.Name, string(secret.UID)}
	case gvk.Group == "" && gvk.Kind == "Node":
		node, ok := get[*corev1.Node](t.objects, nodesResource, "", ref.Name)
		if !ok {
			return apierrors.NewNotFound(nodesResource, ref.Name)
		}
		uid = node.UID
		c.Kubernetes.Node = &objectClaim{node.Name, string(node.UID)}
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if ref.UID != "" && uid != ref.UID {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}
