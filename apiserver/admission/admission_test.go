package admission

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// world is a chain on a registry that holds the namespace n with its default service account.
type world struct {
	t        testing.TB
	registry *registry.Registry
	chain    *Chain
	rights   *auth.Authorizer
}

func newWorld(t testing.TB, edit func(o *Options)) *world {
	t.Helper()
	s := memory.New()
	r, err := registry.New(registry.Options{Store: s, Kinds: api.Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	z, err := auth.NewAuthorizer(r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wait sync.WaitGroup
		wait.Go(func() { z.Run(ctx) })
		r.Run(ctx)
		wait.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		s.Close()
	})
	<-r.Ready()
	o := Options{Registry: r, Catalog: api.Catalog(), Authorizer: z}
	if edit != nil {
		edit(&o)
	}
	chain, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, r, chain, z}
	w.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	w.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "default"}})
	return w
}

func infoOf(t testing.TB, obj runtime.Object) *kind.Kind {
	t.Helper()
	for _, k := range api.Kinds() {
		if k.New != nil && reflect.TypeOf(k.New()) == reflect.TypeOf(obj) {
			return k
		}
	}
	t.Fatalf("no kind for %T", obj)
	return nil
}

func (w *world) store(obj kind.Object) kind.Object {
	w.t.Helper()
	k := infoOf(w.t, obj)
	res, _ := w.registry.Resource(k.GR())
	k.Default(obj)
	item, err := res.Create(w.t.Context(), obj, registry.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.fresh()
	return item.Object()
}

func (w *world) fresh() {
	w.t.Helper()
	if _, err := w.registry.Fresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// ask is one request for admission.
type ask struct {
	operation   admission.Operation
	obj, old    kind.Object
	body        runtime.Object // of a subresource, instead of obj
	subresource string
	name        string
	user        user.Info
}

func (w *world) attributes(q ask) admission.Attributes {
	w.t.Helper()
	subject := q.obj
	if subject == nil {
		subject = q.old
	}
	k := infoOf(w.t, subject)
	var obj, old runtime.Object
	if q.obj != nil {
		obj = q.obj
	}
	if q.body != nil {
		obj = q.body
	}
	if q.old != nil {
		old = q.old
	}
	if q.operation == "" {
		q.operation = admission.Create
	}
	if q.user == nil {
		q.user = &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	}
	if q.name == "" && q.operation != admission.Create {
		q.name = subject.GetName()
	}
	return admission.NewAttributesRecord(obj, old, k.GVK, subject.GetNamespace(), q.name, k.GVR(), q.subresource, q.operation, nil, false, q.user)
}

// admit runs both phases.
func (w *world) admit(q ask) error {
	w.t.Helper()
	a := w.attributes(q)
	if err := w.chain.Admit(w.t.Context(), a, nil); err != nil {
		return err
	}
	return w.chain.Validate(w.t.Context(), a, nil)
}

// expect compares an error with a part of its text; empty means none. All refusals are 403 but those that begin with a code.
func expect(t testing.TB, step string, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v", step, err)
		}
		return
	}
	code := int32(403)
	for _, other := range []int32{404, 500} {
		if text, ok := strings.CutPrefix(want, fmt.Sprint(other, " ")); ok {
			code, want = other, text
		}
	}
	status, ok := err.(*apierrors.StatusError)
	if !ok || status.ErrStatus.Code != code || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v\nwant %d %s", step, err, code, want)
	}
}

// parsePod reads a pod of the namespace n.
func parsePod(t testing.TB, text string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p"}}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if len(p.Spec.Containers) == 0 {
		p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	}
	infoOf(t, p).Default(p)
	return p
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"unknown":         {Options{Enable: []string{"Nope"}}, `--enable-admission-plugins: unknown plugin "Nope"`},
		"unknown off":     {Options{Disable: []string{"Nope"}}, `--disable-admission-plugins: unknown plugin "Nope"`},
		"not there":       {Options{Enable: []string{"ValidatingAdmissionWebhook"}}, `does not have the plugin "ValidatingAdmissionWebhook"`},
		"no limits":       {Options{Enable: []string{"EventRateLimit"}}, `EventRateLimit has no limits`},
		"no webhook":      {Options{Enable: []string{"ImagePolicyWebhook"}}, `ImagePolicyWebhook needs a configuration`},
		"both":            {Options{Enable: []string{"Priority"}, Disable: []string{"Priority"}}, `"Priority" is enabled and disabled`},
		"no name of ours": {Options{Disable: []string{"RoleEscalation"}}, `unknown plugin "RoleEscalation"`},
	} {
		if err := Check(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	defaults := "NamespaceLifecycle LimitRanger ServiceAccount NodeRestriction TaintNodesByCondition PodSecurity Priority DefaultTolerationSeconds RuntimeClass " +
		"CertificateApproval CertificateSigning ClusterTrustBundleAttest CertificateSubjectRestriction RoleEscalation"
	for name, c := range map[string]struct {
		edit func(o *Options)
		want string
	}{
		"defaults": {nil, defaults},
		"off":      {func(o *Options) { o.Disable = []string{"LimitRanger", "DenyServiceExternalIPs"} }, strings.Replace(defaults, "LimitRanger ", "", 1)},
		"on": {func(o *Options) { o.Enable = []string{"OwnerReferencesPermissionEnforcement", "NodeRestriction"} },
			strings.Replace(defaults, "RuntimeClass", "OwnerReferencesPermissionEnforcement RuntimeClass", 1)},
	} {
		if got := strings.Join(newWorld(t, c.edit).chain.Names(), " "); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestNamespaceLifecycle(t *testing.T) {
	w := newWorld(t, nil)
	config := func(namespace string) kind.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "c"}}
	}
	held := w.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"a/b"}}})
	expect(t, "there", w.admit(ask{obj: config("n")}), "")
	expect(t, "not there", w.admit(ask{obj: config("nope")}), `404 namespaces "nope" not found`)
	expect(t, "before deletion", w.admit(ask{obj: config("held")}), "")
	expect(t, "namespace itself", w.admit(ask{obj: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}}}), "")
	expect(t, "delete", w.admit(ask{operation: admission.Delete, old: held}), "")
	res, _ := w.registry.Resource(schema.GroupResource{Resource: "namespaces"})
	if _, _, err := res.Delete(t.Context(), "", "held", registry.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	err := w.admit(ask{obj: config("held")})
	expect(t, "terminating", err, "unable to create new content in namespace held because it is being terminated")
	if status, ok := err.(*apierrors.StatusError); ok {
		causes := status.ErrStatus.Details.Causes
		if len(causes) != 1 || causes[0].Type != corev1.NamespaceTerminatingCause || causes[0].Field != "metadata.namespace" {
			t.Errorf("causes: %v", causes)
		}
	}
	expect(t, "update in terminating", w.admit(ask{operation: admission.Update, obj: config("held"), old: config("held")}), "")
	expect(t, "delete in terminating", w.admit(ask{operation: admission.Delete, old: config("held")}), "")
	for _, name := range []string{"default", "kube-system", "kube-public"} {
		err := w.admit(ask{operation: admission.Delete, old: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}})
		expect(t, name, err, "this namespace may not be deleted")
	}
	expect(t, "kube-node-lease", w.admit(ask{operation: admission.Delete, old: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-node-lease"}}}), "")
}

func TestPriority(t *testing.T) {
	w := newWorld(t, nil)
	never := corev1.PreemptNever
	w.store(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "seven"}, Value: 7, PreemptionPolicy: &never})
	check := func(step, spec string, class string, value int32, policy corev1.PreemptionPolicy) {
		t.Helper()
		p := parsePod(t, spec)
		expect(t, step, w.admit(ask{obj: p}), "")
		if p.Spec.Priority == nil || p.Spec.PriorityClassName != class || *p.Spec.Priority != value || *p.Spec.PreemptionPolicy != policy {
			t.Errorf("%s: %q %v %v", step, p.Spec.PriorityClassName, *p.Spec.Priority, *p.Spec.PreemptionPolicy)
		}
	}
	check("none", "", "", 0, corev1.PreemptLowerPriority)
	check("class", "spec: {priorityClassName: seven}", "seven", 7, never)
	check("class and its values", "spec: {priorityClassName: seven, priority: 7, preemptionPolicy: Never}", "seven", 7, never)
	expect(t, "missing", w.admit(ask{obj: parsePod(t, "spec: {priorityClassName: nope}")}), "no PriorityClass with name nope was found")
	expect(t, "other value", w.admit(ask{obj: parsePod(t, "spec: {priority: 8}")}), "the integer value of priority (8) must not be provided in pod spec")
	expect(t, "other policy", w.admit(ask{obj: parsePod(t, "spec: {priorityClassName: seven, preemptionPolicy: PreemptLowerPriority}")}), "the string value of PreemptionPolicy (PreemptLowerPriority)")
	first := w.store(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 3, GlobalDefault: true})
	check("default", "", "usual", 3, corev1.PreemptLowerPriority)
	second := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, GlobalDefault: true}
	expect(t, "second default", w.admit(ask{obj: second}), "PriorityClass usual is already marked as default")
	expect(t, "same default", w.admit(ask{operation: admission.Update, obj: kind.Copy(first), old: first}), "")
	old := parsePod(t, "spec: {priority: 7, preemptionPolicy: Never}")
	updated := parsePod(t, "")
	expect(t, "update", w.admit(ask{operation: admission.Update, obj: updated, old: old}), "")
	if updated.Spec.Priority == nil || *updated.Spec.Priority != 7 || *updated.Spec.PreemptionPolicy != never {
		t.Error("an update lost the priority")
	}
}

func TestTolerations(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.UnreachableSeconds = 7 })
	for spec, want := range map[string]string{
		"": "node.kubernetes.io/not-ready 300 node.kubernetes.io/unreachable 7",
		"spec: {tolerations: [{operator: Exists}]}": " none",
		"spec: {tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 5}]}": "node.kubernetes.io/not-ready 5 node.kubernetes.io/unreachable 7",
		"spec: {tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoSchedule}]}":                    "node.kubernetes.io/unreachable none node.kubernetes.io/not-ready 300 node.kubernetes.io/unreachable 7",
	} {
		p := parsePod(t, spec)
		expect(t, spec, w.admit(ask{obj: p}), "")
		var got []string
		for _, toleration := range p.Spec.Tolerations {
			seconds := "none"
			if toleration.TolerationSeconds != nil {
				seconds = strconv.FormatInt(*toleration.TolerationSeconds, 10)
			}
			got = append(got, toleration.Key+" "+seconds)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q", spec, got)
		}
	}
}

func TestTaintNodes(t *testing.T) {
	w := newWorld(t, nil)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	expect(t, "create", w.admit(ask{obj: node}), "")
	expect(t, "again", w.admit(ask{obj: node}), "")
	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != corev1.TaintNodeNotReady || node.Spec.Taints[0].Effect != corev1.TaintEffectNoSchedule {
		t.Errorf("taints: %v", node.Spec.Taints)
	}
	ready := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	expect(t, "update", w.admit(ask{operation: admission.Update, obj: ready, old: node}), "")
	if len(ready.Spec.Taints) != 0 {
		t.Error("an update was tainted")
	}
}

func TestOwnerReferences(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Enable = []string{"OwnerReferencesPermissionEnforcement"} })
	yes := true
	obj := func(refs ...metav1.OwnerReference) kind.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c", OwnerReferences: refs}}
	}
	ref := metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: types.UID("1")}
	blocking := ref
	blocking.BlockOwnerDeletion = &yes
	nobody := &user.DefaultInfo{Name: "u"}
	expect(t, "none", w.admit(ask{obj: obj(), user: nobody}), "")
	expect(t, "set", w.admit(ask{obj: obj(ref), user: nobody}), "cannot set an ownerRef on a resource you can't delete")
	expect(t, "unchanged", w.admit(ask{operation: admission.Update, obj: obj(ref), old: obj(ref), user: nobody}), "")
	expect(t, "taken away", w.admit(ask{operation: admission.Update, obj: obj(), old: obj(ref), user: nobody}), "cannot set an ownerRef")
	expect(t, "master", w.admit(ask{obj: obj(blocking)}), "")
}

func BenchmarkPodCreate(b *testing.B) {
	w := newWorld(b, nil)
	template := parsePod(b, "")
	b.ReportAllocs()
	for b.Loop() {
		p := template.DeepCopy()
		a := w.attributes(ask{obj: p})
		if err := w.chain.Admit(b.Context(), a, nil); err != nil {
			b.Fatal(err)
		}
		if err := w.chain.Validate(b.Context(), a, nil); err != nil {
			b.Fatal(err)
		}
	}
}
