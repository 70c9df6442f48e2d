package apiserver_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// discard is a response writer that keeps nothing but the code.
type discard struct {
	header http.Header
	code   int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(code int)        { d.code = code }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// serve runs one request through the whole pipeline without a socket.
func serve(b testing.TB, h http.Handler, method, path, contentType string, body []byte) {
	r := httptest.NewRequest(method, path, nil)
	if body != nil {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Set("Authorization", "Bearer root")
	r.Header.Set("Accept", contentType)
	r.Header.Set("User-Agent", "bench/1.0")
	w := &discard{header: http.Header{}}
	h.ServeHTTP(w, r)
	if w.code >= 300 {
		b.Fatalf("%s %s: %d", method, path, w.code)
	}
}

const protobuf, plain = "application/vnd.kubernetes.protobuf", "application/json"

func encoded(b testing.TB, p *corev1.Pod, contentType string) []byte {
	b.Helper()
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), contentType)
	body, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), p)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func BenchmarkCreatePod(b *testing.B) {
	for _, contentType := range []string{protobuf, plain} {
		b.Run(strings.TrimPrefix(contentType, "application/"), func(b *testing.B) {
			s := newServer(b, nil)
			body := encoded(b, pod("pod-00000000"), contentType)
			at := bytes.Index(body, []byte("00000000"))
			n := 0
			for b.Loop() {
				copy(body[at:], fmt.Sprintf("%08d", n))
				n++
				serve(b, s, "POST", "/api/v1/namespaces/default/pods", contentType, body)
			}
		})
	}
}

func BenchmarkGetPod(b *testing.B) {
	for _, contentType := range []string{protobuf, plain} {
		b.Run(strings.TrimPrefix(contentType, "application/"), func(b *testing.B) {
			s := newServer(b, nil)
			serve(b, s, "POST", "/api/v1/namespaces/default/pods", contentType, encoded(b, pod("web"), contentType))
			for b.Loop() {
				serve(b, s, "GET", "/api/v1/namespaces/default/pods/web", contentType, nil)
			}
		})
	}
}

func BenchmarkListPods(b *testing.B) {
	s := newServer(b, nil)
	for n := range 10000 {
		serve(b, s, "POST", "/api/v1/namespaces/default/pods", protobuf, encoded(b, pod(fmt.Sprintf("pod-%d", n)), protobuf))
	}
	for _, contentType := range []string{protobuf, plain} {
		b.Run(strings.TrimPrefix(contentType, "application/"), func(b *testing.B) {
			for b.Loop() {
				serve(b, s, "GET", "/api/v1/pods", contentType, nil)
			}
		})
	}
}
