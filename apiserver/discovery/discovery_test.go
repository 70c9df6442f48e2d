package discovery

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	client "k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api"
)

const aggregatedJSON = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

func get(h http.Handler, path, accept string, header ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", accept)
	for n := 0; n+1 < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func decode[T any](t *testing.T, r *http.Response) T {
	t.Helper()
	var v T
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestResources holds some of what upstream answers.
func TestResources(t *testing.T) {
	h := New(api.Catalog(), "1.2.3.4:6443")
	all := []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	tests := map[string][]metav1.APIResource{
		"/api/v1": {
			{Name: "bindings", SingularName: "binding", Namespaced: true, Kind: "Binding", Verbs: []string{"create"}},
			{Name: "endpoints", SingularName: "endpoints", Namespaced: true, Kind: "Endpoints", Verbs: all, ShortNames: []string{"ep"}, StorageVersionHash: "fWeeMqaN/OA="},
			{Name: "namespaces/finalize", Kind: "Namespace", Verbs: []string{"update"}},
			{Name: "pods", SingularName: "pod", Namespaced: true, Kind: "Pod", Verbs: all, ShortNames: []string{"po"}, Categories: []string{"all"}, StorageVersionHash: "xPOwRZ+Yhw8="},
			{Name: "pods/eviction", Namespaced: true, Group: "policy", Version: "v1", Kind: "Eviction", Verbs: []string{"create"}},
			{Name: "pods/status", Namespaced: true, Kind: "Pod", Verbs: []string{"get", "patch", "update"}},
		},
		"/apis/events.k8s.io/v1": {
			{Name: "events", SingularName: "event", Namespaced: true, Kind: "Event", Verbs: all, ShortNames: []string{"ev"}, StorageVersionHash: "r2yiGXH7wu8="},
		},
	}
	for path, want := range tests {
		list := decode[metav1.APIResourceList](t, get(h, path, "application/json"))
		for _, w := range want {
			n := slices.IndexFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == w.Name })
			if n < 0 || list.APIResources[n].String() != w.String() {
				t.Errorf("%s: %s is missing or different: %v", path, w.Name, list.APIResources)
			}
		}
		if !slices.IsSortedFunc(list.APIResources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s is not sorted", path)
		}
	}
}

func TestGroups(t *testing.T) {
	h := New(api.Catalog(), "1.2.3.4:6443")
	versions := decode[metav1.APIVersions](t, get(h, "/api", ""))
	if versions.Versions[0] != "v1" || versions.APIVersion != "" || versions.ServerAddressByClientCIDRs[0].ServerAddress != "1.2.3.4:6443" {
		t.Errorf("%+v", versions)
	}
	order := []string{"apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
		"certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io",
		"apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "resource.k8s.io",
		"flowcontrol.apiserver.k8s.io", "storagemigration.k8s.io"}
	last := -1
	for _, g := range decode[metav1.APIGroupList](t, get(h, "/apis", "application/json")).Groups {
		n := slices.Index(order, g.Name)
		if n <= last {
			t.Errorf("%s is not in its place", g.Name)
		}
		last = n
		if one := decode[metav1.APIGroup](t, get(h, "/apis/"+g.Name+"/", "application/json")); one.Name != g.Name || one.PreferredVersion != g.Versions[0] {
			t.Errorf("%s: %+v", g.Name, one)
		}
	}
}

func TestNegotiation(t *testing.T) {
	h := New(api.Catalog(), "")
	tests := []struct {
		path, accept, header string
		code                 int
		contentType, begins  string
	}{
		{path: "/apis", accept: "", code: 200, contentType: "application/json", begins: `{"kind":"APIGroupList"`},
		{path: "/apis", accept: "application/yaml", code: 200, contentType: "application/yaml", begins: "apiVersion: v1"},
		{path: "/apis/rbac.authorization.k8s.io", accept: "application/vnd.kubernetes.protobuf", code: 200, contentType: "application/vnd.kubernetes.protobuf", begins: "k8s\x00"},
		{path: "/apis", accept: "text/plain", code: 406, contentType: "application/json", begins: `{"kind":"Status"`},
		{path: "/api/v1", accept: "application/json;as=Table;g=meta.k8s.io;v=v1", code: 406, contentType: "application/json", begins: `{"kind":"Status"`},
		{path: "/apis", accept: aggregatedJSON + ",application/json", code: 200, contentType: aggregatedJSON, begins: `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2"`},
		{path: "/api", accept: strings.Replace(aggregatedJSON, "json", "vnd.kubernetes.protobuf", 1), code: 200,
			contentType: "application/vnd.kubernetes.protobuf" + aggregatedParams, begins: "k8s\x00"},
		{path: "/apis", accept: "application/json," + aggregatedJSON, code: 200, contentType: "application/json", begins: `{"kind":"APIGroupList"`},
		{path: "/apis", accept: strings.Replace(aggregatedJSON, "v2", "v2beta1", 1), code: 406, contentType: "application/json", begins: `{"kind":"Status"`},
		{path: "/apis", accept: strings.Replace(aggregatedJSON, "v2", "v2beta1", 1) + ",application/json", code: 200, contentType: "application/json", begins: `{"kind":"APIGroupList"`},
		{path: "/apis/rbac.authorization.k8s.io", accept: aggregatedJSON, code: 406, contentType: "application/json", begins: `{"kind":"Status"`},
		{path: "/apis?pretty=true", accept: "", code: 200, contentType: "application/json", begins: "{\n  \"kind\""},
		{path: "/apis/none", accept: "", code: 404, contentType: "text/plain; charset=utf-8", begins: "404 page not found"},
	}
	for _, test := range tests {
		r := get(h, test.path, test.accept)
		body := make([]byte, 400)
		n, _ := r.Body.Read(body)
		if r.StatusCode != test.code || r.Header.Get("Content-Type") != test.contentType || !strings.HasPrefix(string(body[:n]), test.begins) {
			t.Errorf("%s as %q: %d %s %.60s", test.path, test.accept, r.StatusCode, r.Header.Get("Content-Type"), body[:n])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/apis/rbac.authorization.k8s.io/v1", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST gives %d", w.Code)
	}
}

func TestETag(t *testing.T) {
	catalog := api.Catalog()
	h := New(catalog, "")
	first := get(h, "/apis", aggregatedJSON)
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Vary") != "Accept" {
		t.Fatalf("headers %v", first.Header)
	}
	if again := get(h, "/apis", aggregatedJSON, "If-None-Match", tag); again.StatusCode != http.StatusNotModified {
		t.Errorf("code %d", again.StatusCode)
	}
	catalog.Remove(schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"})
	if changed := get(h, "/apis", aggregatedJSON, "If-None-Match", tag); changed.StatusCode != http.StatusOK {
		t.Errorf("code %d after a change", changed.StatusCode)
	}
	if h.Has("/apis/storage.k8s.io/v1") || !h.Has("/apis/apps/v1/") {
		t.Error("a group that has gone has a document, or one that stays has none")
	}
}

// TestClientFindsEveryKind asks as client-go does, in both ways.
func TestClientFindsEveryKind(t *testing.T) {
	server := httptest.NewServer(New(api.Catalog(), ""))
	defer server.Close()
	for _, legacy := range []bool{false, true} {
		c := client.NewDiscoveryClientForConfigOrDie(&rest.Config{Host: server.URL})
		c.UseLegacyDiscovery = legacy
		_, lists, err := c.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		found := map[schema.GroupVersionResource]string{}
		for _, l := range lists {
			gv, err := schema.ParseGroupVersion(l.GroupVersion)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range l.APIResources {
				found[gv.WithResource(r.Name)] = r.Kind
			}
		}
		for _, k := range api.Kinds() {
			if found[k.GVR()] != k.GVK.Kind {
				t.Errorf("legacy %v: %s is a %q", legacy, k.GVR(), found[k.GVR()])
			}
		}
	}
}

func TestResponseKinds(t *testing.T) {
	list := decode[apidiscoveryv2.APIGroupDiscoveryList](t, get(New(api.Catalog(), ""), "/api", aggregatedJSON))
	kinds := map[string]metav1.GroupVersionKind{}
	for _, r := range list.Items[0].Versions[0].Resources {
		kinds[r.Resource] = *r.ResponseKind
		for _, s := range r.Subresources {
			kinds[r.Resource+"/"+s.Subresource] = *s.ResponseKind
		}
	}
	for name, want := range map[string]metav1.GroupVersionKind{
		"pods": {Kind: "Pod"}, "pods/binding": {Kind: "Binding"}, "pods/eviction": {Group: "policy", Version: "v1", Kind: "Eviction"},
		"serviceaccounts/token": {Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"}, "nodes/proxy": {Kind: "NodeProxyOptions"},
	} {
		if kinds[name] != want {
			t.Errorf("%s answers with %v, want %v", name, kinds[name], want)
		}
	}
}
