package apiserver_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// exchangeCase is one request, and what is looked for in its answer.
type exchangeCase struct {
	name, method, path, body string
	// headers are "Name: value" lines.
	headers []string
	token   string
	code    int
	// want are parts of the answer's body, or of its headers if they begin with a name and a colon.
	want []string
}

const (
	base     = "/api/v1/namespaces/default"
	merge    = "Content-Type: application/merge-patch+json"
	yamlBody = "Content-Type: application/yaml"
)

func TestExchanges(t *testing.T) {
	h := newHouse(t, func(o *apiserver.Options) {
		o.Paths = []apiserver.Path{
			{Pattern: "/version", GetOnly: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "1.37") })},
			{Pattern: "/healthz/", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })},
			{Pattern: "/panic", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") })},
		}
	})
	cases := []exchangeCase{
		{name: "create", method: "POST", path: base + "/configmaps", body: `{"metadata":{"name":"a"},"data":{"k":"v"}}`, code: 201,
			want: []string{`"kind":"ConfigMap"`, `"namespace":"default"`, `"manager":"wheel"`, "Cache-Control: no-cache, private", "Audit-Id: "}},
		{name: "create twice", method: "POST", path: base + "/configmaps", body: `{"metadata":{"name":"a"}}`, code: 409, want: []string{`"reason":"AlreadyExists"`}},
		{name: "unknown field warns", method: "POST", path: base + "/configmaps", body: `{"metadata":{"name":"b"},"foo":1}`, code: 201,
			want: []string{`Warning: 299 - "unknown field \"foo\""`}},
		{name: "unknown field strict", method: "POST", path: base + "/configmaps?fieldValidation=Strict", body: `{"metadata":{"name":"c"},"foo":1}`, code: 400,
			want: []string{`ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"foo\"`}},
		{name: "bad directive", method: "POST", path: base + "/configmaps?fieldValidation=Loud", body: `{}`, code: 422, want: []string{`"field":"fieldValidation"`}},
		{name: "dry run", method: "POST", path: base + "/configmaps?dryRun=All", body: `{"metadata":{"name":"dry"}}`, code: 201},
		{name: "dry run left nothing", method: "GET", path: base + "/configmaps/dry", code: 404},
		{name: "yaml", method: "POST", path: base + "/configmaps", headers: []string{yamlBody, "Accept: application/yaml"}, body: "metadata:\n  name: by-yaml\n", code: 201,
			want: []string{"kind: ConfigMap", "Content-Type: application/yaml"}},
		{name: "other namespace", method: "POST", path: base + "/configmaps", body: `{"metadata":{"name":"n","namespace":"x"}}`, code: 400, want: []string{"does not match the namespace"}},
		{name: "wrong kind", method: "POST", path: base + "/configmaps", body: `{"kind":"Secret","apiVersion":"v1"}`, code: 400, want: []string{"Secret in version"}},
		{name: "no body", method: "POST", path: base + "/configmaps", code: 400, want: []string{"unexpected end of JSON input"}},
		{name: "text body", method: "POST", path: base + "/configmaps", headers: []string{"Content-Type: text/plain"}, body: "x", code: 415},
		{name: "large body", method: "POST", path: base + "/configmaps", body: strings.Repeat(" ", 3<<20+1), code: 413, want: []string{"limit is 3145728"}},
		{name: "update", method: "PUT", path: base + "/configmaps/a", body: `{"metadata":{"name":"a"},"data":{"k":"w"}}`, code: 200, want: []string{`"k":"w"`}},
		{name: "update other name", method: "PUT", path: base + "/configmaps/a", body: `{"metadata":{"name":"z"}}`, code: 400, want: []string{"does not match the name on the URL"}},
		{name: "update without name", method: "PUT", path: base + "/configmaps/a", body: `{}`, code: 400, want: []string{"name must be provided"}},
		{name: "update old revision", method: "PUT", path: base + "/configmaps/a", body: `{"metadata":{"name":"a","resourceVersion":"1"}}`, code: 409},
		{name: "update other uid", method: "PUT", path: base + "/configmaps/a", body: `{"metadata":{"name":"a","uid":"x"}}`, code: 409, want: []string{"Precondition failed"}},
		{name: "update missing", method: "PUT", path: base + "/configmaps/none", body: `{"metadata":{"name":"none"}}`, code: 404},
		{name: "update creates", method: "PUT", path: "/apis/coordination.k8s.io/v1/namespaces/default/leases/l", body: `{"metadata":{"name":"l"},"spec":{"leaseDurationSeconds":5}}`, code: 201},
		{name: "merge patch", method: "PATCH", path: base + "/configmaps/a", headers: []string{merge}, body: `{"data":{"m":"n"}}`, code: 200, want: []string{`"m":"n"`}},
		{name: "json patch", method: "PATCH", path: base + "/configmaps/a", headers: []string{"Content-Type: application/json-patch+json"},
			body: `[{"op":"remove","path":"/data/m"}]`, code: 200, want: []string{`"data":{"k":"w"}`}},
		{name: "strategic patch", method: "PATCH", path: base + "/configmaps/a", headers: []string{"Content-Type: application/strategic-merge-patch+json; charset=utf-8"},
			body: `{"data":{"s":"t"}}`, code: 200, want: []string{`"s":"t"`}},
		{name: "unknown patch", method: "PATCH", path: base + "/configmaps/a", headers: []string{"Content-Type: application/json"}, body: `{}`, code: 415,
			want: []string{"application/strategic-merge-patch+json"}},
		{name: "apply creates", method: "PATCH", path: base + "/configmaps/applied?fieldManager=me", headers: []string{"Content-Type: application/apply-patch+yaml"},
			body: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b}\n", code: 201, want: []string{`"operation":"Apply"`}},
		{name: "apply changes", method: "PATCH", path: base + "/configmaps/applied?fieldManager=me", headers: []string{"Content-Type: application/apply-patch+yaml"},
			body: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {c: d}\n", code: 200, want: []string{`"data":{"c":"d"}`}},
		{name: "apply by nobody", method: "PATCH", path: base + "/configmaps/applied", headers: []string{"Content-Type: application/apply-patch+yaml"}, body: "a: b", code: 422},
		{name: "get as table", method: "GET", path: base + "/configmaps/a", headers: []string{"Accept: application/json;as=Table;v=v1;g=meta.k8s.io"}, code: 200, want: []string{`"kind":"Table"`, `"cells":["a",2,`}},
		{name: "table of nonsense", method: "GET", path: base + "/configmaps?includeObject=All", headers: []string{"Accept: application/json;as=Table;v=v1;g=meta.k8s.io"}, code: 400},
		{name: "list metadata as item", method: "GET", path: base + "/configmaps", headers: []string{"Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}, code: 406},
		{name: "nothing acceptable", method: "GET", path: base + "/configmaps", headers: []string{"Accept: text/html"}, code: 406, want: []string{`"reason":"NotAcceptable"`}},
		{name: "pretty for people", method: "GET", path: base + "/configmaps/a", headers: []string{"User-Agent: curl/8"}, code: 200, want: []string{"{\n  \"kind\": \"ConfigMap\""}},
		{name: "bad limit", method: "GET", path: base + "/configmaps?limit=x", code: 400},
		{name: "unknown field selector", method: "GET", path: base + "/configmaps?fieldSelector=spec.x%3D1", code: 400, want: []string{"field label not supported: spec.x"}},
		{name: "match without revision", method: "GET", path: base + "/configmaps?resourceVersionMatch=Exact", code: 422, want: []string{`"field":"resourceVersionMatch"`}},
		{name: "watch in yaml", method: "GET", path: base + "/configmaps?watch=1", headers: []string{"Accept: application/yaml"}, code: 406},
		{name: "delete answers with a status", method: "DELETE", path: base + "/configmaps/a", code: 200, want: []string{`"status":"Success"`, `"kind":"configmaps"`}},
		{name: "delete other uid", method: "DELETE", path: base + "/configmaps/b", body: `{"preconditions":{"uid":"x"}}`, code: 409},
		{name: "delete with bad policy", method: "DELETE", path: base + "/configmaps/b?propagationPolicy=Maybe", code: 422},
		{name: "delete collection", method: "DELETE", path: base + "/configmaps?fieldSelector=metadata.name%3Db", code: 200, want: []string{`"kind":"ConfigMapList"`, `"name":"b"`}},
		{name: "review", method: "POST", path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body: `{"spec":{"nonResourceAttributes":{"path":"/"}}}`, code: 201},
		{name: "no such group", method: "GET", path: "/apis/none/v1/things", code: 404, want: []string{"404 page not found"}},
		{name: "no such version", method: "GET", path: "/apis/apps/v7/deployments", code: 404, want: []string{`"details":{}`}},
		{name: "no such resource", method: "GET", path: "/api/v1/things", code: 404, want: []string{`"details":{}`}},
		{name: "cluster resource in a namespace", method: "GET", path: base + "/nodes", code: 404},
		{name: "namespaced resource outside", method: "GET", path: "/api/v1/configmaps/x", code: 404},
		{name: "empty part", method: "GET", path: "/api/v1//configmaps", code: 404},
		{name: "empty name", method: "GET", path: base + "/pods//status?fieldSelector=metadata.name%3Dp", code: 404},
		{name: "no such subresource", method: "GET", path: base + "/pods/p/none", code: 404},
		{name: "create everywhere", method: "POST", path: "/api/v1/configmaps", body: `{}`, code: 405, want: []string{`"reason":"MethodNotAllowed"`}},
		{name: "patch collection", method: "PATCH", path: base + "/configmaps", headers: []string{merge}, body: `{}`, code: 405},
		{name: "head", method: "HEAD", path: base + "/configmaps", code: 405},
		{name: "options", method: "OPTIONS", path: base + "/configmaps/a", code: 405},
		{name: "post to a path that is read", method: "POST", path: "/version", code: 405},
		{name: "prefix", method: "GET", path: "/healthz/ping", code: 200, want: []string{"ok"}},
		{name: "panic", method: "GET", path: "/panic", code: 500, want: []string{`"reason":"InternalError"`}},
		{name: "nobody", method: "GET", path: "/version", token: "-", code: 401, want: []string{`"message":"Unauthorized"`}},
		{name: "not allowed", method: "GET", path: base + "/pods", token: "guest", code: 403,
			want: []string{`pods is forbidden: User \"guest\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"`}},
		{name: "path not allowed", method: "GET", path: "/version", token: "guest", code: 403, want: []string{`User \"guest\" cannot get path \"/version\"`}},
		{name: "impersonation", method: "GET", path: base + "/configmaps", token: "proxy", headers: []string{"Impersonate-User: reader"}, code: 200},
		{name: "impersonation of one who may not", method: "GET", path: base + "/configmaps", token: "proxy", headers: []string{"Impersonate-User: guest"}, code: 403, want: []string{`User \"guest\"`}},
		{name: "impersonation not allowed", method: "GET", path: base + "/configmaps", token: "reader", headers: []string{"Impersonate-User: root"}, code: 403, want: []string{"impersonate"}},
	}
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: h.config.TLSClientConfig})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) { c.check(t, client, h.config.Host) })
	}
}

func (c *exchangeCase) check(t *testing.T, client *http.Client, host string) {
	t.Helper()
	r, err := http.NewRequest(c.method, host+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "wheel/1.0")
	r.Header.Set("Content-Type", "application/json")
	for _, line := range c.headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	switch c.token {
	case "":
		r.Header.Set("Authorization", "Bearer root")
	case "-":
	default:
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != c.code {
		t.Fatalf("code %d, want %d: %s", resp.StatusCode, c.code, body)
	}
	var all bytes.Buffer
	_ = resp.Header.Write(&all) // a buffer takes everything
	all.Write(body)
	for _, want := range c.want {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, all.String())
		}
	}
	if c.code >= 400 && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && c.method != "HEAD" {
		var status metav1.Status
		if err := json.Unmarshal(body, &status); err != nil || status.Kind != "Status" || int(status.Code) != c.code {
			t.Errorf("no proper Status: %v\n%s", err, body)
		}
	}
}

// TestLargeListIsCompressed also looks at the bytes: client-go would hide them.
func TestLargeListIsCompressed(t *testing.T) {
	h := newHouse(t, nil)
	for i := range 700 {
		p := pod(fmt.Sprintf("p-%d", i))
		p.Namespace = "default"
		p.Annotations = map[string]string{"text": strings.Repeat("x", 300)}
		if _, err := h.server.Do(t.Context(), &apiserver.Request{User: root, Verb: "create", Kind: api.Of[*corev1.Pod](), Namespace: "default", Object: p}); err != nil {
			t.Fatal(err)
		}
	}
	transport, err := rest.TransportFor(h.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, accept := range []string{plain, protobuf} {
		for _, coding := range []string{"gzip", "identity"} {
			r, _ := http.NewRequest("GET", h.config.Host+base+"/pods", nil)
			r.Header.Set("Accept", accept)
			r.Header.Set("Accept-Encoding", coding)
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			var body io.Reader = resp.Body
			if coding == "gzip" {
				if resp.Header.Get("Content-Encoding") != "gzip" {
					t.Fatalf("%s: not compressed: %v", accept, resp.Header)
				}
				if body, err = gzip.NewReader(resp.Body); err != nil {
					t.Fatal(err)
				}
			}
			all, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if n := bytes.Count(all, []byte(strings.Repeat("x", 300))); n != 700 || !bytes.Contains(all, []byte("PodList")) {
				t.Errorf("%s %s: %d pods in %d bytes", accept, coding, n, len(all))
			}
		}
	}
}

func TestTooManyRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	h := newHouse(t, func(o *apiserver.Options) {
		o.MaxReads = 1
		o.Paths = []apiserver.Path{{Pattern: "/slow", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			entered <- struct{}{}
			<-release
		})}}
	})
	client, err := rest.HTTPClientFor(h.as("reader"))
	if err != nil {
		t.Fatal(err)
	}
	finished := make(chan error, 1)
	go func() {
		resp, err := client.Get(h.config.Host + "/slow")
		if err == nil {
			resp.Body.Close()
		}
		finished <- err
	}()
	<-entered
	resp, err := client.Get(h.config.Host + base + "/pods")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("second request: %v", resp)
	}
	close(release)
	if err := <-finished; err != nil {
		t.Error(err)
	}
	resp, err = client.Get(h.config.Host + base + "/pods")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("after the slow request: %v", resp)
	}
}
