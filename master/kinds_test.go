package master

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

func widgetKind() *kind.Kind {
	return kind.Define(kind.Resource{
		GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: "Widget", Plural: "widgets", Namespaced: true,
		List: kind.ListOf[corev1.ConfigMapList],
	}, kind.Rules[corev1.ConfigMap]{})
}

// widgetsOf sends a request; path begins with the namespace.
func widgetsOf(ctx context.Context, clients kubernetes.Interface, verb, path, body string) (string, error) {
	b, err := clients.CoreV1().RESTClient().Verb(verb).AbsPath("/apis/example.com/v1/namespaces/"+path).Body([]byte(body)).
		SetHeader("Content-Type", "application/json").DoRaw(ctx)
	return string(b), err
}

// until waits for what must come.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(45 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestKindsAtRunTime puts a kind into service in a running master. Its objects are found by discovery, collected with their owner,
// owners themselves, and go with their namespace; then the kind goes.
func TestKindsAtRunTime(t *testing.T) {
	for form, widget := range map[string]*kind.Kind{"generated": widgetKind(), "tree": treeKind()} {
		t.Run(form, func(t *testing.T) { kindAtRunTime(t, widget) })
	}
}

func kindAtRunTime(t *testing.T, widget *kind.Kind) {
	ctx := t.Context()
	m, stop := startMaster(t, memory.New(), nil)
	defer stop()
	clients := kubernetes.NewForConfigOrDie(m.RESTConfig())
	widgets := func(verb, path, body string) (string, error) { return widgetsOf(ctx, clients, verb, path, body) }
	if err := m.server.api.Install(ctx, widget); err != nil {
		t.Fatal(err)
	}
	if list, err := clients.Discovery().ServerResourcesForGroupVersion("example.com/v1"); err != nil || list.APIResources[0].Name != "widgets" {
		t.Errorf("discovery: %v, %v", list, err)
	}
	for _, ns := range []string{"stays", "goes"} {
		if _, err := clients.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	owner, err := clients.CoreV1().ConfigMaps("stays").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	reference := fmt.Sprintf(`"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"%s"}]`, owner.UID)
	for path, metadata := range map[string]string{"stays/owned": reference, "stays/free": `"labels":{"a":"b"}`, "goes/one": `"finalizers":[]`} {
		ns, name, _ := strings.Cut(path, "/")
		if answer, err := widgets("POST", ns+"/widgets", `{"metadata":{"name":"`+name+`",`+metadata+`}}`); err != nil {
			t.Fatal(answer, err)
		}
	}
	if err := clients.CoreV1().ConfigMaps("stays").Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := clients.CoreV1().Namespaces().Delete(ctx, "goes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := func(what string, get func() error) {
		t.Helper()
		until(t, what+" has gone", func() bool { return apierrors.IsNotFound(get()) })
	}
	gone("the owned widget", func() error { _, err := widgets("GET", "stays/widgets/owned", ""); return err })
	gone("the namespace", func() error {
		_, err := clients.CoreV1().Namespaces().Get(ctx, "goes", metav1.GetOptions{})
		return err
	})
	if answer, err := widgets("GET", "stays/widgets/free", ""); err != nil {
		t.Errorf("the widget without an owner: %s %v", answer, err)
	}
	if err := m.server.api.Uninstall(ctx, widget); err != nil {
		t.Fatal(err)
	}
	gone("the kind", func() error { _, err := widgets("GET", "stays/widgets", ""); return err })
	var status int
	clients.RESTClient().Get().AbsPath("/apis/example.com/v1").Do(ctx).StatusCode(&status)
	if status != http.StatusNotFound {
		t.Errorf("discovery of the group that has gone: %d", status)
	}
}

// TestKindThatLeftObjects removes a kind whose objects are still stored. Nothing lets go of them meanwhile, on this master or on one that has
// never heard of the kind: neither their namespace nor their owners. When the kind is back, all goes its way.
func TestKindThatLeftObjects(t *testing.T) {
	ctx, s := t.Context(), memory.New()
	m, stop := startMaster(t, s, nil)
	clients := kubernetes.NewForConfigOrDie(m.RESTConfig())
	if err := m.server.api.Install(ctx, widgetKind()); err != nil {
		t.Fatal(err)
	}
	owner := map[string]string{}
	for _, ns := range []string{"stays", "goes"} {
		if _, err := clients.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"orphaning", "foreground"} {
		o, err := clients.CoreV1().ConfigMaps("stays").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		owner[name] = fmt.Sprintf(`"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"%s","uid":"%s","blockOwnerDeletion":true}]`, name, o.UID)
	}
	for path, metadata := range map[string]string{"stays/orphan": owner["orphaning"], "stays/child": owner["foreground"], "goes/one": `"labels":{}`} {
		ns, name, _ := strings.Cut(path, "/")
		if answer, err := widgetsOf(ctx, clients, "POST", ns+"/widgets", `{"metadata":{"name":"`+name+`",`+metadata+`}}`); err != nil {
			t.Fatal(answer, err)
		}
	}
	if err := m.server.api.Uninstall(ctx, widgetKind()); err != nil {
		t.Fatal(err)
	}
	for name, policy := range map[string]metav1.DeletionPropagation{"orphaning": metav1.DeletePropagationOrphan, "foreground": metav1.DeletePropagationForeground} {
		if err := clients.CoreV1().ConfigMaps("stays").Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	if err := clients.CoreV1().Namespaces().Delete(ctx, "goes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// held waits until both controllers have judged what was deleted; owners of nothing are not held.
	held := func(deleted string) {
		t.Helper()
		until(t, "the namespace says what holds it", func() bool {
			ns, err := clients.CoreV1().Namespaces().Get(ctx, "goes", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(ns.Status.Conditions, func(c corev1.NamespaceCondition) bool {
				return c.Type == corev1.NamespaceContentRemaining && strings.Contains(c.Message, "widgets/goes/one")
			})
		})
		for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationOrphan, metav1.DeletePropagationForeground} {
			name := deleted + strings.ToLower(string(policy))
			if _, err := clients.CoreV1().ConfigMaps("stays").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := clients.CoreV1().ConfigMaps("stays").Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
				t.Fatal(err)
			}
			until(t, name+" has gone", func() bool {
				_, err := clients.CoreV1().ConfigMaps("stays").Get(ctx, name, metav1.GetOptions{})
				return apierrors.IsNotFound(err)
			})
		}
		for _, name := range []string{"orphaning", "foreground"} {
			if _, err := clients.CoreV1().ConfigMaps("stays").Get(ctx, name, metav1.GetOptions{}); err != nil {
				t.Errorf("%s was let go: %v", name, err)
			}
		}
	}
	held("first-")
	stop()
	m, _ = startMaster(t, s, nil)
	clients = kubernetes.NewForConfigOrDie(m.RESTConfig())
	held("second-")

	if err := m.server.api.Install(ctx, widgetKind()); err != nil {
		t.Fatal(err)
	}
	until(t, "the namespace and the owners have gone", func() bool {
		_, ns := clients.CoreV1().Namespaces().Get(ctx, "goes", metav1.GetOptions{})
		_, orphaning := clients.CoreV1().ConfigMaps("stays").Get(ctx, "orphaning", metav1.GetOptions{})
		_, foreground := clients.CoreV1().ConfigMaps("stays").Get(ctx, "foreground", metav1.GetOptions{})
		return apierrors.IsNotFound(ns) && apierrors.IsNotFound(orphaning) && apierrors.IsNotFound(foreground)
	})
	if answer, err := widgetsOf(ctx, clients, "GET", "stays/widgets/orphan", ""); err != nil || strings.Contains(answer, "ownerReferences") {
		t.Errorf("the orphan: %s %v", answer, err)
	}
	if _, err := widgetsOf(ctx, clients, "GET", "stays/widgets/child", ""); !apierrors.IsNotFound(err) {
		t.Errorf("the child: %v", err)
	}
}

// TestViewsOfVersions: each version of what one kind stores has a view of its own. Nobody is told that a view is fresh of a kind which is
// not served.
func TestViewsOfVersions(t *testing.T) {
	s := memory.New()
	defer s.Close()
	secret := kind.Define(kind.Resource{
		GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v2"}, Kind: "Widget", Plural: "widgets", Namespaced: true,
		List: kind.ListOf[corev1.SecretList],
		Via: &kind.Conversion{
			Stored: widgetKind().GR(), StoredVersion: "v1",
			ToStored: func(o kind.Object) (kind.Object, error) {
				return &corev1.ConfigMap{ObjectMeta: o.(*corev1.Secret).ObjectMeta}, nil
			},
			FromStored: func(o kind.Object) (kind.Object, error) {
				return &corev1.Secret{ObjectMeta: o.(*corev1.ConfigMap).ObjectMeta}, nil
			},
		},
	}, kind.Rules[corev1.Secret]{})
	stored := widgetKind()
	r, err := registry.New(registry.Options{Store: s, Kinds: []*kind.Kind{stored, secret}})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.Run(t.Context()) }()
	<-r.Ready()
	widgets, _ := r.ResourceFor(stored)
	if _, err := widgets.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "x"}}, registry.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	transport := &inProcess{registry: r}
	for _, k := range []*kind.Kind{stored, secret} {
		o, ok := transport.View(k).Get("a", "x")
		if !ok || reflect.TypeOf(o) != reflect.TypeOf(k.New()) {
			t.Errorf("the view of %s shows a %T", k.GVK, o)
		}
	}
	strange := *stored
	strange.Plural = "gadgets"
	if err := transport.Fresh(t.Context(), stored, secret); err != nil {
		t.Error(err)
	}
	if err := transport.Fresh(t.Context(), stored, &strange); !errors.Is(err, client.ErrNotServed) {
		t.Errorf("fresh of a kind that is not served: %v", err)
	}
}
