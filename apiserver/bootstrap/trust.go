package bootstrap

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// clusterInfo is the ConfigMap by which machines that join learn whom to trust, if somebody has made it (kubeadm does).
const (
	clusterInfo       = "cluster-info"
	clusterInfoConfig = "kubeconfig"
	// A signature for each token follows this prefix.
	signaturePrefix = "jws-kubeconfig-"
	tokenSecret     = "bootstrap-token-"
)

// Trust brings up to date what tells others which authorities this server trusts and is verified with. It writes nothing
// that is so already. Of the options it needs the registry, the authorities and the front proxies' names.
func Trust(ctx context.Context, o Options) error {
	e := &ensurer{registry: o.Registry, slots: make(chan struct{}, writesInFlight)}
	put(ctx, e, "configmaps", authenticationConfig(&o), mergeData)
	maps, ok := o.Registry.Resource(schema.GroupResource{Resource: "configmaps"})
	if ok && maps.Peek(metaPublic, clusterInfo) != nil {
		want := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metaPublic, Name: clusterInfo}}
		put(ctx, e, "configmaps", want, func(have, _ *corev1.ConfigMap) { trustInClusterInfo(have, o.ClientCA, o.Registry) })
	}
	return e.wait()
}

// trustInClusterInfo sets the authorities, and signs the result again for those tokens for which it was signed. What
// cannot be understood stays as it is.
func trustInClusterInfo(have *corev1.ConfigMap, ca []byte, r *registry.Registry) {
	config, err := clientcmd.Load([]byte(have.Data[clusterInfoConfig]))
	if err != nil {
		return
	}
	changed := false
	for _, cluster := range config.Clusters {
		if len(cluster.CertificateAuthorityData) > 0 && !bytes.Equal(cluster.CertificateAuthorityData, ca) {
			cluster.CertificateAuthorityData, changed = ca, true
		}
	}
	if !changed {
		return
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return
	}
	have.Data[clusterInfoConfig] = string(data)
	for name := range have.Data {
		id, ok := strings.CutPrefix(name, signaturePrefix)
		if !ok {
			continue
		}
		delete(have.Data, name) // rather no signature than a wrong one
		if signature, err := signFor(id, data, r); err == nil {
			have.Data[name] = signature
		}
	}
}

// signFor makes the signature by which the holder of a token knows that content is the cluster's.
func signFor(id string, content []byte, r *registry.Registry) (string, error) {
	secrets, ok := r.Resource(schema.GroupResource{Resource: "secrets"})
	if !ok {
		return "", errors.New("there are no secrets")
	}
	item := secrets.Peek(metaSystem, tokenSecret+id)
	if item == nil {
		return "", fmt.Errorf("there is no token %s", id)
	}
	secret, ok := item.Object().(*corev1.Secret)
	if !ok {
		return "", fmt.Errorf("there is no token %s", id)
	}
	return jws(id, secret.Data["token-secret"], content)
}

// jws is a detached signature in the form of RFC 7515 with HMAC-SHA256, by hand: secrets of tokens are shorter than
// libraries let keys be.
func jws(id string, secret, content []byte) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}{"HS256", id})
	if err != nil {
		return "", err
	}
	form := base64.RawURLEncoding
	head := form.EncodeToString(header)
	sum := hmac.New(sha256.New, secret)
	sum.Write([]byte(head + "." + form.EncodeToString(content)))
	return head + ".." + form.EncodeToString(sum.Sum(nil)), nil
}
