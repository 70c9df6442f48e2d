package apiserver_test

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// TestBothWays asks the same over HTTP and by a call in the process: the same is refused, first for the same reason, with the same words.
func TestBothWays(t *testing.T) {
	s := newServer(t, nil)
	pods, maps, nodes, namespaces := api.Of[*corev1.Pod](), api.Of[*corev1.ConfigMap](), api.Of[*corev1.Node](), api.Of[*corev1.Namespace]()
	reviews := api.Of[*authenticationv1.TokenReview]() // a kind without most verbs
	reader := &user.DefaultInfo{Name: "reader", Groups: []string{user.AllAuthenticated}}
	nobody := &user.DefaultInfo{Name: "nobody", Groups: []string{user.AllAuthenticated}}
	for _, c := range []struct {
		what string
		user user.Info
		apiserver.Request
		path string
		code int32
	}{
		{"there is no such kind", root, get(widget(), "default", "x", ""), "/apis/example.com/v1/namespaces/default/widgets/x", 404},
		{"nobody may ask for it, and there is no such kind", nobody, get(widget(), "default", "x", ""), "/apis/example.com/v1/namespaces/default/widgets/x", 403},
		{"nobody may ask for it", nobody, get(pods, "default", "x", ""), "/api/v1/namespaces/default/pods/x", 403},
		{"there is no such object", reader, get(pods, "default", "x", ""), "/api/v1/namespaces/default/pods/x", 404},
		{"no such subresource", reader, get(pods, "default", "x", "nothing"), "/api/v1/namespaces/default/pods/x/nothing", 404},
		{"nobody may ask for it, and there is no such subresource", nobody, get(pods, "default", "x", "nothing"), "/api/v1/namespaces/default/pods/x/nothing", 403},
		{"a subresource without the verb", root, request("create", pods, "default", "x", "status"), "/api/v1/namespaces/default/pods/x/status", 405},
		{"a subresource without the verb, for who may not", reader, request("create", pods, "default", "x", "status"), "/api/v1/namespaces/default/pods/x/status", 403},
		{"a kind without the verb", root, request("list", reviews, "", "", ""), "/apis/authentication.k8s.io/v1/tokenreviews", 405},
		{"a kind without objects", root, request("get", reviews, "", "x", ""), "/apis/authentication.k8s.io/v1/tokenreviews/x", 404},
		{"a namespace for what is in none", root, get(nodes, "default", "x", ""), "/api/v1/namespaces/default/nodes/x", 404},
		{"an object in no namespace", root, get(pods, "", "x", ""), "/api/v1/pods/x", 404},
		{"a creation in no namespace", root, request("create", maps, "", "", ""), "/api/v1/configmaps", 405},
		{"a deletion in all namespaces", root, request("deletecollection", maps, "", "", ""), "/api/v1/configmaps", 405},
		{"the objects of all namespaces", reader, request("list", maps, "", "", ""), "/api/v1/configmaps", 200},
		{"a namespace", reader, get(namespaces, "", "default", ""), "/api/v1/namespaces/default", 200},
		{"a namespace's status", root, request("delete", namespaces, "", "default", "status"), "/api/v1/namespaces/default/status", 405},
	} {
		c.Request.User = c.user
		inside := refusal(func() error {
			_, err := s.Do(t.Context(), &c.Request)
			return err
		}())
		if inside.Code != c.code {
			t.Errorf("%s: %d %s in the process, want %d", c.what, inside.Code, inside.Message, c.code)
		}
		r := httptest.NewRequest(methods[c.Verb], c.path, strings.NewReader(""))
		r.Header.Set("Authorization", "Bearer "+c.user.GetName())
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		outside := metav1.Status{Code: int32(w.Code)}
		if w.Code >= 300 && strings.HasPrefix(w.Body.String(), "{") {
			if err := json.Unmarshal(w.Body.Bytes(), &outside); err != nil {
				t.Fatal(err)
			}
		}
		if outside.Code != inside.Code || strings.HasPrefix(w.Body.String(), "{") && outside.Message != inside.Message {
			t.Errorf("%s: %d %q over HTTP, %d %q in the process", c.what, outside.Code, outside.Message, inside.Code, inside.Message)
		}
	}
	if _, err := s.Do(t.Context(), &apiserver.Request{User: root, Verb: kind.Get, Name: "x"}); !apierrors.IsNotFound(err) {
		t.Errorf("no kind: %v", err)
	}
}

func get(k *kind.Kind, namespace, name, subresource string) apiserver.Request {
	return request(kind.Get, k, namespace, name, subresource)
}

func request(v kind.Verb, k *kind.Kind, namespace, name, subresource string) apiserver.Request {
	return apiserver.Request{Verb: v, Kind: k, Namespace: namespace, Name: name, Subresource: subresource}
}

// refusal is the status that an error stands for.
func refusal(err error) metav1.Status {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return metav1.Status{Code: 200}
	case errors.As(err, &status):
		return status.Status()
	}
	return metav1.Status{Message: err.Error()}
}
