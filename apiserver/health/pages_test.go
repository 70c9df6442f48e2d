package health

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	pages := Pages([]string{"/livez", "/metrics"}, map[string]string{"secure-port": "6443"})
	for _, c := range []struct {
		path, accept string
		code         int
		contentType  string
		want         []string
	}{
		{"/statusz", "", 200, "text/plain", []string{"kube-apiserver statusz", "1.37.2", "/livez /metrics"}},
		{"/statusz", "text/plain", 200, "text/plain", []string{"kube-apiserver statusz"}},
		{"/statusz", "application/json", 406, "application/json", []string{"NotAcceptable"}},
		{"/statusz", "application/json;v=v1beta1;g=config.k8s.io;as=Statusz", 200, "application/json", []string{`"kind":"Statusz"`, `"/metrics"`}},
		{"/flagz", "", 200, "text/plain", []string{"kube-apiserver flagz", "secure-port", "6443"}},
		{"/flagz", "application/json", 406, "application/json", []string{"NotAcceptable"}},
		{"/flagz", "application/json;v=v1beta1;g=config.k8s.io;as=Flagz", 200, "application/json", []string{`"secure-port":"6443"`}},
	} {
		t.Run(c.path+" "+c.accept, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, c.path, nil)
			r.Header.Set("Accept", c.accept)
			w := httptest.NewRecorder()
			pages[c.path].ServeHTTP(w, r)
			if w.Code != c.code || !strings.HasPrefix(w.Header().Get("Content-Type"), c.contentType) {
				t.Errorf("%d %s", w.Code, w.Header().Get("Content-Type"))
			}
			for _, want := range c.want {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("no %q in %s", want, w.Body)
				}
			}
		})
	}
}
