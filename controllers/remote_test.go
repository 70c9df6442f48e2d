package controllers_test

import (
	"context"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// TestControllersRunRemotely runs all controllers as clients over HTTPS of an API server that has none: as they can against
// any conformant server.
func TestControllersRunRemotely(t *testing.T) {
	t.Parallel()
	m, err := wheelhouse.Start(t.Context(), wheelhouse.Options{Components: []master.Component{master.APIServer}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop() })
	transport, err := client.HTTP(t.Context(), m.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	options := controllers.DefaultOptions()
	options.RootCA.Source = func() ([]byte, <-chan struct{}) { return []byte("certificate"), nil }
	go func() {
		done <- controllers.Run(ctx, func(string) client.Transport { return transport }, reconcile.FixedKinds(api.Kinds()), options)
	}()
	namespaces, deployments, pods := client.For[*corev1.Namespace](transport), client.For[*appsv1.Deployment](transport), client.For[*corev1.Pod](transport)
	must[*corev1.Namespace](t)(namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "work"}}))
	until(t, "the default service account", func() bool {
		_, ok := client.For[*corev1.ServiceAccount](transport).Live().Get("work", "default")
		return ok
	})
	must[*appsv1.Deployment](t)(deployments.Create(t.Context(), deployment("work", "web", 300)))
	until(t, "exactly the pods", func() bool { return counted(pods, "work") >= 300 })
	until(t, "the status", func() bool {
		d, ok := deployments.Live().Get("work", "web")
		return ok && d.Status.Replicas == 300
	})
	if n := counted(pods, "work"); n != 300 {
		t.Errorf("%d pods, want 300: a lagging view was taken for missing pods", n)
	}
	must[struct{}](t)(struct{}{}, namespaces.Delete(t.Context(), "", "work", metav1.DeleteOptions{}))
	until(t, "the namespace gone", func() bool {
		_, ok := namespaces.Live().Get("", "work")
		return !ok && pods.Live().Len() == 0
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func counted(pods client.Client[*corev1.Pod], ns string) (n int) {
	for range pods.Live().All(ns) {
		n++
	}
	return n
}
