package namespace

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile/reconciletest"
)

// emptied is a server with a namespace controller whose kinds come and go.
type emptied struct {
	*clienttest.Server
	kinds reconciletest.Kinds

	mu     sync.Mutex
	writes []string                     // guarded by mu
	status map[string]*corev1.Namespace // guarded by mu; as it was last written
}

// empty runs the controller.
func empty(t *testing.T, kinds ...*kind.Kind) (e *emptied, stop func()) {
	e = &emptied{Server: &clienttest.Server{}, status: map[string]*corev1.Namespace{}}
	e.Answer = e.answer
	e.kinds.Set(kinds...)
	b := reconcile.NewBuilder("namespace-controller", e.Server)
	b.Kinds, b.Options = &e.kinds, []any{&Options{}}
	c, err := b.Make(New)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func (e *emptied) answer(_ context.Context, r client.Request) (runtime.Object, error) {
	view := e.View(r.Kind)
	switch r.Verb {
	case kind.Get:
		if o, ok := view.Get(r.Namespace, r.Name); ok {
			return o, nil
		}
		return nil, apierrors.NewNotFound(r.Kind.GR(), r.Name)
	case kind.List:
		list := r.Kind.NewList()
		var items []runtime.Object
		for o := range view.All(r.Namespace) {
			items = append(items, o)
		}
		access, err := meta.ListAccessor(list)
		if err != nil {
			return nil, err
		}
		access.SetResourceVersion("1")
		return list, meta.SetList(list, items)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ns, ok := r.Object.(*corev1.Namespace); ok && r.Subresource == "status" {
		e.status[ns.Name] = ns
	} else {
		e.writes = append(e.writes, string(r.Verb)+" "+r.Kind.Plural+" "+r.Subresource)
	}
	if r.Verb == kind.DeleteCollection {
		for o := range view.All(r.Namespace) {
			e.Remove(r.Kind, o.GetNamespace(), o.GetName())
		}
	}
	return r.Object, nil
}

func (e *emptied) wrote(t *testing.T, want ...string) {
	t.Helper()
	time.Sleep(2 * again)
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.Sort(e.writes)
	if got := slices.Compact(e.writes); !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
	e.writes = nil
}

func staying(name string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u"}}
	ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
	return ns
}

func going(name string) *corev1.Namespace {
	ns := staying(name)
	ns.DeletionTimestamp = ptr.To(metav1.Unix(1, 0))
	return ns
}

// TestKindsThatComeAndGo: a namespace is emptied of the kinds that are there. One that has just come keeps it until its objects have
// gone, and until all of them have been seen; one that has gone keeps nothing.
func TestKindsThatComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		namespaces, maps, secrets := api.Of[*corev1.Namespace](), api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
		e, stop := empty(t, maps)

		content := func(namespace string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: "x"} }
		for _, name := range []string{"a", "b"} {
			e.Put(namespaces, staying(name))
			e.Put(maps, &corev1.ConfigMap{ObjectMeta: content(name)})
			e.Put(secrets, &corev1.Secret{ObjectMeta: content(name)})
		}
		e.Put(namespaces, going("a"))
		e.wrote(t, "deletecollection configmaps ", "update namespaces finalize")

		e.Hold(secrets)
		e.kinds.Set(maps, secrets)
		synctest.Wait()
		e.Put(namespaces, going("b"))
		e.wrote(t, "deletecollection configmaps ", "deletecollection secrets ") // there may be more of them
		e.Release(secrets)                                                      // which brings those of a, too
		time.Sleep(time.Minute)
		e.wrote(t, "deletecollection secrets ", "update namespaces finalize")

		e.kinds.Set(maps)
		synctest.Wait()
		e.Put(secrets, &corev1.Secret{ObjectMeta: content("b")})
		e.Put(namespaces, going("b"))
		e.wrote(t, "update namespaces finalize")
		stop()
	})
}

// TestStraysHoldNamespaces: a namespace stays while something is stored in it that no kind explains, and says so; and while a kind has
// come that the controller's loop has not heard of yet.
func TestStraysHoldNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		namespaces, maps, secrets := api.Of[*corev1.Namespace](), api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
		e, stop := empty(t, maps)
		e.kinds.SetStrays(func(namespace string, _ types.UID) error {
			if namespace == "a" {
				return apierrors.NewInternalError(errors.New("/registry/widgets/a/x is stored"))
			}
			return nil
		})
		e.Put(maps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "x"}})
		e.Put(namespaces, going("a"), going("b"))
		e.wrote(t, "deletecollection configmaps ", "update namespaces finalize")
		e.wrote(t)
		e.mu.Lock()
		remaining := meta.FindStatusCondition(metaConditions(e.status["a"].Status.Conditions), string(corev1.NamespaceContentRemaining))
		e.mu.Unlock()
		if remaining == nil || remaining.Status != metav1.ConditionTrue || !strings.Contains(remaining.Message, "/registry/widgets/a/x is stored") {
			t.Errorf("the namespace says %v", remaining)
		}
		e.kinds.SetStrays(nil)
		time.Sleep(time.Hour)
		e.wrote(t, "update namespaces finalize")

		e.Put(secrets, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "c", Name: "x"}})
		e.kinds.Slip(maps, secrets)
		e.Put(namespaces, going("c"))
		e.wrote(t)
		e.kinds.Set(maps, secrets)
		time.Sleep(time.Minute)
		e.wrote(t, "deletecollection secrets ", "update namespaces finalize")
		stop()
	})
}

func metaConditions(list []corev1.NamespaceCondition) (out []metav1.Condition) {
	for _, c := range list {
		out = append(out, metav1.Condition{Type: string(c.Type), Status: metav1.ConditionStatus(c.Status), Message: c.Message})
	}
	return out
}
