package apiserver_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// methods are what clients send for verbs.
var methods = map[kind.Verb]string{
	kind.Get: "GET", kind.List: "GET", kind.Watch: "GET", kind.Create: "POST", kind.Update: "PUT", kind.Patch: "PATCH",
	kind.Delete: "DELETE", kind.DeleteCollection: "DELETE",
}

// TestEndpoints sends every method to every path of every kind. What discovery lists is found, another method is not allowed, and
// a path that nothing is listed for does not exist.
func TestEndpoints(t *testing.T) {
	s := newServer(t, func(o *apiserver.Options) {
		o.Computed = map[schema.GroupResource]apiserver.Computed{{Resource: "componentstatuses"}: func(context.Context) []kind.Object { return nil }}
	})
	for _, k := range api.Kinds() {
		base := "/apis/" + k.GVK.Group + "/" + k.GVK.Version + "/"
		if k.GVK.Group == "" {
			base = "/api/v1/"
		}
		collection := base + k.Plural
		if k.Namespaced {
			collection = base + "namespaces/default/" + k.Plural
			judge(t, s, base+k.Plural, only(k.Verbs, kind.List), k.Serves(kind.List))
		} else {
			judge(t, s, base+"namespaces/default/"+k.Plural, nil, false)
		}
		item := collection + "/absent"
		judge(t, s, collection, only(k.Verbs, kind.List, kind.Create, kind.DeleteCollection), true)
		judge(t, s, item, only(k.Verbs, kind.Get, kind.Update, kind.Patch, kind.Delete), k.Serves(kind.Get))
		judge(t, s, item+"/nothing", nil, false)
		for _, p := range k.Parts {
			judge(t, s, item+"/"+p.Name, p.Verbs, true)
			judge(t, s, item+"/"+p.Name+"/below", nil, false)
		}
		if k.Scale != nil {
			judge(t, s, item+"/scale", []kind.Verb{kind.Get, kind.Update, kind.Patch}, true)
		}
		for _, a := range k.Actions {
			if a.Name != "proxy" {
				judge(t, s, item+"/"+a.Name, a.Verbs, true)
			}
		}
	}
}

func only(verbs []kind.Verb, of ...kind.Verb) []kind.Verb {
	return slices.DeleteFunc(slices.Clone(verbs), func(v kind.Verb) bool { return !slices.Contains(of, v) })
}

// judge sends every method to a path that serves verbs, if it exists. An endpoint that is found may well refuse the empty request,
// but not with these codes; what it does not find has its own name in the answer.
func judge(t *testing.T, s *apiserver.Server, path string, verbs []kind.Verb, exists bool) {
	t.Helper()
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Authorization", "Bearer root")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		served := slices.ContainsFunc(verbs, func(v kind.Verb) bool { return methods[v] == method })
		found := w.Code != http.StatusMethodNotAllowed && (w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "absent"))
		switch {
		case served && !found, !served && exists && w.Code != http.StatusMethodNotAllowed, !exists && w.Code != http.StatusNotFound:
			t.Errorf("%s %s: %d, served: %v, exists: %v: %s", method, path, w.Code, served, exists, w.Body.String())
		}
	}
}
