package bootstrap

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap/policy"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

func start(t testing.TB) *registry.Registry {
	t.Helper()
	s := memory.New()
	r, err := registry.New(registry.Options{Store: s, Kinds: api.Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		s.Close()
	})
	return r
}

func options(r *registry.Registry) Options {
	return Options{
		Registry: r, Port: 6443, Masters: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:6443")}, ServiceIP: net.ParseIP("10.96.0.1"),
		ClientCA: []byte("client\n"), FrontProxyCA: []byte("proxy\n"), FrontProxyNames: []string{"front-proxy-client"},
		Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) },
	}
}

func ensure(t testing.TB, o Options) int64 {
	t.Helper()
	if err := Ensure(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	revision, err := o.Registry.Fresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func read[T kind.Object](t testing.TB, r *registry.Registry, resource, namespace, name string) T {
	t.Helper()
	res, ok := r.Resource(schema.ParseGroupResource(resource))
	if !ok {
		t.Fatalf("no resource %s", resource)
	}
	item, err := res.Get(t.Context(), namespace, name, "")
	if err != nil {
		t.Fatal(err)
	}
	return item.Object().(T)
}

// change edits an object as its owner would.
func change[T kind.Object](t testing.TB, r *registry.Registry, resource, namespace, name string, edit func(T)) {
	t.Helper()
	res, _ := r.Resource(schema.ParseGroupResource(resource))
	_, _, err := res.Update(t.Context(), namespace, name, func(_ context.Context, old kind.Object) (kind.Object, error) {
		o := kind.Copy(old.(T))
		edit(o)
		return o, nil
	}, registry.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEnsure(t *testing.T) {
	r := start(t)
	first := ensure(t, options(r))
	p, err := policy.Default()
	if err != nil {
		t.Fatal(err)
	}
	for resource, want := range map[string]int{
		"namespaces": 4, "priorityclasses.scheduling.k8s.io": 2, "configmaps": 2, "services": 1, "endpoints": 1,
		"endpointslices.discovery.k8s.io":               1,
		"clusterroles.rbac.authorization.k8s.io":        len(p.ClusterRoles),
		"clusterrolebindings.rbac.authorization.k8s.io": len(p.ClusterRoleBindings),
		"roles.rbac.authorization.k8s.io":               len(p.Roles),
		"rolebindings.rbac.authorization.k8s.io":        len(p.RoleBindings),
	} {
		res, ok := r.Resource(schema.ParseGroupResource(resource))
		if !ok {
			t.Errorf("no resource %s", resource)
		} else if res.Len() != want {
			t.Errorf("%s: %d, want %d", resource, res.Len(), want)
		}
	}
	if second := ensure(t, options(r)); second != first {
		t.Errorf("a second start wrote something: revision %d, then %d", first, second)
	}

	ns := read[*corev1.Namespace](t, r, "namespaces", "", "kube-node-lease")
	if ns.Status.Phase != corev1.NamespaceActive || len(ns.Spec.Finalizers) != 1 || ns.Labels[corev1.LabelMetadataName] != ns.Name {
		t.Errorf("namespace: %v", ns)
	}
	service := read[*corev1.Service](t, r, "services", "default", "kubernetes")
	if service.Spec.ClusterIP != "10.96.0.1" || service.Spec.Ports[0].TargetPort.IntValue() != 6443 || *service.Spec.InternalTrafficPolicy != corev1.ServiceInternalTrafficPolicyCluster {
		t.Errorf("service: %v", service.Spec)
	}
	slice := read[*discoveryv1.EndpointSlice](t, r, "endpointslices.discovery.k8s.io", "default", "kubernetes")
	if slice.Endpoints[0].Addresses[0] != "192.0.2.7" || *slice.Ports[0].Port != 6443 || slice.Labels[discoveryv1.LabelServiceName] != "kubernetes" {
		t.Errorf("endpoint slice: %v", slice)
	}
	config := read[*corev1.ConfigMap](t, r, "configmaps", "kube-system", "extension-apiserver-authentication")
	if config.Data["client-ca-file"] != "client\n" || config.Data["requestheader-allowed-names"] != `["front-proxy-client"]` {
		t.Errorf("authentication: %v", config.Data)
	}
	tracking := read[*corev1.ConfigMap](t, r, "configmaps", "kube-system", "kube-apiserver-legacy-service-account-token-tracking")
	if tracking.Data["since"] != "2026-01-02" {
		t.Errorf("tracking: %v", tracking.Data)
	}
}

func TestEnsureMergesRoles(t *testing.T) {
	r := start(t)
	ensure(t, options(r))
	own := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}
	change(t, r, "clusterroles.rbac.authorization.k8s.io", "", "system:basic-user", func(o *rbacv1.ClusterRole) {
		o.Rules = []rbacv1.PolicyRule{own}
		delete(o.Labels, "kubernetes.io/bootstrapping")
	})
	change(t, r, "clusterroles.rbac.authorization.k8s.io", "", "system:discovery", func(o *rbacv1.ClusterRole) {
		o.Annotations[policy.AutoUpdate] = "false"
		o.Rules = nil
	})
	change(t, r, "clusterroles.rbac.authorization.k8s.io", "", "view", func(o *rbacv1.ClusterRole) {
		o.Rules = []rbacv1.PolicyRule{own}
		o.AggregationRule.ClusterRoleSelectors[0].MatchLabels = map[string]string{"a": "b"}
	})
	change(t, r, "clusterrolebindings.rbac.authorization.k8s.io", "", "system:discovery", func(o *rbacv1.ClusterRoleBinding) {
		o.Subjects = []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "a"}}
	})
	replaceBinding(t, r)
	ensure(t, options(r))

	basic := read[*rbacv1.ClusterRole](t, r, "clusterroles.rbac.authorization.k8s.io", "", "system:basic-user")
	if len(basic.Rules) < 3 || basic.Rules[0].Resources[0] != "secrets" || basic.Labels["kubernetes.io/bootstrapping"] == "" {
		t.Errorf("basic user: %v %v", basic.Labels, basic.Rules)
	}
	if d := read[*rbacv1.ClusterRole](t, r, "clusterroles.rbac.authorization.k8s.io", "", "system:discovery"); len(d.Rules) != 0 {
		t.Error("a role was changed whose owner does not want it")
	}
	view := read[*rbacv1.ClusterRole](t, r, "clusterroles.rbac.authorization.k8s.io", "", "view")
	if len(view.Rules) != 1 || len(view.AggregationRule.ClusterRoleSelectors) != 2 {
		t.Errorf("view: %v %v", view.AggregationRule, view.Rules)
	}
	if b := read[*rbacv1.ClusterRoleBinding](t, r, "clusterrolebindings.rbac.authorization.k8s.io", "", "system:discovery"); len(b.Subjects) != 2 {
		t.Errorf("subjects: %v", b.Subjects)
	}
	b := read[*rbacv1.ClusterRoleBinding](t, r, "clusterrolebindings.rbac.authorization.k8s.io", "", "system:monitoring")
	if b.RoleRef.Name != "system:monitoring" || len(b.Subjects) != 1 {
		t.Errorf("monitoring: %v %v", b.RoleRef, b.Subjects)
	}
}

// replaceBinding makes a default binding refer to another role.
func replaceBinding(t *testing.T, r *registry.Registry) {
	t.Helper()
	res, _ := r.Resource(schema.ParseGroupResource("clusterrolebindings.rbac.authorization.k8s.io"))
	if _, _, err := res.Delete(t.Context(), "", "system:monitoring", registry.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wrong := &rbacv1.ClusterRoleBinding{RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}}
	wrong.Name = "system:monitoring"
	if _, err := res.Create(t.Context(), wrong, registry.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureFollowsTheAddress(t *testing.T) {
	r := start(t)
	ensure(t, options(r))
	o := options(r)
	o.Masters, o.Port = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.8:7443")}, 7443
	ensure(t, o)
	endpoints := read[*corev1.Endpoints](t, r, "endpoints", "default", "kubernetes")
	if s := endpoints.Subsets; len(s) != 1 || len(s[0].Addresses) != 1 || s[0].Addresses[0].IP != "192.0.2.8" || s[0].Ports[0].Port != 7443 {
		t.Errorf("endpoints: %v", s)
	}
	service := read[*corev1.Service](t, r, "services", "default", "kubernetes")
	if service.Spec.Ports[0].TargetPort.IntValue() != 7443 || service.Spec.ClusterIP != "10.96.0.1" {
		t.Errorf("service: %v", service.Spec)
	}
}

func BenchmarkEnsure(b *testing.B) {
	for b.Loop() {
		ensure(b, options(start(b)))
	}
}
