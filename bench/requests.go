package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	callers     = 64
	connections = 8
	namespace   = "bench"
	// podBytes is about what a pod of this benchmark takes in the store.
	podBytes = 1300
)

// alone runs only the API server, so that nobody works on the pods that are made.
const alone = "--components=apiserver"

func starting(ctx context.Context, b *bench) error {
	s, err := b.start(ctx, "")
	if err != nil {
		return err
	}
	defer s.remove()
	b.add("start on an empty folder until ready", s.ready.Sub(s.begun).Round(time.Millisecond).String())
	clients, err := s.clients(1)
	if err != nil {
		return err
	}
	err = until(ctx, startWait, func() (bool, error) {
		_, err := clients[0].CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	b.add("… until the default service account is there", time.Since(s.begun).Round(time.Millisecond).String())
	s.stop()
	again, err := b.start(ctx, s.dir)
	if err != nil {
		return err
	}
	defer again.stop()
	b.add("start on existing data until ready", again.ready.Sub(again.begun).Round(time.Millisecond).String())
	return nil
}

func idle(ctx context.Context, b *bench) error {
	s, err := b.start(ctx, "")
	if err != nil {
		return err
	}
	defer s.remove()
	const warmUp, measure = 10 * time.Second, 20 * time.Second
	time.Sleep(warmUp)
	before := s.cpu()
	time.Sleep(measure)
	b.add("idle CPU, of one core", fmt.Sprintf("%.2f %%", (s.cpu()-before)/measure.Seconds()*100))
	b.add("idle memory", fmt.Sprintf("%.0f MB", s.memory()))
	return nil
}

// prepare starts an API server with a namespace and gives clients for it.
func (b *bench) prepare(ctx context.Context, flags ...string) (*server, []*kubernetes.Clientset, error) {
	s, err := b.start(ctx, "", flags...)
	if err != nil {
		return nil, nil, err
	}
	clients, err := s.clients(connections)
	if err == nil {
		err = benchNamespace(ctx, clients[0])
	}
	if err != nil {
		s.remove()
		return nil, nil, err
	}
	return s, clients, nil
}

func createPods(ctx context.Context, clients []*kubernetes.Clientset, callers, count int, prefix string) ([]time.Duration, error) {
	return work(ctx, callers, count, func(ctx context.Context, caller, i int) error {
		_, err := clients[caller%len(clients)].CoreV1().Pods(namespace).Create(ctx, pod(fmt.Sprintf("%s-%d", prefix, i)), metav1.CreateOptions{})
		return err
	})
}

func creating(ctx context.Context, b *bench) error {
	count := b.n(20_000)
	limit, err := rawEtcd(ctx, callers, count, podBytes)
	if err != nil {
		return err
	}
	s, clients, err := b.prepare(ctx, alone)
	if err != nil {
		return err
	}
	defer s.remove()
	if _, err := createPods(ctx, clients, callers, count/10, "warm"); err != nil {
		return err
	}
	before, begun := s.cpu(), time.Now()
	if _, err := createPods(ctx, clients, callers, count, "many"); err != nil {
		return err
	}
	b.ratio("create pods, 64 callers (limit: etcd alone)", float64(count)/time.Since(begun).Seconds(), limit, "/s")
	b.add("… CPU of the master for each", fmt.Sprintf("%.3f ms", (s.cpu()-before)/float64(count)*1000))
	took, err := createPods(ctx, clients, 1, max(100, count/20), "one")
	if err != nil {
		return err
	}
	b.add("create pods, one caller, p50 / p99", fmt.Sprintf("%.2f / %.2f ms", ms(took[len(took)/2]), ms(took[len(took)*99/100])))
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func getting(ctx context.Context, b *bench) error {
	count := b.n(50_000)
	limit, err := bareHandler(ctx, callers, count, podBytes)
	if err != nil {
		return err
	}
	s, clients, err := b.prepare(ctx, alone)
	if err != nil {
		return err
	}
	defer s.remove()
	const pods = 1000
	if _, err := createPods(ctx, clients, callers, pods, "p"); err != nil {
		return err
	}
	before, begun := s.cpu(), time.Now()
	_, err = work(ctx, callers, count, func(ctx context.Context, caller, i int) error {
		_, err := clients[caller%len(clients)].CoreV1().Pods(namespace).Get(ctx, fmt.Sprintf("p-%d", i%pods), metav1.GetOptions{})
		return err
	})
	if err != nil {
		return err
	}
	b.ratio("get pods, 64 callers (limit: bare HTTPS handler)", float64(count)/time.Since(begun).Seconds(), limit, "/s")
	b.add("… CPU of the master for each", fmt.Sprintf("%.3f ms", (s.cpu()-before)/float64(count)*1000))
	return nil
}

func listing(ctx context.Context, b *bench) error {
	s, clients, err := b.prepare(ctx, alone)
	if err != nil {
		return err
	}
	defer s.remove()
	count := b.n(10_000)
	if _, err := createPods(ctx, clients, callers, count, "p"); err != nil {
		return err
	}
	for _, form := range []string{protobuf, "application/json"} {
		took, size, err := transfer(ctx, s.config, form)
		if err != nil {
			return err
		}
		limit, err := bareHandler(ctx, 1, 5, size)
		if err != nil {
			return err
		}
		b.rows = append(b.rows, row{
			what:  fmt.Sprintf("list %d pods as %s (limit: bare HTTPS handler)", count, form),
			value: fmt.Sprintf("%.0f ms, %.1f MB", ms(took), float64(size)/1e6),
			limit: fmt.Sprintf("%.0f ms", 1000/limit), share: fmt.Sprintf("%.2f", 1000/limit/ms(took)),
		})
	}
	return nil
}

// transfer lists all pods a few times without decoding and returns the median time and the size.
func transfer(ctx context.Context, config *rest.Config, form string) (time.Duration, int, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return 0, 0, err
	}
	size := 0
	const repeat = 9
	took, err := work(ctx, 1, repeat, func(ctx context.Context, _, _ int) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/api/v1/pods", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Accept", form)
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		n, err := io.Copy(io.Discard, response.Body)
		size = int(n)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return took[repeat/2], size, nil
}
