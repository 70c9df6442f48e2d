package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func get(t *testing.T, path string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for n := 0; n+1 < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	w := httptest.NewRecorder()
	New().ServeHTTP(w, r)
	return w.Result(), w.Body.Bytes()
}

// gvkOf are the kinds that a definition stands for.
type gvkOf struct {
	GVKs []schema.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
}

func (g gvkOf) has(k *kind.Kind) bool {
	for _, gvk := range g.GVKs {
		if gvk == k.GVK {
			return true
		}
	}
	return false
}

type operations map[string]struct {
	ID     string `json:"operationId"`
	Action string `json:"x-kubernetes-action"`
}

// UnmarshalJSON leaves out what is no operation.
func (o *operations) UnmarshalJSON(data []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	*o = operations{}
	for method, text := range members {
		if method == "parameters" {
			continue
		}
		one := (*o)[method]
		if err := json.Unmarshal(text, &one); err != nil {
			return err
		}
		(*o)[method] = one
	}
	return nil
}

func paths(k *kind.Kind) (collection, object string) {
	prefix := "/apis/" + k.GVK.Group + "/" + k.GVK.Version
	if k.GVK.Group == "" {
		prefix = "/api/" + k.GVK.Version
	}
	if k.Namespaced {
		prefix += "/namespaces/{namespace}"
	}
	return prefix + "/" + k.Plural, prefix + "/" + k.Plural + "/{name}"
}

// TestEveryKindIsDescribed fails when the catalog has changed since the documents were generated.
func TestEveryKindIsDescribed(t *testing.T) {
	var v2 struct {
		Paths       map[string]operations `json:"paths"`
		Definitions map[string]gvkOf      `json:"definitions"`
	}
	_, data := get(t, V2Path)
	if err := json.Unmarshal(data, &v2); err != nil {
		t.Fatal(err)
	}
	documents := map[string]*struct {
		Paths      map[string]operations `json:"paths"`
		Components struct {
			Schemas map[string]gvkOf `json:"schemas"`
		} `json:"components"`
	}{}
	for _, k := range api.Kinds() {
		url := V3Path + "apis/" + k.GVK.Group + "/" + k.GVK.Version
		if k.GVK.Group == "" {
			url = V3Path + "api/" + k.GVK.Version
		}
		v3 := documents[url]
		if v3 == nil {
			r, data := get(t, url)
			if r.StatusCode != http.StatusOK {
				t.Fatalf("%s: %d: run go generate", url, r.StatusCode)
			}
			if err := json.Unmarshal(data, &v3); err != nil {
				t.Fatal(err)
			}
			documents[url] = v3
		}
		collection, object := paths(k)
		for version, found := range map[string]struct {
			paths map[string]operations
			types map[string]gvkOf
		}{"2": {v2.Paths, v2.Definitions}, "3": {v3.Paths, v3.Components.Schemas}} {
			described := false
			for _, d := range found.types {
				described = described || d.has(k)
			}
			if !described {
				t.Errorf("version %s has no definition of %s: run go generate", version, k.GVK)
			}
			for verb, method := range map[kind.Verb]struct{ path, name string }{
				"list": {collection, "get"}, "create": {collection, "post"}, "deletecollection": {collection, "delete"},
				"get": {object, "get"}, "update": {object, "put"}, "patch": {object, "patch"}, "delete": {object, "delete"},
			} {
				if _, ok := found.paths[method.path][method.name]; ok != k.Serves(verb) {
					t.Errorf("version %s: %s %s is described: %v, served: %v: run go generate", version, verb, k.GVR(), ok, k.Serves(verb))
				}
			}
			for _, p := range k.Parts {
				if _, ok := found.paths[object+"/"+p.Name]["put"]; !ok {
					t.Errorf("version %s: %s/%s is not described: run go generate", version, k.GVR(), p.Name)
				}
			}
		}
	}
	if got := v2.Paths["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]; got.ID != "patchCoreV1NamespacedPod" || got.Action != "patch" {
		t.Errorf("operation %+v", got)
	}
}

func TestNegotiation(t *testing.T) {
	const v2, v3 = "com.github.proto-openapi.spec.v2", "com.github.proto-openapi.spec.v3"
	tests := []struct {
		path, accept string
		code         int
		contentType  string
	}{
		{V2Path, "", 200, "application/json"},
		{V2Path, "*/*", 200, "application/json"},
		{V2Path, "application/" + v2 + "@v1.0+protobuf", 200, "application/" + v2 + ".v1.0+protobuf"},
		{V2Path, "application/" + v2 + ".v1.0+protobuf", 200, "application/" + v2 + ".v1.0+protobuf"},
		{V2Path, "application/yaml", 406, ""},
		{V3IndexPath, "", 200, "text/plain; charset=utf-8"},
		{V3Path + "api/v1", "application/json", 200, "application/json"},
		{V3Path + "api/v1", "application/" + v3 + "@v1.0+protobuf", 200, "application/" + v3 + ".v1.0+protobuf"},
		{V3Path + "api/v1", "application/" + v2 + "@v1.0+protobuf", 406, ""},
		{V3Path + "api/v1", "application/yaml, application/json", 200, "application/json"},
		{V3Path + "apis/none/v1", "", 404, ""},
		{V3Path + "version", "", 200, "application/json"},
		{V3Path + ".well-known/openid-configuration", "", 200, "application/json"},
	}
	for _, test := range tests {
		r, data := get(t, test.path, "Accept", test.accept)
		if r.StatusCode != test.code || r.Header.Get("Content-Type") != test.contentType {
			t.Errorf("%s as %q: %d %s", test.path, test.accept, r.StatusCode, r.Header.Get("Content-Type"))
		}
		if test.code == 200 && r.Header.Get("ETag") == "" {
			t.Errorf("%s has no ETag", test.path)
		}
		if test.contentType == "application/json" && !json.Valid(data) {
			t.Errorf("%s is no JSON", test.path)
		}
	}
}

func TestProtobufIsReadable(t *testing.T) {
	_, data := get(t, V2Path, "Accept", v2Formats[1].contentType)
	var two openapi_v2.Document
	if err := proto.Unmarshal(data, &two); err != nil || len(two.Definitions.AdditionalProperties) < 100 {
		t.Errorf("%v: %d definitions", err, len(two.Definitions.GetAdditionalProperties()))
	}
	_, data = get(t, V3Path+"api/v1", "Accept", v3Formats[1].contentType)
	var three openapi_v3.Document
	if err := proto.Unmarshal(data, &three); err != nil || len(three.Paths.Path) < 10 {
		t.Errorf("%v: %d paths", err, len(three.Paths.GetPath()))
	}
}

func TestCompressed(t *testing.T) {
	_, plain := get(t, V2Path)
	r, packed := get(t, V2Path, "Accept-Encoding", "br, gzip;q=0.5")
	if r.Header.Get("Content-Encoding") != "gzip" || len(packed) > len(plain)/5 {
		t.Fatalf("%d of %d bytes, %v", len(packed), len(plain), r.Header)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(z); err != nil || !bytes.Equal(data, plain) {
		t.Errorf("the unpacked document differs: %v", err)
	}
	if r, _ := get(t, V2Path, "Accept-Encoding", "gzip; q=0"); r.Header.Get("Content-Encoding") != "" {
		t.Error("packed for a client that refuses it")
	}
}

// TestCaching follows the links of the index.
func TestCaching(t *testing.T) {
	_, data := get(t, V3IndexPath)
	var index struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	url := index.Paths["api/v1"].URL
	r, _ := get(t, url)
	if r.StatusCode != 200 || r.Header.Get("Cache-Control") != "public, immutable" || r.Header.Get("Expires") == "" || r.Header.Get("Vary") != "Accept" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	if tag := strings.Trim(r.Header.Get("ETag"), `"`); !strings.HasSuffix(url, "?hash="+tag) {
		t.Errorf("tag %s of %s", tag, url)
	}
	if again, body := get(t, url, "If-None-Match", r.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || len(body) > 0 {
		t.Errorf("code %d", again.StatusCode)
	}
	moved, _ := get(t, V3Path+"api/v1?hash=OLD")
	if moved.StatusCode != http.StatusMovedPermanently || moved.Header.Get("Location") != url {
		t.Errorf("%d %s", moved.StatusCode, moved.Header.Get("Location"))
	}
	if plain, _ := get(t, V3Path+"api/v1"); plain.Header.Get("Cache-Control") != "" {
		t.Error("cached for good without a hash")
	}
	if len(index.Paths) < 20 {
		t.Errorf("only %d documents", len(index.Paths))
	}
}
