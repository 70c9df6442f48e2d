package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// TestLookAnswers: of all that a server, or something in its place, may answer, one thing proves absence.
func TestLookAnswers(t *testing.T) {
	const absent = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"gone","details":%s}`
	object := func(meta string) string {
		return `{"kind":"ConfigMap","apiVersion":"v1","metadata":` + meta + `}`
	}
	for _, c := range []struct {
		name        string
		code        int
		contentType string
		body        string
		want        client.Presence
	}{
		{"free", 404, "application/json", fmt.Sprintf(absent, `{"name":"x","kind":"configmaps"}`), client.Absent},
		{"there", 200, "application/json", object(`{"namespace":"ns","name":"x","uid":"1"}`), client.Present},
		{"another", 200, "application/json", object(`{"namespace":"ns","name":"x","uid":"2"}`), client.Replaced},
		{"without a uid", 200, "application/json", object(`{"namespace":"ns","name":"x"}`), client.Unknown},
		{"of another name", 200, "application/json", object(`{"namespace":"ns","name":"y","uid":"1"}`), client.Unknown},
		{"of another namespace", 200, "application/json", object(`{"namespace":"other","name":"x","uid":"1"}`), client.Unknown},
		{"of another kind", 200, "application/json", `{"kind":"Secret","apiVersion":"v1","metadata":{"namespace":"ns","name":"x","uid":"1"}}`, client.Unknown},
		{"not an object", 200, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Success"}`, client.Unknown},
		{"no path", 404, "text/plain; charset=utf-8", "404 page not found\n", client.Unknown},
		{"a gateway's page", 404, "text/html", "<html>no such host</html>", client.Unknown},
		{"about nothing", 404, "application/json", fmt.Sprintf(absent, `{}`), client.Unknown},
		{"about the namespace", 404, "application/json", fmt.Sprintf(absent, `{"name":"ns","kind":"namespaces"}`), client.Unknown},
		{"about another", 404, "application/json", fmt.Sprintf(absent, `{"name":"y","kind":"configmaps"}`), client.Unknown},
		{"of another group", 404, "application/json", fmt.Sprintf(absent, `{"name":"x","group":"apps","kind":"configmaps"}`), client.Unknown},
		{"expired", 410, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}`, client.Unknown},
		{"forbidden", 403, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`, client.Forbidden},
		{"unknown to it", 401, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`, client.Forbidden},
		{"unreadable", 500, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"StorageReadError","code":500}`, client.Unreadable},
		{"one unreadable", 500, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500,"details":{"causes":[{"reason":"UnexpectedServerResponse","field":"/registry/configmaps/ns/x","message":"odd"}]}}`, client.Unreadable},
		{"broken", 500, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500}`, client.Unknown},
		{"not yet", 503, "text/plain", "starting", client.Unknown},
		{"empty", 404, "", "", client.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/api/v1/namespaces/ns/configmaps/x" || r.URL.RawQuery != "" {
					t.Errorf("asked %s", r.URL)
				}
				w.Header().Set("Content-Type", c.contentType)
				w.WriteHeader(c.code)
				w.Write([]byte(c.body))
			}))
			defer server.Close()
			transport, err := client.HTTP(t.Context(), &rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			f := client.Look(t.Context(), transport, api.Of[*corev1.ConfigMap](), "ns", "x", "1")
			if f.Presence != c.want {
				t.Errorf("%s (%v), want %s", f.Presence, f.Err, c.want)
			}
			gone, err := f.Gone()
			if proven := c.want == client.Absent || c.want == client.Replaced; gone != proven {
				t.Errorf("gone: %v", gone)
			}
			if known := f.Presence == client.Absent || f.Presence == client.Replaced || f.Presence == client.Present; (err == nil) != known {
				t.Errorf("%s with the error %v", f.Presence, err)
			}
			if err != nil && !strings.Contains(err.Error(), "configmaps ns/x") {
				t.Errorf("the error does not name the object: %v", err)
			}
		})
	}
}

// refusing is a transport that only fails.
type refusing struct {
	client.Transport
	err error
}

func (r refusing) Do(context.Context, client.Request) (runtime.Object, error) { return nil, r.err }

func TestLookProvesNothing(t *testing.T) {
	maps := api.Of[*corev1.ConfigMap]()
	free := apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, "x")
	for _, c := range []struct {
		name, namespace, object string
		err                     error
		want                    client.Presence
	}{
		{"free", "ns", "x", free, client.Absent},
		{"wrapped", "ns", "x", fmt.Errorf("asking: %w", free), client.Absent},
		{"no namespace", "", "x", free, client.Unknown},
		{"no name", "ns", "", free, client.Unknown},
		{"ended", "ns", "x", context.Canceled, client.Unknown},
		{"late", "ns", "x", apierrors.NewTimeoutError("late", 1), client.Unknown},
		{"not served", "ns", "x", apierrors.NewBadRequest("this client was not made for it"), client.Unknown},
		{"refused", "ns", "x", errors.New("connection refused"), client.Unknown},
	} {
		if f := client.Look(t.Context(), refusing{err: c.err}, maps, c.namespace, c.object, ""); f.Presence != c.want {
			t.Errorf("%s: %s (%v)", c.name, f.Presence, f.Err)
		}
	}
	if gone, err := (client.Finding{}).Gone(); gone || err == nil {
		t.Error("a finding that was never made proves something")
	}
	if s := client.Presence(99).String(); s != "unknown" {
		t.Error(s)
	}
}

// TestLookRemotely looks at a real server over HTTPS, while the view has seen nothing of what is asked.
func TestLookRemotely(t *testing.T) {
	m := start(t)
	maps := client.For[*corev1.ConfigMap](connect(t, m, &door{}))
	first, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want client.Presence, f client.Finding) {
		t.Helper()
		if f.Presence != want {
			t.Errorf("%s (%v), want %s", f.Presence, f.Err, want)
		}
	}
	expect(client.Present, maps.Look(t.Context(), "default", "a", first.UID))
	expect(client.Present, maps.Look(t.Context(), "default", "a", ""))
	expect(client.Replaced, maps.Look(t.Context(), "default", "a", "another"))
	expect(client.Absent, maps.Look(t.Context(), "default", "b", first.UID))
	expect(client.Absent, maps.Look(t.Context(), "elsewhere", "a", first.UID))
	nobody := rest.AnonymousClientConfig(m.RESTConfig())
	transport, err := client.HTTP(t.Context(), nobody)
	if err != nil {
		t.Fatal(err)
	}
	expect(client.Forbidden, client.For[*corev1.ConfigMap](transport).Look(t.Context(), "default", "a", first.UID))
	m.Stop()
	expect(client.Unknown, maps.Look(t.Context(), "default", "b", ""))
}

// TestLookEmptyRemotely: a namespace holds nothing of a kind only if the server says so.
func TestLookEmptyRemotely(t *testing.T) {
	m := start(t)
	transport := connect(t, m, &door{})
	maps := client.For[*corev1.ConfigMap](transport)
	for _, name := range []string{"a", "b"} {
		if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	for namespace, want := range map[string]bool{"default": false, "": false, "elsewhere": true} {
		if empty, err := client.LookEmpty(t.Context(), transport, maps.Kind(), namespace); err != nil || empty != want {
			t.Errorf("%q is empty: %v, %v", namespace, empty, err)
		}
	}
	nobody, err := client.HTTP(t.Context(), rest.AnonymousClientConfig(m.RESTConfig()))
	if err != nil {
		t.Fatal(err)
	}
	if empty, err := client.LookEmpty(t.Context(), nobody, maps.Kind(), "elsewhere"); err == nil || empty {
		t.Error("nobody may know, and did")
	}
	var odd runtime.Object = &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
	for _, answer := range []runtime.Object{nil, odd, &corev1.ConfigMapList{}, &metav1.Status{}} {
		if empty, err := client.LookEmpty(t.Context(), answering{answer: answer}, maps.Kind(), "a"); err == nil || empty {
			t.Errorf("%T proves that a namespace is empty", answer)
		}
	}
}

type answering struct {
	client.Transport
	answer runtime.Object
}

func (a answering) Do(context.Context, client.Request) (runtime.Object, error) { return a.answer, nil }

// TestMayConcern: an error about values that cannot be read is about the objects that it names, and about all if it does not name every one.
func TestMayConcern(t *testing.T) {
	failure := func(fields ...string) error {
		d := &metav1.StatusDetails{}
		for _, f := range fields {
			d.Causes = append(d.Causes, metav1.StatusCause{Type: metav1.CauseTypeUnexpectedServerResponse, Field: f})
		}
		return fmt.Errorf("wrapped: %w", &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonStoreReadError, Details: d}})
	}
	for _, c := range []struct {
		err             error
		namespace, name string
		want            bool
	}{
		{failure("/registry/leases/a/n", "/registry/leases/b/m"), "a", "n", true},
		{failure("/registry/leases/a/n", "/registry/leases/b/m"), "b", "n", false},
		{failure("/registry/leases/a/n", ""), "b", "n", true},
		{failure("/registry/minions/n"), "", "n", true},
		{failure("/registry/minions/other-n"), "", "n", false},
		{failure("/registry/leases/b/n"), "a", "n", false},
		{failure(), "", "n", true},
		{errors.New("no answer"), "", "n", true},
	} {
		if got := client.MayConcern(c.err, c.namespace, c.name); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	begins := func(name string) bool { return strings.HasPrefix(name, "web-") }
	if !client.MayConcernAny(failure("/registry/pods/a/other", "/registry/pods/a/web-1"), "a", begins) || client.MayConcernAny(failure("/registry/pods/a/other", "/registry/pods/b/web-1"), "a", begins) {
		t.Error("names of the namespace that match are not told from others")
	}
}
