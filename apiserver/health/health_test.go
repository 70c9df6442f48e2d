package health

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"
	info "k8s.io/apimachinery/pkg/version"
)

func TestHandler(t *testing.T) {
	var broken error
	reported := map[string]bool{}
	h := Handler("livez", []Check{Ping, {Name: "etcd", Check: func(*http.Request) error { return broken }}},
		func(check, endpoint string, ok bool) { reported[endpoint+"/"+check] = ok })
	tests := []struct {
		path   string
		broken bool
		code   int
		text   string
	}{
		{path: "/livez", code: 200, text: "ok"},
		{path: "/livez/", code: 200, text: "ok"},
		{path: "/livez?verbose", code: 200, text: "[+]ping ok\n[+]etcd ok\nlivez check passed\n"},
		{path: "/livez/ping", code: 200, text: "ok"},
		{path: "/livez/etcd", broken: true, code: 500, text: "internal server error: no leader\n"},
		{path: "/livez", broken: true, code: 500, text: "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n"},
		{path: "/livez?exclude=etcd", broken: true, code: 200, text: "ok"},
		{path: "/livez?exclude=etcd&verbose=1", broken: true, code: 200, text: "[+]ping ok\n[+]etcd excluded: ok\nlivez check passed\n"},
		{path: "/livez?exclude=b&exclude=a&verbose", code: 200,
			text: "[+]ping ok\n[+]etcd ok\nwarn: some health checks cannot be excluded: no matches for \"a\",\"b\"\nlivez check passed\n"},
		{path: "/livez/bogus", code: 404, text: "404 page not found\n"},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			broken = nil
			if test.broken {
				broken = errors.New("no leader")
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, test.path, nil))
			if w.Code != test.code || w.Body.String() != test.text {
				t.Errorf("got %d %q", w.Code, w.Body)
			}
			if got := w.Result().Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
				t.Errorf("content type %q", got)
			}
			if test.path == "/livez" && reported["livez/etcd"] == test.broken {
				t.Error("the check was not reported")
			}
		})
	}
}

func TestWaiting(t *testing.T) {
	h := Waiting("livez", func() string { return "no quorum" })
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/livez":       {503, "[+]ping ok\n[-]etcd failed: no quorum\nlivez check failed\n"},
		"/livez/etcd":  {503, "[+]ping ok\n[-]etcd failed: no quorum\nlivez check failed\n"},
		"/livez/ping":  {200, "ok"},
		"/livez/ping/": {200, "ok"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want.code || w.Body.String() != want.text {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}

func TestStopping(t *testing.T) {
	stopping := make(chan struct{})
	c := Stopping(stopping)
	if err := c.Check(nil); err != nil {
		t.Error(err)
	}
	close(stopping)
	if c.Check(nil) == nil {
		t.Error("a stopping server is ready")
	}
}

func TestVersion(t *testing.T) {
	h := VersionHandler(Version())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/version", nil))
	var got info.Info
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	parsed, err := version.ParseSemantic(got.GitVersion)
	if err != nil || parsed.Major() != 1 || parsed.Minor() != 37 || got.Major+"."+got.Minor != "1.37" {
		t.Errorf("%v: %+v", err, got)
	}
	if !strings.Contains(w.Body.String(), "\n  \"gitVersion\"") {
		t.Error("the answer is not indented")
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/version", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("PUT gives %d", w.Code)
	}
}
