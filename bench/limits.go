package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// rawEtcd is how many creations a second an embedded etcd takes from as many callers, with nothing around it.
func rawEtcd(ctx context.Context, callers, count, size int) (float64, error) {
	dir, err := os.MkdirTemp("", "wheelhouse-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	s, err := etcd.Open(ctx, etcd.Options{Dir: filepath.Join(dir, "etcd")})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	value := make([]byte, size)
	begun := time.Now()
	_, err = work(ctx, callers, count, func(ctx context.Context, _, i int) error {
		_, err := s.Create(ctx, fmt.Sprintf("/registry/pods/bench/%d", i), value, 0)
		return err
	})
	return float64(count) / time.Since(begun).Seconds(), err
}

// bareHandler is what net/http gives over TLS and HTTP/2 for an answer of some bytes that stand ready: requests a second.
func bareHandler(ctx context.Context, callers, count, size int) (float64, error) {
	answer := make([]byte, size)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(answer) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	client := s.Client()
	begun := time.Now()
	_, err := work(ctx, callers, count, func(ctx context.Context, _, _ int) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return err
	})
	return float64(count) / time.Since(begun).Seconds(), err
}
