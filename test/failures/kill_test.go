package failures

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// connect gives clients without a rate limit of their own.
func connect(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// TestKill kills a master again and again while clients write and watch. Afterwards what the clients were told must be
// true: each acknowledged write is there, refused ones are not, and every watch saw each change once and in order.
func TestKill(t *testing.T) {
	const writers = 6
	random := rand.New(rand.NewSource(*seed))
	dir := t.TempDir() + "/data"
	server, err := process.Start(binary, dir, 0, "--simulate-nodes", "2")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { server.Kill() }()
	config, err := server.Config()
	if err != nil {
		t.Fatal(err)
	}
	port, err := server.Port()
	if err != nil {
		t.Fatal(err)
	}
	clients := connect(t, config)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	deploy(t, clients)

	book := newLedger()
	kinds := []subject{configMaps(clients), pods(clients)}
	var watchers []*watcher
	var watching sync.WaitGroup
	for _, k := range kinds {
		for range 2 {
			w := newWatcher(t, k)
			watchers = append(watchers, w)
			watching.Go(func() { w.run(ctx) })
		}
	}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	for i := range writers {
		w := &writer{name: fmt.Sprintf("writer-%d", i), subject: kinds[i%2], book: book, random: rand.New(rand.NewSource(*seed + int64(i)))}
		writing.Go(func() { w.run(ctx, stop) })
	}

	for round := 1; round <= *rounds; round++ {
		goal := book.count() + 20 + random.Intn(300)
		eventually(t, "progress of the writers", func() error {
			if n := book.count(); n < goal {
				return fmt.Errorf("%d of %d writes", n, goal)
			}
			return book.failure()
		})
		for _, w := range watchers {
			w.waitOpen(t, round)
		}
		scale(t, clients, int32(round))
		server.Kill()
		told := book.latest()
		if server, err = process.Start(binary, dir, port, "--simulate-nodes", "2"); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		list, err := kinds[0].list(ctx)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if now := revision(list.GetResourceVersion()); now < told {
			t.Fatalf("round %d: revision %d was acknowledged before the kill, now the store is at %d", round, told, now)
		}
		awaitScale(t, clients, int32(round))
	}

	close(stop)
	writing.Wait()
	if err := book.failure(); err != nil {
		t.Fatal(err)
	}
	for _, w := range watchers {
		w.waitFor(t)
	}
	cancel()
	watching.Wait()
	for _, k := range kinds {
		book.compareList(t, k)
	}
	for _, w := range watchers {
		book.compareEvents(t, w)
	}
	t.Logf("%d acknowledged writes, %d refused, %d without an answer", book.count(), book.refusals, book.unknown)
	if book.refusals == 0 {
		t.Error("no write was refused: the test has not tried stale writes")
	}
}

// deploy makes the Deployment whose controllers must go on.
func deploy(t *testing.T, clients *kubernetes.Clientset) {
	t.Helper()
	labels := map[string]string{"app": "web"}
	none := int32(0)
	_, err := clients.AppsV1().Deployments("default").Create(context.Background(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func scale(t *testing.T, clients *kubernetes.Clientset, replicas int32) {
	t.Helper()
	deployments := clients.AppsV1().Deployments("default")
	scale, err := deployments.GetScale(context.Background(), "web", metav1.GetOptions{})
	if err == nil {
		scale.Spec.Replicas = replicas
		scale.ResourceVersion = ""
		_, err = deployments.UpdateScale(context.Background(), "web", scale, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// awaitScale waits until deployment controller, scheduler and nodes have done what scale asked for.
func awaitScale(t *testing.T, clients *kubernetes.Clientset, replicas int32) {
	t.Helper()
	eventually(t, "the Deployment", func() error {
		d, err := clients.AppsV1().Deployments("default").Get(context.Background(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if *d.Spec.Replicas != replicas {
			t.Fatalf("the Deployment has %d replicas, %d were acknowledged", *d.Spec.Replicas, replicas)
		}
		if d.Status.ObservedGeneration != d.Generation || d.Status.ReadyReplicas != replicas {
			return fmt.Errorf("generation %d, status %+v", d.Generation, d.Status)
		}
		return nil
	})
}

// podsOf waits until the Deployment's controllers have made as many pods, whether they run or not.
func podsOf(t *testing.T, clients *kubernetes.Clientset, count int) {
	t.Helper()
	eventually(t, "the Deployment's pods", func() error {
		list, err := clients.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return err
		}
		there := 0
		for _, p := range list.Items {
			if p.DeletionTimestamp == nil {
				there++
			}
		}
		if there != count {
			return fmt.Errorf("%d of %d", there, count)
		}
		return nil
	})
}
