package apiserver_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// inEveryFormat runs a test with client-go speaking JSON and protobuf.
func inEveryFormat(t *testing.T, test func(t *testing.T, h *house, c *kubernetes.Clientset)) {
	for _, contentType := range []string{plain, protobuf} {
		t.Run(contentType, func(t *testing.T) {
			h := newHouse(t, nil)
			test(t, h, h.client(contentType))
		})
	}
}

func TestPodsLife(t *testing.T) {
	inEveryFormat(t, func(t *testing.T, _ *house, c *kubernetes.Clientset) {
		ctx, pods := t.Context(), c.CoreV1().Pods("default")
		created, err := pods.Create(ctx, pod("web"), metav1.CreateOptions{})
		if err != nil || created.UID == "" || created.ResourceVersion == "" || created.Status.Phase != corev1.PodPending {
			t.Fatalf("created %+v, %v", created, err)
		}
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
		if err := pods.Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := pods.Bind(ctx, binding, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
			t.Errorf("bound twice: %v", err)
		}
		bound, err := pods.Get(ctx, "web", metav1.GetOptions{})
		if err != nil || bound.Spec.NodeName != "n1" || len(bound.Status.Conditions) != 1 || bound.Status.Conditions[0].Type != corev1.PodScheduled {
			t.Fatalf("bound %+v, %v", bound, err)
		}
		bound.Status.Phase = corev1.PodRunning
		running, err := pods.UpdateStatus(ctx, bound, metav1.UpdateOptions{})
		if err != nil || running.Status.Phase != corev1.PodRunning {
			t.Fatalf("running %+v, %v", running, err)
		}
		list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1", LabelSelector: "app=web"})
		if err != nil || len(list.Items) != 1 || list.ResourceVersion == "" {
			t.Fatalf("list %+v, %v", list, err)
		}
		seconds := int64(5)
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "web"}, DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: &seconds}}
		if err := pods.EvictV1(ctx, eviction); err != nil {
			t.Fatal(err)
		}
		going, err := pods.Get(ctx, "web", metav1.GetOptions{})
		if err != nil || going.DeletionTimestamp == nil || *going.DeletionGracePeriodSeconds != 5 ||
			!slices.ContainsFunc(going.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget }) {
			t.Fatalf("evicted %+v, %v", going, err)
		}
		now := int64(0)
		if err := pods.Delete(ctx, "web", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Fatal(err)
		}
		if _, err := pods.Get(ctx, "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestScale(t *testing.T) {
	inEveryFormat(t, func(t *testing.T, _ *house, c *kubernetes.Clientset) {
		ctx, deployments := t.Context(), c.AppsV1().Deployments("default")
		two := int32(2)
		labels := map[string]string{"app": "web"}
		if _, err := deployments.Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: &two,
			Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("x").Spec}}},
			metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
		if err != nil || scale.Spec.Replicas != 2 || scale.Status.Selector != "app=web" {
			t.Fatalf("scale %+v, %v", scale, err)
		}
		old := scale.DeepCopy()
		scale.Spec.Replicas = 5
		if scale, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); err != nil || scale.Spec.Replicas != 5 {
			t.Fatalf("scaled %+v, %v", scale, err)
		}
		if _, err := deployments.UpdateScale(ctx, "web", old, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			t.Errorf("scaled from an old state: %v", err)
		}
		scale.Spec.Replicas = -1
		if _, err := deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("scaled below zero: %v", err)
		}
		var result autoscalingv1.Scale
		if err := c.AppsV1().RESTClient().Patch(types.MergePatchType).Namespace("default").Resource("deployments").Name("web").SubResource("scale").
			Body([]byte(`{"spec":{"replicas":7}}`)).Do(ctx).Into(&result); err != nil || result.Spec.Replicas != 7 {
			t.Errorf("after the patch: %+v, %v", result, err)
		}
		d, err := deployments.Get(ctx, "web", metav1.GetOptions{})
		if err != nil || *d.Spec.Replicas != 7 || d.Generation != 3 {
			t.Errorf("deployment %+v, %v", d, err)
		}
	})
}

func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch has ended")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event came")
	}
	panic("unreachable")
}

func TestWatch(t *testing.T) {
	inEveryFormat(t, func(t *testing.T, _ *house, c *kubernetes.Clientset) {
		ctx, maps := t.Context(), c.CoreV1().ConfigMaps("default")
		first, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		yes := true
		w, err := maps.Watch(ctx, metav1.ListOptions{SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		if e := next(t, w); e.Type != watch.Added || e.Object.(*corev1.ConfigMap).UID != first.UID {
			t.Errorf("first event %+v", e)
		}
		if e := next(t, w); e.Type != watch.Bookmark || e.Object.(*corev1.ConfigMap).Annotations[metav1.InitialEventsAnnotationKey] != "true" {
			t.Errorf("end of the initial events: %+v", e)
		}
		if _, err := maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"k":"v"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := maps.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		changed, deleted := next(t, w), next(t, w)
		if changed.Type != watch.Modified || changed.Object.(*corev1.ConfigMap).Data["k"] != "v" {
			t.Errorf("change %+v", changed)
		}
		if deleted.Type != watch.Deleted || deleted.Object.(*corev1.ConfigMap).ResourceVersion <= changed.Object.(*corev1.ConfigMap).ResourceVersion {
			t.Errorf("deletion %+v after %+v", deleted, changed)
		}
		one := int64(1)
		short, err := maps.Watch(ctx, metav1.ListOptions{TimeoutSeconds: &one, AllowWatchBookmarks: true, ResourceVersion: first.ResourceVersion})
		if err != nil {
			t.Fatal(err)
		}
		var seen []watch.EventType
		for e := range short.ResultChan() {
			seen = append(seen, e.Type)
		}
		if want := []watch.EventType{watch.Modified, watch.Deleted, watch.Bookmark}; !slices.Equal(seen, want) {
			t.Errorf("a watch with a timeout gave %v, want %v", seen, want)
		}
	})
}

func TestInformerNeverListsAgain(t *testing.T) {
	inEveryFormat(t, func(t *testing.T, _ *house, c *kubernetes.Clientset) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		factory := informers.NewSharedInformerFactory(c, 0)
		lister := factory.Core().V1().Pods().Lister()
		informer := factory.Core().V1().Pods().Informer()
		factory.Start(ctx.Done())
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			t.Fatal("no sync")
		}
		for i := range 20 {
			if _, err := c.CoreV1().Pods("default").Create(ctx, pod(fmt.Sprintf("p-%d", i)), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
			_, err := lister.Pods("default").Get("p-19")
			return err == nil, nil
		}); err != nil {
			t.Fatal("the informer did not see the pods")
		}
		cancel()
		factory.Shutdown()
	})
}

func TestShutdownEndsWatches(t *testing.T) {
	h := newHouse(t, nil)
	w, err := h.client(protobuf).CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.stop()
	for range w.ResultChan() {
		t.Error("an event came from nowhere")
	}
	select {
	case <-h.stopped:
	case <-time.After(5 * time.Second):
		t.Error("the server does not stop")
	}
}

func TestWithinTheProcess(t *testing.T) {
	s := newServer(t, nil)
	pods := apiserver.Request{User: root, Kind: podKind(), Namespace: "default"}
	create := pods
	create.Verb, create.Object, create.UserAgent = "create", pod("web"), "replicaset-controller"
	resp, err := s.Do(t.Context(), &create)
	if err != nil || resp.Code != 201 || resp.Item.Object().GetManagedFields()[0].Manager != "replicaset-controller" {
		t.Fatalf("create: %+v, %v", resp, err)
	}
	get := pods
	get.Verb, get.Name = "get", "web"
	if resp, err = s.Do(t.Context(), &get); err != nil || resp.Item.Object().GetName() != "web" {
		t.Fatalf("get: %+v, %v", resp, err)
	}
	get.User = guest
	if _, err := s.Do(t.Context(), &get); !apierrors.IsForbidden(err) {
		t.Errorf("a guest reads: %v", err)
	}
	list := pods
	list.Verb, list.ListOptions.LabelSelector = "list", "app=web"
	if resp, err = s.Do(t.Context(), &list); err != nil || len(resp.List.Items) != 1 {
		t.Errorf("list: %+v, %v", resp, err)
	}
	remove := get
	remove.User, remove.Verb = root, "delete"
	if resp, err = s.Do(t.Context(), &remove); err != nil || resp.Item == nil {
		t.Errorf("delete: %+v, %v", resp, err)
	}
}
