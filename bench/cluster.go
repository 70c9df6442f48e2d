package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	scenarioWait         = 5 * time.Minute
	watchesPerConnection = 50
)

// noAgents keeps nodes that nobody renews in service.
const noAgents = "--node-monitor-grace-period=24h"

func watching(ctx context.Context, b *bench) error {
	s, clients, err := b.prepare(ctx, alone)
	if err != nil {
		return err
	}
	defer s.remove()
	watchers, events := b.n(500), b.n(1000)
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	var bytes atomic.Int64
	var client *http.Client
	for i := range watchers {
		if i%watchesPerConnection == 0 {
			if client, err = s.httpClient(); err != nil {
				return err
			}
		}
		if err := follow(watching, s.config, client, &bytes); err != nil {
			return err
		}
	}
	before, begun := s.cpu(), time.Now()
	if _, err := createPods(ctx, clients, 16, events, "e"); err != nil {
		return err
	}
	// Deliveries are over when nothing has come for a while.
	last, quiet := bytes.Load(), time.Now()
	for time.Since(quiet) < 500*time.Millisecond {
		time.Sleep(20 * time.Millisecond)
		if now := bytes.Load(); now != last {
			last, quiet = now, time.Now()
		}
	}
	deliveries := float64(watchers * events)
	b.add(fmt.Sprintf("watch: %d watchers of %d creations, deliveries", watchers, events), fmt.Sprintf("%.0f /s", deliveries/quiet.Sub(begun).Seconds()))
	b.add("… CPU of the master for each, creations included", fmt.Sprintf("%.1f µs", (s.cpu()-before)/deliveries*1e6))
	return nil
}

// follow opens a watch whose bytes are counted and thrown away.
func follow(ctx context.Context, config *rest.Config, client *http.Client, bytes *atomic.Int64) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/api/v1/namespaces/"+namespace+"/pods?watch=1&resourceVersion=0", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", protobuf+";stream=watch")
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("watch: %s", response.Status)
	}
	go func() {
		defer response.Body.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := response.Body.Read(buffer)
			bytes.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	return nil
}

// fakeNodes makes Ready nodes that no agent stands behind, and waits until they take pods.
func fakeNodes(ctx context.Context, clients []*kubernetes.Clientset, count int) error {
	capacity := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("128Gi"), corev1.ResourcePods: resource.MustParse("110")}
	_, err := work(ctx, callers, count, func(ctx context.Context, caller, i int) error {
		name := fmt.Sprintf("node-%d", i)
		_, err := clients[caller%len(clients)].CoreV1().Nodes().Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
			Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity, Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}},
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return until(ctx, scenarioWait, func() (bool, error) {
		nodes, err := clients[0].CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for i := range nodes.Items {
			if len(nodes.Items[i].Spec.Taints) > 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

// allBound waits until as many pods are bound; it watches, so as not to burden the master.
func allBound(ctx context.Context, c *kubernetes.Clientset, count int) error {
	ctx, cancel := context.WithTimeout(ctx, scenarioWait)
	defer cancel()
	w, err := c.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	defer w.Stop()
	bound := map[string]bool{}
	for len(bound) < count {
		e, ok := <-w.ResultChan()
		if !ok {
			return fmt.Errorf("the watch ended with %d of %d pods bound", len(bound), count)
		}
		if p, ok := e.Object.(*corev1.Pod); ok && p.Spec.NodeName != "" {
			bound[p.Name] = true
		}
	}
	return nil
}

func deploying(ctx context.Context, b *bench) error {
	for _, nodes := range []int{b.n(1000), b.n(5000)} {
		if err := b.deploy(ctx, nodes); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) deploy(ctx context.Context, nodes int) error {
	s, clients, err := b.prepare(ctx, noAgents)
	if err != nil {
		return err
	}
	defer s.remove()
	if err := fakeNodes(ctx, clients, nodes); err != nil {
		return err
	}
	count := b.n(5000)
	replicas, labels := int32(count), map[string]string{"app": "bench"}
	template := pod("")
	template.Spec.TerminationGracePeriodSeconds = nil
	before, begun := s.cpu(), time.Now()
	_, err = clients[0].AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: template.Spec}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := allBound(ctx, clients[1], count); err != nil {
		return err
	}
	b.add(fmt.Sprintf("Deployment of %d on %d nodes until all are bound", count, nodes), fmt.Sprintf("%.2f s", time.Since(begun).Seconds()))
	b.add("… CPU of the master for each pod", fmt.Sprintf("%.3f ms", (s.cpu()-before)/float64(count)*1000))
	return nil
}

func barePods(ctx context.Context, b *bench) error {
	s, clients, err := b.prepare(ctx, noAgents)
	if err != nil {
		return err
	}
	defer s.remove()
	if err := fakeNodes(ctx, clients, b.n(1000)); err != nil {
		return err
	}
	count := b.n(10_000)
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- allBound(ctx, clients[0], count) }()
	if _, err := createPods(ctx, clients, callers, count, "p"); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	b.add(fmt.Sprintf("%d pods created over HTTPS until all are bound", count), fmt.Sprintf("%.2f s", time.Since(begun).Seconds()))
	return nil
}

func holding(ctx context.Context, b *bench) error {
	s, clients, err := b.prepare(ctx, noAgents)
	if err != nil {
		return err
	}
	defer s.remove()
	if err := fakeNodes(ctx, clients, 1); err != nil {
		return err
	}
	count := b.n(40_000)
	// Bound from the start, so that nobody works on them and only holding them is measured.
	_, err = work(ctx, callers, count, func(ctx context.Context, caller, i int) error {
		p := pod(fmt.Sprintf("p-%d", i))
		p.Spec.NodeName = "node-0"
		_, err := clients[caller%len(clients)].CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	const warmUp = 25 * time.Second
	time.Sleep(warmUp)
	b.add(fmt.Sprintf("memory with %d pods", count), fmt.Sprintf("%.0f MB", s.memory()))
	return nil
}

func removing(ctx context.Context, b *bench) error {
	s, clients, err := b.prepare(ctx)
	if err != nil {
		return err
	}
	defer s.remove()
	count := b.n(10_000)
	if _, err := createPods(ctx, clients, callers, count, "p"); err != nil {
		return err
	}
	begun := time.Now()
	if err := clients[0].CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	err = until(ctx, scenarioWait, func() (bool, error) {
		_, err := clients[0].CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("a namespace of %d pods until it is gone", count), fmt.Sprintf("%.2f s", time.Since(begun).Seconds()))
	return nil
}
