package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// patching changes one annotation of large pods, each time another, while others watch.
func patching(ctx context.Context, b *bench) error {
	s, clients, err := b.prepare(ctx, alone)
	if err != nil {
		return err
	}
	defer s.remove()
	for n := range callers {
		if _, err := clients[0].CoreV1().Pods(namespace).Create(ctx, largePod(fmt.Sprint("large-", n)), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	config := rest.CopyConfig(s.config)
	config.ContentType, config.AcceptContentTypes = "application/json", "application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	const watchers = 10
	watching, stop := context.WithCancel(ctx)
	defer stop()
	for range watchers {
		if err := watchOn(watching, config); err != nil {
			return err
		}
	}
	for _, callers := range []int{1, callers} {
		count := b.n(5000)
		change := func(ctx context.Context, caller, i int) error {
			_, err := client.CoreV1().Pods(namespace).Patch(ctx, fmt.Sprint("large-", caller), types.MergePatchType,
				fmt.Appendf(nil, `{"metadata":{"annotations":{"bench":"%d"}}}`, i), metav1.PatchOptions{})
			return err
		}
		if _, err := work(ctx, callers, count/10, change); err != nil { // warm up
			return err
		}
		allocated, err := s.allocated(ctx)
		if err != nil {
			return err
		}
		cpu, begun := s.cpu(), time.Now()
		if _, err := work(ctx, callers, count, change); err != nil {
			return err
		}
		took := time.Since(begun)
		after, err := s.allocated(ctx)
		if err != nil {
			return err
		}
		b.add(fmt.Sprintf("merge patch of one annotation of an 18 KB pod, %d watchers, callers: %d", watchers, callers), fmt.Sprintf("%.0f /s", float64(count)/took.Seconds()))
		b.add("… CPU of the master for each", fmt.Sprintf("%.3f ms", (s.cpu()-cpu)/float64(count)*1000))
		b.add("… memory allocated for each", fmt.Sprintf("%.0f KB", (after-allocated)/float64(count)/1000))
	}
	return nil
}

// watchOn begins a watch of all pods whose events go nowhere.
func watchOn(ctx context.Context, config *rest.Config) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/api/v1/namespaces/"+namespace+"/pods?watch=true", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	go func() {
		defer response.Body.Close()
		io.Copy(io.Discard, response.Body)
	}()
	return nil
}

// allocated is how many bytes the master has allocated since its start.
func (s *server) allocated(ctx context.Context) (float64, error) {
	clients, err := s.clients(1)
	if err != nil {
		return 0, err
	}
	text, err := clients[0].RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		var n float64
		if _, err := fmt.Sscanf(string(line), "go_memstats_alloc_bytes_total %g", &n); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("/metrics does not tell what was allocated")
}

// largePod has 18 KB as JSON.
func largePod(name string) *corev1.Pod {
	p := pod(name)
	p.Spec.Containers = nil
	for n := range 10 {
		c := corev1.Container{Name: fmt.Sprint("c", n), Image: "registry.example/image:1"}
		for m := range 30 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprint("VARIABLE_", m), Value: "some value of it"})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	return p
}
