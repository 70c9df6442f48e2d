package master

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// TestTreesAreOrphaned: owners go and leave trees behind, which keep their other owners. A tree takes no strategic merge patch.
func TestTreesAreOrphaned(t *testing.T) {
	ctx := t.Context()
	m, stop := startMaster(t, memory.New(), nil)
	defer stop()
	if err := m.server.api.Install(ctx, treeKind()); err != nil {
		t.Fatal(err)
	}
	widgets := dynamic.NewForConfigOrDie(m.RESTConfig()).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}).Namespace("default")
	maps := kubernetes.NewForConfigOrDie(m.RESTConfig()).CoreV1().ConfigMaps("default")
	uid := map[string]string{}
	for _, name := range []string{"left", "kept", "gone"} {
		o, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		uid[name] = string(o.UID)
	}
	text := `{"metadata":{"name":"w","ownerReferences":[`
	for n, name := range []string{"left", "kept", "gone"} {
		if n > 0 {
			text += ","
		}
		text += fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","name":%q,"uid":%q,"blockOwnerDeletion":true}`, name, uid[name])
	}
	if _, err := widgets.Create(ctx, parse(t, text+`]},"spec":{"size":1}}`), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, policy := range map[string]metav1.DeletionPropagation{"left": metav1.DeletePropagationOrphan, "gone": metav1.DeletePropagationForeground} {
		if err := maps.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	owners := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		w, err := widgets.Get(ctx, "w", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		owners = ""
		for _, ref := range w.GetOwnerReferences() {
			owners += ref.Name + " "
		}
		list, err := maps.List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		there := ""
		for _, o := range list.Items {
			if uid[o.Name] != "" {
				there += o.Name + " "
			}
		}
		if owners == "kept " && there == "kept " {
			if got := member(w, "spec", "size"); got != "1" {
				t.Errorf("the spec is %s", got)
			}
			return
		}
	}
	t.Fatalf("the owners are %q", owners)
}
