package clients

import (
	"context"
	"fmt"
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// TestInformers keeps informers running while objects churn and watches end again and again. An informer lists once, by a
// watch, and from then on only watches.
func TestInformers(t *testing.T) {
	for _, encoding := range encodings {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			testInformers(t, encoding)
		})
	}
}

func testInformers(t *testing.T, encoding string) {
	const watches = 4 // of each resource, before the test ends
	ctx := within(t)
	writes, namespace, _ := connect(t, encoding)
	reads, _, count := connect(t, encoding)
	second := int64(1)
	factory := informers.NewSharedInformerFactoryWithOptions(reads, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.TimeoutSeconds = &second }))
	resources := map[string]cache.SharedIndexInformer{
		"pods":        factory.Core().V1().Pods().Informer(),
		"deployments": factory.Apps().V1().Deployments().Informer(),
		"configmaps":  factory.Core().V1().ConfigMaps().Informer(),
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			t.Fatalf("%v has not synced: %s", kind, count)
		}
	}
	before := map[string]int{}
	for r := range resources {
		before[r] = count.of("watch-list " + r)
		if n := count.of("get " + r); n > 0 {
			t.Errorf("%s were listed %d times: watch-list was not accepted", r, n)
		}
	}

	podLabels := map[string]string{"app": "web"}
	for turn := int32(0); ; turn++ {
		replicas := turn%3 + 1
		name := fmt.Sprintf("web-%d", turn%2)
		_, err := writes.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: podLabels}, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: podLabels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web"}}}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writes.CoreV1().ConfigMaps(namespace).Create(ctx, configMap(fmt.Sprintf("turn-%d", turn), nil), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the Deployment in the informer", func() error {
			d, err := factory.Apps().V1().Deployments().Lister().Deployments(namespace).Get(name)
			if err == nil && d.Status.ReadyReplicas != replicas {
				err = fmt.Errorf("%+v", d.Status)
			}
			return err
		})
		if turn%2 == 1 {
			if err := writes.AppsV1().Deployments(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := writes.CoreV1().ConfigMaps(namespace).Delete(ctx, fmt.Sprintf("turn-%d", turn), metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		} else if err := writes.AppsV1().Deployments(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end of the Deployment's pods in the informer", func() error {
			pods, err := factory.Core().V1().Pods().Lister().Pods(namespace).List(labels.Everything())
			if err == nil && len(pods) > 0 {
				err = fmt.Errorf("%d pods", len(pods))
			}
			return err
		})
		enough := true
		for r := range resources {
			enough = enough && count.of("watch "+r) >= watches
		}
		if enough {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("watches do not end: %s", count)
		}
	}

	for r := range resources {
		if n := count.of("watch-list " + r); n != before[r] {
			t.Errorf("%s were listed again by %d watches", r, n-before[r])
		}
		if n := count.of("get " + r); n > 0 {
			t.Errorf("%s were listed again %d times", r, n)
		}
	}
	list, err := writes.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, o := range list.Items {
		want[o.Name] = o.ResourceVersion
	}
	eventually(t, "agreement of informer and list", func() error {
		have := map[string]string{}
		cached, err := factory.Core().V1().ConfigMaps().Lister().ConfigMaps(namespace).List(labels.Everything())
		for _, o := range cached {
			have[o.Name] = o.ResourceVersion
		}
		if !maps.Equal(have, want) {
			return fmt.Errorf("%v instead of %v (%v)", have, want, err)
		}
		return nil
	})
}

// TestInformerList runs an informer of a program that does not use watch-list: one list, then watches.
func TestInformerList(t *testing.T) {
	ctx := within(t)
	clients, namespace, count := connect(t, encodings[1])
	if _, err := clients.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("one", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	second := int64(1)
	lw := &cache.ListWatch{
		ListWithContextFunc: listOf(clients.CoreV1().ConfigMaps(namespace).List),
		WatchFuncWithContext: watchOf(func(o *metav1.ListOptions) {
			o.TimeoutSeconds = &second
		}, clients.CoreV1().ConfigMaps(namespace).Watch),
	}
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	reflector := cache.NewReflector(cache.ToListWatcherWithWatchListSemantics(lw, withoutWatchList{}), &corev1.ConfigMap{}, store, 0)
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		reflector.RunWithContext(running)
	}()
	defer func() { cancel(); <-ended }()
	eventually(t, "three watches", func() error {
		if count.of("watch configmaps") < 3 {
			return fmt.Errorf("%s", count)
		}
		return nil
	})
	if _, err := clients.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("two", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new object in the store", func() error {
		if _, there, err := store.GetByKey(namespace + "/two"); err != nil || !there {
			return fmt.Errorf("%v (%v)", store.ListKeys(), err)
		}
		return nil
	})
	if n := count.of("get configmaps"); n != 1 {
		t.Errorf("%d lists: %s", n, count)
	}
}
