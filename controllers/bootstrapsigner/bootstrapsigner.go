// Package bootstrapsigner signs the public ConfigMap cluster-info with each bootstrap token, so that a node that has a
// token can tell that what it reads is the cluster's.
package bootstrapsigner

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

const (
	mapName = "cluster-info"
	content = "kubeconfig"
	// A token's signature has its ID after this.
	signaturePrefix = "jws-kubeconfig-"

	tokenType   corev1.SecretType = "bootstrap.kubernetes.io/token"
	tokenPrefix                   = "bootstrap-token-"
)

// tokenID is what a token can have as its ID.
var tokenID = regexp.MustCompile(`^[a-z0-9]{6}$`)

// info is the one thing that is reconciled.
var info = reconcile.Key{Namespace: metav1.NamespacePublic, Name: mapName}

type controller struct {
	maps    reconcile.Objects[*corev1.ConfigMap]
	secrets reconcile.Objects[*corev1.Secret]
}

// New declares the signer.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{
		maps:    reconcile.Watch[*corev1.ConfigMap](b, mapChanged, reconcile.Writes(kind.Update)),
		secrets: reconcile.Watch[*corev1.Secret](b, tokenChanged),
	}
	return &reconcile.Controller{Workers: 1, Reconcile: c.reconcile}
}

func mapChanged(d client.Delta, enqueue func(reconcile.Key)) {
	if d.New != nil && reconcile.KeyOf(d.New) == info {
		enqueue(info)
	}
}

func tokenChanged(d client.Delta, enqueue func(reconcile.Key)) {
	o := reconcile.Subject(d)
	if s, ok := o.(*corev1.Secret); ok && s.Namespace == metav1.NamespaceSystem && s.Type == tokenType {
		enqueue(info)
	}
}

// tokens are the secrets by which the ConfigMap is signed, by the tokens' IDs.
func (c *controller) tokens() map[string][]byte {
	all := map[string][]byte{}
	for o := range c.secrets.Live.All(metav1.NamespaceSystem) {
		id, secret := string(o.Data["token-id"]), o.Data["token-secret"]
		if o.Type == tokenType && o.DeletionTimestamp == nil && o.Name == tokenPrefix+id && len(secret) > 0 && string(o.Data["usage-bootstrap-signing"]) == "true" {
			all[id] = secret
		}
	}
	return all
}

// plan is the data that the ConfigMap should have.
func plan(have map[string]string, tokens map[string][]byte) (map[string]string, error) {
	want := map[string]string{}
	for key, value := range have {
		if !strings.HasPrefix(key, signaturePrefix) {
			want[key] = value
		}
	}
	if have[content] == "" {
		return want, nil
	}
	for id, secret := range tokens {
		signature, err := sign(have[content], id, secret)
		if err != nil {
			return nil, err
		}
		want[signaturePrefix+id] = signature
	}
	return want, nil
}

// confirm fails unless each signature that would go is of a token that is proven to be gone, or seen to be none.
func (c *controller) confirm(ctx context.Context, have, want map[string]string) error {
	for key := range have {
		id, signs := strings.CutPrefix(key, signaturePrefix)
		if _, stays := want[key]; !signs || stays || !tokenID.MatchString(id) {
			continue
		}
		if _, seen := c.secrets.Live.Get(metav1.NamespaceSystem, tokenPrefix+id); seen {
			continue
		}
		if gone, err := c.secrets.Look(ctx, metav1.NamespaceSystem, tokenPrefix+id, "").Gone(); err != nil {
			return err
		} else if !gone {
			return fmt.Errorf("waiting to see the token %s", id)
		}
	}
	return nil
}

// sign makes a JSON web signature (RFC 7515, HS256) without the content. A token's secret is shorter than what libraries
// accept as a key today.
func sign(text, id string, secret []byte) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		Key       string `json:"kid"`
	}{"HS256", id})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(encode(header) + "." + encode([]byte(text))))
	return encode(header) + ".." + encode(mac.Sum(nil)), nil
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	have, ok := c.maps.Live.Get(key.Namespace, key.Name)
	if !ok {
		return reconcile.Result{}, nil
	}
	want, err := plan(have.Data, c.tokens())
	if err == nil {
		err = c.confirm(ctx, have.Data, want)
	}
	if err != nil || maps.Equal(want, have.Data) {
		return reconcile.Result{}, err
	}
	changed := have.DeepCopy()
	changed.Data = want
	_, err = c.maps.Update(ctx, changed)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return reconcile.Result{}, err
}
