package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/retry"
)

// withoutWatchList tells a reflector that its client cannot do watch-list.
type withoutWatchList struct{}

// IsWatchListSemanticsUnSupported is what reflectors ask.
func (withoutWatchList) IsWatchListSemanticsUnSupported() bool { return true }

func listOf[T runtime.Object](list func(context.Context, metav1.ListOptions) (T, error)) func(context.Context, metav1.ListOptions) (runtime.Object, error) {
	return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return list(ctx, o) }
}

func watchOf(tweak func(*metav1.ListOptions), start func(context.Context, metav1.ListOptions) (watch.Interface, error)) func(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		tweak(&o)
		return start(ctx, o)
	}
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// TestLeaderElection elects one of two, and the other when the first gives up.
func TestLeaderElection(t *testing.T) {
	for _, encoding := range encodings {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			clients, namespace, _ := connect(t, encoding)
			var leaders atomic.Int32
			started := make(chan string, 2)
			stops := map[string]context.CancelFunc{}
			var running sync.WaitGroup
			for _, name := range []string{"a", "b"} {
				candidate, stop := context.WithCancel(ctx)
				stops[name] = stop
				lock, err := resourcelock.New(resourcelock.LeasesResourceLock, namespace, "leader", clients.CoreV1(), clients.CoordinationV1(),
					resourcelock.ResourceLockConfig{Identity: name})
				if err != nil {
					t.Fatal(err)
				}
				running.Go(func() {
					leaderelection.RunOrDie(candidate, leaderelection.LeaderElectionConfig{
						Lock: lock, ReleaseOnCancel: true, LeaseDuration: 30 * time.Second, RenewDeadline: 20 * time.Second, RetryPeriod: 100 * time.Millisecond,
						Callbacks: leaderelection.LeaderCallbacks{
							OnStartedLeading: func(leading context.Context) {
								if n := leaders.Add(1); n != 1 {
									t.Errorf("%d leaders", n)
								}
								started <- name
								<-leading.Done()
								leaders.Add(-1)
							},
							OnStoppedLeading: func() {},
						},
					})
				})
			}
			first := <-started
			stops[first]()
			select {
			case second := <-started:
				if second == first {
					t.Errorf("%s leads again after it gave up", first)
				}
				lease, err := clients.CoordinationV1().Leases(namespace).Get(ctx, "leader", metav1.GetOptions{})
				if err != nil || *lease.Spec.HolderIdentity != second || *lease.Spec.LeaseTransitions != 1 {
					t.Errorf("%v %v", lease.Spec, err)
				}
			case <-ctx.Done():
				t.Error("nobody took over")
			}
			for _, stop := range stops {
				stop()
			}
			running.Wait()
		})
	}
}

// TestDynamic does with unstructured objects what operators do.
func TestDynamic(t *testing.T) {
	ctx := within(t)
	_, namespace, _ := connect(t, encodings[0])
	c, _ := config("")
	client, err := dynamic.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	maps := client.Resource(configMaps).Namespace(namespace)
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion(), FieldSelector: "metadata.name=one"})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Stop()
	one := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "one"}, "data": map[string]any{"a": "1"}}}
	created, err := maps.Create(ctx, one, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.GetKind() != "ConfigMap" || created.GetAPIVersion() != "v1" || created.GetUID() == "" {
		t.Errorf("created: %v", created)
	}
	if _, err := maps.Patch(ctx, "one", types.JSONPatchType, []byte(`[{"op":"add","path":"/data/b","value":"2"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	applied, err := maps.Apply(ctx, "one", &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "one"}, "data": map[string]any{"c": "3"}}}, metav1.ApplyOptions{FieldManager: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	if data, _, _ := unstructured.NestedStringMap(applied.Object, "data"); fmt.Sprint(data) != "map[a:1 b:2 c:3]" {
		t.Errorf("data: %v", data)
	}
	if _, err := maps.Update(ctx, created, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old object: %v", err)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=one"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Modified, watch.Deleted} {
		select {
		case e := <-stream.ResultChan():
			if o, ok := e.Object.(*unstructured.Unstructured); e.Type != want || !ok || o.GetName() != "one" || o.GetKind() != "ConfigMap" {
				t.Errorf("%s instead of %s: %v", e.Type, want, e.Object)
			}
		case <-ctx.Done():
			t.Fatalf("no event %s", want)
		}
	}
}

// TestDiscovery finds resources by kind and short name, with few requests.
func TestDiscovery(t *testing.T) {
	c, count := config("")
	client, err := discovery.NewDiscoveryClientForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	groups, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	if count.of("get api")+count.of("get apis") != 2 || len(count.count) != 2 {
		t.Errorf("discovery is not aggregated: %s", count)
	}
	if len(groups) < 10 || len(lists) < len(groups) {
		t.Errorf("%d groups, %d lists", len(groups), len(lists))
	}
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client)), memory.NewMemCacheClient(client), func(w string) { t.Error(w) })
	for kind, want := range map[schema.GroupKind]string{
		{Kind: "Pod"}:                       "pods namespace",
		{Kind: "Node"}:                      "nodes root",
		{Group: "apps", Kind: "Deployment"}: "deployments namespace",
		{Group: "rbac.authorization.k8s.io", Kind: "Role"}: "roles namespace",
		{Group: "storage.k8s.io", Kind: "StorageClass"}:    "storageclasses root",
	} {
		m, err := mapper.RESTMapping(kind)
		if err != nil {
			t.Error(err)
			continue
		}
		if have := m.Resource.Resource + " " + string(m.Scope.Name()); have != want {
			t.Errorf("%v is %s, not %s", kind, have, want)
		}
	}
	for short, want := range map[string]string{"po": "pods", "deploy": "deployments", "cm": "configmaps", "rs": "replicasets", "sa": "serviceaccounts"} {
		r, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: short})
		if err != nil || r.Resource != want {
			t.Errorf("%s is %v, not %s (%v)", short, r, want, err)
		}
	}
	version, err := client.ServerVersion()
	if err != nil || version.Major != "1" || version.Minor != "37" {
		t.Errorf("%v %v", version, err)
	}
	if document, err := client.OpenAPISchema(); err != nil || len(document.GetDefinitions().GetAdditionalProperties()) < 200 {
		t.Errorf("OpenAPI v2: %v", err)
	}
	paths, err := client.OpenAPIV3().Paths()
	if err != nil || paths["api/v1"] == nil || paths["apis/apps/v1"] == nil {
		t.Errorf("OpenAPI v3: %v %v", len(paths), err)
	}
}

// TestMetadata reads only what all objects have in common, as garbage collectors do.
func TestMetadata(t *testing.T) {
	for _, encoding := range encodings {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			clients, namespace, _ := connect(t, encoding)
			c, _ := config(encoding)
			if encoding == runtime.ContentTypeJSON {
				c.AcceptContentTypes = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
			}
			client, err := metadata.NewForConfig(c)
			if err != nil {
				t.Fatal(err)
			}
			maps := client.Resource(configMaps).Namespace(namespace)
			list, err := maps.List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			stream, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Stop()
			o := configMap("meta", map[string]string{"a": "1"})
			o.Labels = map[string]string{"l": "x"}
			created, err := clients.CoreV1().ConfigMaps(namespace).Create(ctx, o, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			list, err = maps.List(ctx, metav1.ListOptions{LabelSelector: "l=x"})
			if err != nil || len(list.Items) != 1 || list.Items[0].UID != created.UID || list.Items[0].ResourceVersion != created.ResourceVersion {
				t.Fatalf("%+v %v", list, err)
			}
			patched, err := maps.Patch(ctx, "meta", types.MergePatchType, []byte(`{"metadata":{"labels":{"l":"y"}}}`), metav1.PatchOptions{})
			if err != nil || patched.Labels["l"] != "y" {
				t.Fatalf("%+v %v", patched, err)
			}
			for seen := ""; seen != "x y "; {
				select {
				case e := <-stream.ResultChan():
					m, ok := e.Object.(*metav1.PartialObjectMetadata)
					if !ok || e.Type == watch.Error {
						t.Fatalf("%s %T %v", e.Type, e.Object, e.Object)
					}
					if m.Name == "meta" {
						seen += m.Labels["l"] + " "
					}
				case <-ctx.Done():
					t.Fatalf("seen: %s", seen)
				}
			}
			full, err := clients.CoreV1().ConfigMaps(namespace).Get(ctx, "meta", metav1.GetOptions{})
			if err != nil || full.Data["a"] != "1" {
				t.Errorf("a patch of metadata has changed the data: %v %v", full, err)
			}
		})
	}
}

// TestApply lets two managers apply the same object: fields are shared, a conflict is told, force takes over.
func TestApply(t *testing.T) {
	for _, encoding := range encodings {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			clients, namespace, _ := connect(t, encoding)
			maps := clients.CoreV1().ConfigMaps(namespace)
			apply := func(manager string, force bool, data map[string]string) (*corev1.ConfigMap, error) {
				return maps.Apply(ctx, applycorev1.ConfigMap("applied", namespace).WithData(data), metav1.ApplyOptions{FieldManager: manager, Force: force})
			}
			if _, err := apply("one", false, map[string]string{"a": "1", "b": "1"}); err != nil {
				t.Fatal(err)
			}
			_, err := apply("two", false, map[string]string{"a": "2", "c": "2"})
			if !apierrors.IsConflict(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
				t.Fatalf("no conflict: %v", err)
			}
			if _, err := apply("two", true, map[string]string{"a": "2", "c": "2"}); err != nil {
				t.Fatal(err)
			}
			o, err := apply("one", false, map[string]string{"b": "1"})
			if err != nil || fmt.Sprint(o.Data) != "map[a:2 b:1 c:2]" {
				t.Fatalf("%v %v", o.Data, err)
			}
			again, err := apply("one", false, map[string]string{"b": "1"})
			if err != nil || again.ResourceVersion != o.ResourceVersion {
				t.Errorf("applying the same again wrote: %s, %s, %v", o.ResourceVersion, again.ResourceVersion, err)
			}
			extracted, err := applycorev1.ExtractConfigMap(again, "two")
			if err != nil || fmt.Sprint(extracted.Data) != "map[a:2 c:2]" {
				t.Errorf("%v %v", extracted, err)
			}
			if o, err = apply("one", false, nil); err != nil || fmt.Sprint(o.Data) != "map[a:2 c:2]" {
				t.Errorf("%v %v", o.Data, err)
			}
		})
	}
}

// TestPager reads a list in pages: all of one moment, whatever is written meanwhile.
func TestPager(t *testing.T) {
	for _, encoding := range encodings {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			const objects, page = 57, 10
			ctx := within(t)
			clients, namespace, count := connect(t, encoding)
			maps := clients.CoreV1().ConfigMaps(namespace)
			for i := range objects {
				o := configMap(fmt.Sprintf("m-%02d", i), nil)
				o.Labels = map[string]string{"paged": ""}
				if _, err := maps.Create(ctx, o, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			pages := &pager.ListPager{PageSize: page, PageFn: listOf(maps.List)}
			var names []string
			err := pages.EachListItem(ctx, metav1.ListOptions{LabelSelector: "paged"}, func(o runtime.Object) error {
				m := o.(*corev1.ConfigMap)
				names = append(names, m.Name)
				if len(names) != 1 {
					return nil
				}
				late := configMap("m-99", nil) // the other pages must not hold it
				late.Labels = map[string]string{"paged": ""}
				_, err := maps.Create(ctx, late, metav1.CreateOptions{})
				return errors.Join(err, maps.Delete(ctx, "m-30", metav1.DeleteOptions{}))
			})
			if err != nil {
				t.Fatal(err)
			}
			for i, name := range names {
				if want := fmt.Sprintf("m-%02d", i); name != want {
					t.Fatalf("%s in place of %s", name, want)
				}
			}
			if len(names) != objects {
				t.Errorf("%d of %d objects", len(names), objects)
			}
			if n := count.of("get configmaps"); n != (objects+page-1)/page {
				t.Errorf("%d pages", n)
			}
		})
	}
}

// TestUntil waits for a pod as programs do that start one and need its end.
func TestUntil(t *testing.T) {
	for _, encoding := range encodings {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			clients, namespace, _ := connect(t, encoding)
			pods := clients.CoreV1().Pods(namespace)
			_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "job", Annotations: map[string]string{"simulate.wheelhouse.dev/run-seconds": "1"}}, Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "job"}}}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			lw := &cache.ListWatch{ListWithContextFunc: listOf(pods.List), WatchFuncWithContext: watchOf(func(*metav1.ListOptions) {}, pods.Watch)}
			e, err := toolswatch.UntilWithSync(ctx, lw, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
				return e.Object.(*corev1.Pod).Status.Phase == corev1.PodSucceeded, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if name := e.Object.(*corev1.Pod).Name; name != "job" {
				t.Errorf("%s has succeeded", name)
			}
		})
	}
}

// TestTableWatch watches as kubectl get -w does: the columns come with the first row only.
func TestTableWatch(t *testing.T) {
	ctx := within(t)
	clients, namespace, _ := connect(t, encodings[0])
	if _, err := clients.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("first", map[string]string{"a": "", "b": ""}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c, _ := config("")
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Host+"/api/v1/namespaces/"+namespace+"/configmaps?watch=true&labelSelector=!kube&fieldSelector=metadata.name!=kube-root-ca.crt", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	for i, name := range []string{"first", "second"} {
		if i == 1 {
			if _, err := clients.CoreV1().ConfigMaps(namespace).Create(ctx, configMap(name, nil), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		var e struct {
			Type   string
			Object metav1.Table
		}
		if err := decoder.Decode(&e); err != nil {
			t.Fatal(err)
		}
		table := e.Object
		if e.Type != "ADDED" || table.Kind != "Table" || len(table.Rows) != 1 || table.Rows[0].Cells[0] != name {
			t.Fatalf("%+v", e)
		}
		if wantColumns := i == 0; (len(table.ColumnDefinitions) > 0) != wantColumns {
			t.Errorf("event %d has %d columns", i, len(table.ColumnDefinitions))
		}
		var m metav1.PartialObjectMetadata
		if err := json.Unmarshal(table.Rows[0].Object.Raw, &m); err != nil || m.Kind != "PartialObjectMetadata" || m.Name != name || m.ResourceVersion == "" {
			t.Errorf("row's object: %s (%v)", table.Rows[0].Object.Raw, err)
		}
	}
	response.Body.Close()
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("the watch ended by itself")
	}
}

// TestConflicts counts with 20 writers at once; each that loses reads again and tries again.
func TestConflicts(t *testing.T) {
	for _, encoding := range encodings {
		t.Run(encoding, func(t *testing.T) {
			const writers, each = 20, 5
			ctx := within(t)
			clients, namespace, _ := connect(t, encoding)
			maps := clients.CoreV1().ConfigMaps(namespace)
			if _, err := maps.Create(ctx, configMap("counter", map[string]string{"n": "0"}), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			var running sync.WaitGroup
			var conflicts atomic.Int32
			for range writers {
				running.Go(func() {
					for range each {
						err := retry.RetryOnConflict(wait.Backoff{Steps: 10000, Duration: time.Millisecond, Jitter: 1}, func() error {
							o, err := maps.Get(ctx, "counter", metav1.GetOptions{})
							if err != nil {
								return err
							}
							var n int
							if _, err := fmt.Sscan(o.Data["n"], &n); err != nil {
								return err
							}
							o.Data["n"] = fmt.Sprint(n + 1)
							_, err = maps.Update(ctx, o, metav1.UpdateOptions{})
							if apierrors.IsConflict(err) {
								conflicts.Add(1)
							}
							return err
						})
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			running.Wait()
			o, err := maps.Get(ctx, "counter", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprint(writers * each); o.Data["n"] != want {
				t.Errorf("%s increments instead of %s", o.Data["n"], want)
			}
			if conflicts.Load() == 0 {
				t.Error("no conflict: the writers were never at work at once")
			}
		})
	}
}
