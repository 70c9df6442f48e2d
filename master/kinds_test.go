package master

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// TestKindsAtRunTime puts a kind into service in a running master. Its objects are found by discovery, collected with their owner,
// owners themselves, and go with their namespace; then the kind goes, and nothing is left that looks for it.
func TestKindsAtRunTime(t *testing.T) {
	ctx := t.Context()
	m, stop := startMaster(t, memory.New(), nil)
	defer stop()
	widget := kind.Define(kind.Resource{
		GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: "Widget", Plural: "widgets", Namespaced: true,
		List: kind.ListOf[corev1.ConfigMapList],
	}, kind.Rules[corev1.ConfigMap]{})
	clients := kubernetes.NewForConfigOrDie(m.RESTConfig())
	widgets := func(verb, path, body string) (string, error) {
		b, err := clients.RESTClient().Verb(verb).AbsPath("/apis/example.com/v1/namespaces/"+path).Body([]byte(body)).
			SetHeader("Content-Type", "application/json").DoRaw(ctx)
		return string(b), err
	}
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
		for deadline := time.Now().Add(30 * time.Second); !apierrors.IsNotFound(get()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is still there", what)
			}
		}
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
	if err := clients.CoreV1().Namespaces().Delete(ctx, "stays", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone("the other namespace", func() error {
		_, err := clients.CoreV1().Namespaces().Get(ctx, "stays", metav1.GetOptions{})
		return err
	})
}
