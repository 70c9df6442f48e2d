package apiserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// widget is a kind that no server knows from its start.
func widget(columns ...string) *kind.Kind {
	rules := kind.Rules[corev1.ConfigMap]{Columns: []kind.Column[corev1.ConfigMap]{kind.NameColumn[corev1.ConfigMap]()}}
	for _, name := range columns {
		rules.Columns = append(rules.Columns, kind.Text(name, "", func(c *corev1.ConfigMap) string { return c.Name }))
	}
	return kind.Define(kind.Resource{
		GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: "Widget", Plural: "widgets", Namespaced: true,
		List: kind.ListOf[corev1.ConfigMapList],
	}, rules)
}

const widgetsPath = "/apis/example.com/v1/namespaces/default/widgets"

// ask sends a request as root.
func ask(ctx context.Context, server, method, path, body string, header ...string) (int, string) {
	r, err := http.NewRequestWithContext(ctx, method, server+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Authorization", "Bearer root")
	r.Header.Set("Content-Type", "application/json")
	for n := 0; n < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// TestInstall serves a kind that was made at run time, in another way after a change, and no more in the end.
func TestInstall(t *testing.T) {
	s := newServer(t, nil)
	server := httptest.NewServer(s)
	defer server.Close()
	send := func(method, path, body string, header ...string) (int, string) {
		return ask(t.Context(), server.URL, method, path, body, header...)
	}
	if code, _ := send("GET", widgetsPath, ""); code != 404 {
		t.Errorf("before: %d", code)
	}
	if err := s.Install(t.Context(), widget()); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		method, path, body, contentType string
		code                            int
		has                             string
	}{
		{"POST", widgetsPath, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"data":{"a":"b"}}`, "application/json", 201, `"uid"`},
		{"GET", widgetsPath + "/w", "", "application/json", 200, `"kind":"Widget","apiVersion":"example.com/v1"`},
		{"GET", "/apis/example.com/v1/widgets", "", "application/json", 200, `"kind":"WidgetList"`},
		{"PATCH", widgetsPath + "/w", `{"data":{"c":"d"}}`, "application/merge-patch+json", 200, `"c":"d"`},
		{"PUT", widgetsPath + "/w", `{"metadata":{"name":"w"},"data":{"e":"f"}}`, "application/json", 200, `"e":"f"`},
		{"GET", widgetsPath + "?watch=1&resourceVersion=0&timeoutSeconds=1", "", "application/json", 200, `"type":"ADDED"`},
		{"GET", widgetsPath + "/w/status", "", "application/json", 404, "could not find"},
	} {
		if code, body := send(step.method, step.path, step.body, "Content-Type", step.contentType); code != step.code || !strings.Contains(body, step.has) {
			t.Errorf("%s %s: %d %s", step.method, step.path, code, body)
		}
	}
	watch := open(t, server.URL, widgetsPath+"?watch=1&resourceVersion=0")
	if err := s.Install(t.Context(), widget("Twice")); err != nil {
		t.Fatal(err)
	}
	if last := watch(); !strings.Contains(last, `"code":410`) {
		t.Errorf("the last event of the watch: %s", last)
	}
	if _, body := send("GET", widgetsPath, "", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"); !strings.Contains(body, "Twice") {
		t.Errorf("the table has no new column: %s", body)
	}
	watch = open(t, server.URL, widgetsPath+"?watch=1&resourceVersion=0")
	if err := s.Uninstall(t.Context(), widget()); err != nil {
		t.Fatal(err)
	}
	if last := watch(); !strings.Contains(last, `"code":410`) {
		t.Errorf("the last event of the watch: %s", last)
	}
	if code, _ := send("GET", widgetsPath, ""); code != 404 {
		t.Errorf("after: %d", code)
	}
	if err := s.Install(t.Context(), widget()); err != nil {
		t.Fatal(err)
	}
	if code, body := send("GET", widgetsPath+"/w", ""); code != 200 || !strings.Contains(body, `"e":"f"`) {
		t.Errorf("what was stored: %d %s", code, body)
	}
	// The same value again, with no request between the steps.
	k := widget()
	for range 2 {
		if err := s.Install(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	if code, body := send("GET", widgetsPath+"/w", ""); code != 200 {
		t.Errorf("installed twice: %d %s", code, body)
	}
	if err := errors.Join(s.Uninstall(t.Context(), k), s.Install(t.Context(), k)); err != nil {
		t.Fatal(err)
	}
	if code, body := send("GET", widgetsPath+"/w", ""); code != 200 {
		t.Errorf("installed after it was removed: %d %s", code, body)
	}
}

// open begins a watch, which has an object to tell of; it gives a function that reads it to its end and tells the last event.
func open(t *testing.T, server, path string) (last func() string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer root")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() {
		t.Fatalf("no event: %v", lines.Err())
	}
	return func() string {
		defer resp.Body.Close()
		text := lines.Text()
		for lines.Scan() {
			text = lines.Text()
		}
		return text
	}
}

// TestInstallUnderLoad changes a kind while clients use it: none gets an answer that a kind which is there does not give, except to
// try again.
func TestInstallUnderLoad(t *testing.T) {
	s := newServer(t, nil)
	server := httptest.NewServer(s)
	defer server.Close()
	if err := s.Install(t.Context(), widget()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() { use(ctx, t, server.URL, n) })
	}
	for n := range 40 {
		k := widget()
		if n%2 == 0 {
			k = widget("Twice")
		}
		if err := s.Install(t.Context(), k); err != nil {
			t.Error(err)
		}
	}
	cancel()
	clients.Wait()
	server.Close() // a request that its client has given up may still be at work
	for name, n := range s.Seats() {
		if n != 0 {
			t.Errorf("%d seats are still taken: %s", n, name)
		}
	}
}

// use makes, reads, lists and removes objects until ctx ends.
func use(ctx context.Context, t *testing.T, server string, client int) {
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("w%d-%d", client, n)
		for _, step := range []struct {
			method, path, body string
			code               int
		}{
			{"POST", widgetsPath, `{"metadata":{"name":"` + name + `"}}`, 201},
			{"GET", widgetsPath + "/" + name, "", 200},
			{"GET", widgetsPath, "", 200},
			{"DELETE", widgetsPath + "/" + name, "", 200},
		} {
			code, body := http.StatusTooManyRequests, ""
			for code == http.StatusTooManyRequests {
				code, body = ask(ctx, server, step.method, step.path, step.body)
			}
			if code != step.code && ctx.Err() == nil {
				t.Errorf("%s %s: %d %s", step.method, step.path, code, body)
			}
		}
	}
}
