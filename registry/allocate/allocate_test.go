package allocate_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/apitest"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/allocate"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

var services = schema.GroupResource{Resource: "services"}

// cluster is a registry on a store in memory with an allocator, as a master has them.
type cluster struct {
	t        *testing.T
	ctx      context.Context
	store    store.Store
	alloc    *allocate.Services
	reg      *registry.Registry
	services *registry.Resource
	now      time.Time
}

func newCluster(t *testing.T, cidrs ...string) *cluster {
	return newClusterWith(t, allocate.PortRange{}, cidrs...)
}

func newClusterWith(t *testing.T, ports allocate.PortRange, cidrs ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, store: memory.New(), now: time.Now()}
	c.start(ports, cidrs...)
	return c
}

// start begins a master on the cluster's store.
func (c *cluster) start(ports allocate.PortRange, cidrs ...string) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx = ctx
	o := allocate.Options{Store: c.store, NodePorts: ports, Now: func() time.Time { return c.now }}
	for _, s := range cidrs {
		o.CIDRs = append(o.CIDRs, netip.MustParsePrefix(s))
	}
	var err error
	if c.alloc, err = allocate.New(o); err != nil {
		c.t.Fatal(err)
	}
	c.reg, err = registry.New(registry.Options{Store: c.store, Kinds: api.Kinds(),
		Reservers: map[schema.GroupResource]registry.Reserver{services: c.alloc}})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.alloc.Attach(c.reg); err != nil {
		c.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.reg.Run(ctx) }()
	c.t.Cleanup(func() { cancel(); <-done })
	<-c.reg.Ready()
	if err := c.alloc.EnsureDefaultCIDR(ctx); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.reg.Fresh(ctx); err != nil {
		c.t.Fatal(err)
	}
	c.services, _ = c.reg.Resource(services)
}

// service makes a service from JSON-like parts.
func service(name string, edit func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{}
	s.Name, s.Namespace = name, "default"
	s.Spec.Selector = map[string]string{"app": "a"}
	s.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80}}
	if edit != nil {
		edit(&s.Spec)
	}
	return s
}

func (c *cluster) create(s *corev1.Service) (*corev1.Service, error) {
	api.Of[*corev1.Service]().Default(s)
	item, err := c.services.Create(c.ctx, s, registry.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return item.Object().(*corev1.Service), nil
}

func (c *cluster) mustCreate(s *corev1.Service) *corev1.Service {
	c.t.Helper()
	out, err := c.create(s)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *cluster) update(name string, edit func(*corev1.Service)) (*corev1.Service, error) {
	item, _, err := c.services.Update(c.ctx, "default", name, func(_ context.Context, old kind.Object) (kind.Object, error) {
		s := kind.Copy(old.(*corev1.Service))
		edit(s)
		api.Of[*corev1.Service]().Default(s)
		return s, nil
	}, registry.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	return item.Object().(*corev1.Service), nil
}

func (c *cluster) mustUpdate(name string, edit func(*corev1.Service)) *corev1.Service {
	c.t.Helper()
	out, err := c.update(name, edit)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *cluster) delete(name string) {
	c.t.Helper()
	if _, _, err := c.services.Delete(c.ctx, "default", name, registry.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// addresses are the IPAddress objects in the store, by name.
func (c *cluster) addresses() map[string]*networkingv1.IPAddress {
	c.t.Helper()
	r, _ := c.reg.Resource(schema.GroupResource{Group: "networking.k8s.io", Resource: "ipaddresses"})
	list, err := r.List(c.ctx, registry.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[string]*networkingv1.IPAddress{}
	for _, i := range list.Items {
		a := i.Object().(*networkingv1.IPAddress)
		out[a.Name] = a
	}
	return out
}

// portsInUse counts the bits of the stored bitmap.
func (c *cluster) portsInUse() int {
	c.t.Helper()
	e, _, err := c.store.Get(c.ctx, "/registry/ranges/servicenodeports", 0)
	if errors.Is(err, store.ErrNotFound) {
		return 0
	}
	if err != nil {
		c.t.Fatal(err)
	}
	var u runtime.Unknown
	if err := u.Unmarshal(e.Value[4:]); err != nil {
		c.t.Fatal(err)
	}
	var r corev1.RangeAllocation
	if err := r.Unmarshal(u.Raw); err != nil {
		c.t.Fatal(err)
	}
	n := 0
	for _, b := range r.Data {
		for ; b != 0; b &= b - 1 {
			n++
		}
	}
	return n
}

func causes(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return err.Error()
	}
	var out []string
	if d := status.Status().Details; d != nil {
		for _, c := range d.Causes {
			out = append(out, c.Field+" "+string(c.Type))
		}
	}
	return strings.Join(out, ",")
}

// backend lets recorded requests ask the registry.
type backend struct{ *cluster }

func (b backend) answer(code int, i *kind.Kind, item *registry.Item, old kind.Object, err error) apitest.Answer {
	if err == nil {
		o := item.Object()
		return apitest.Answer{Code: code, Object: o, Warnings: i.Warnings(o, old)}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return apitest.Answer{Code: 500}
	}
	a := apitest.Answer{Code: int(status.Status().Code)}
	if d := status.Status().Details; d != nil {
		for _, c := range d.Causes {
			a.Causes = append(a.Causes, []string{c.Field, string(c.Type)})
		}
	}
	return a
}

func (b backend) Create(i *kind.Kind, o kind.Object) apitest.Answer {
	r, _ := b.reg.Resource(i.GR())
	item, err := r.Create(b.ctx, o, registry.CreateOptions{})
	return b.answer(201, i, item, nil, err)
}

func (b backend) Update(i *kind.Kind, part string, o kind.Object) apitest.Answer {
	r, _ := b.reg.Resource(i.GR())
	var before kind.Object
	item, created, err := r.Update(b.ctx, o.GetNamespace(), o.GetName(), func(_ context.Context, old kind.Object) (kind.Object, error) {
		before = old
		return o, nil
	}, registry.UpdateOptions{Part: part})
	code := 200
	if created {
		code, before = 201, nil
	}
	return b.answer(code, i, item, before, err)
}

func TestRecordedServices(t *testing.T) {
	cases, err := apitest.Read("../../api/testdata/cases")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases["core_Service"] {
		t.Run(strings.ReplaceAll(c.ID, "/", "_"), func(t *testing.T) {
			difference, err := c.Run(kind.NewKinds(api.Kinds()).ByGVR, backend{newCluster(t, "10.96.0.0/16")})
			if err != nil {
				t.Fatal(err)
			}
			if difference != "" {
				t.Error(difference)
			}
		})
	}
}

func TestClusterIPs(t *testing.T) {
	c := newCluster(t, "10.96.0.0/24")
	s := c.mustCreate(service("a", nil))
	ip := netip.MustParseAddr(s.Spec.ClusterIP)
	if low := netip.MustParseAddr("10.96.0.16"); !low.Less(ip) {
		t.Errorf("%s was chosen from the part kept for users", ip)
	}
	a := c.addresses()[ip.String()]
	if a == nil {
		t.Fatalf("no IPAddress for %s", ip)
	}
	want := networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "a"}
	if *a.Spec.ParentRef != want || a.Labels[networkingv1.LabelIPAddressFamily] != "IPv4" || a.Labels[networkingv1.LabelManagedBy] != allocate.ManagedBy {
		t.Errorf("IPAddress %+v %+v", a.Labels, a.Spec.ParentRef)
	}
	for _, refused := range []struct{ ip, causes string }{
		{ip.String(), "spec.clusterIPs FieldValueInvalid"},
		{"10.97.0.1", "spec.clusterIPs FieldValueInvalid"},
		{"10.96.0.0", "spec.clusterIPs FieldValueInvalid"},
		{"10.96.0.255", "spec.clusterIPs FieldValueInvalid"},
		{"fd00::1", "spec.clusterIPs[0] FieldValueInvalid"},
	} {
		_, err := c.create(service("b", func(s *corev1.ServiceSpec) { s.ClusterIP = refused.ip }))
		if err == nil || causes(err) != refused.causes {
			t.Errorf("%s: %v", refused.ip, err)
		}
	}
	chosen := c.mustCreate(service("b", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.254" }))
	if chosen.Spec.ClusterIPs[0] != "10.96.0.254" {
		t.Errorf("clusterIPs %v", chosen.Spec.ClusterIPs)
	}
	if _, err := c.create(service("a", nil)); !apierrors.IsAlreadyExists(err) {
		t.Error(err)
	}
	if n := len(c.addresses()); n != 2 {
		t.Errorf("%d addresses are reserved for 2 services", n)
	}
	c.delete("b")
	if c.addresses()["10.96.0.254"] != nil {
		t.Error("a deleted service keeps its address")
	}
}

func TestBlockIsUsedUp(t *testing.T) {
	c := newCluster(t, "10.96.0.0/28")
	for n := range 14 {
		c.mustCreate(service("s"+string(rune('a'+n)), nil))
	}
	if _, err := c.create(service("z", nil)); !apierrors.IsInternalError(err) {
		t.Errorf("the 15th of 14 addresses: %v", err)
	}
	c.delete("sc")
	c.mustCreate(service("z", nil))
}

func TestFurtherBlocks(t *testing.T) {
	c := newCluster(t, "10.96.0.0/28")
	blocks, _ := c.reg.Resource(schema.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"})
	more := &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.200.0.0/28"}}}
	more.Name = "more"
	if _, err := blocks.Create(c.ctx, more, registry.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.reg.Fresh(c.ctx); err != nil {
		t.Fatal(err)
	}
	c.mustCreate(service("a", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.200.0.3" }))
}

func TestDualStack(t *testing.T) {
	prefer, require, single := corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack
	c := newCluster(t, "10.96.0.0/16", "fd00:96::/108")
	s := c.mustCreate(service("a", nil))
	if len(s.Spec.ClusterIPs) != 1 || s.Spec.IPFamilies[0] != corev1.IPv4Protocol {
		t.Errorf("by default %v %v", s.Spec.ClusterIPs, s.Spec.IPFamilies)
	}
	s = c.mustCreate(service("b", func(s *corev1.ServiceSpec) {
		s.IPFamilyPolicy, s.IPFamilies = &require, []corev1.IPFamily{corev1.IPv6Protocol}
	}))
	if len(s.Spec.ClusterIPs) != 2 || !strings.HasPrefix(s.Spec.ClusterIP, "fd00:96::") || s.Spec.IPFamilies[1] != corev1.IPv4Protocol {
		t.Errorf("dual stack, IPv6 first: %v %v", s.Spec.ClusterIPs, s.Spec.IPFamilies)
	}
	first := c.mustUpdate("a", func(s *corev1.Service) { s.Spec.IPFamilyPolicy = &prefer })
	if len(first.Spec.ClusterIPs) != 2 || len(c.addresses()) != 4 {
		t.Errorf("upgraded to %v, %d addresses", first.Spec.ClusterIPs, len(c.addresses()))
	}
	if _, err := c.update("a", func(s *corev1.Service) { s.Spec.ClusterIPs = s.Spec.ClusterIPs[:1] }); err == nil || !strings.Contains(causes(err), "spec.ipFamilyPolicy FieldValueInvalid") {
		t.Errorf("losing an address under PreferDualStack: %v", err)
	}
	back := c.mustUpdate("a", func(s *corev1.Service) { s.Spec.IPFamilyPolicy = &single })
	if len(back.Spec.ClusterIPs) != 1 || back.Spec.ClusterIP != first.Spec.ClusterIP || len(c.addresses()) != 3 {
		t.Errorf("downgraded to %v, %d addresses", back.Spec.ClusterIPs, len(c.addresses()))
	}
}

func TestChangesOfType(t *testing.T) {
	c := newCluster(t, "10.96.0.0/16")
	c.mustCreate(service("a", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }))
	if n := c.portsInUse(); n != 1 {
		t.Errorf("%d ports for one", n)
	}
	lb := c.mustUpdate("a", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
	})
	if lb.Spec.HealthCheckNodePort == 0 || c.portsInUse() != 2 {
		t.Errorf("health check port %d, %d ports", lb.Spec.HealthCheckNodePort, c.portsInUse())
	}
	plain := c.mustUpdate("a", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	if plain.Spec.Ports[0].NodePort != 0 || plain.Spec.HealthCheckNodePort != 0 || c.portsInUse() != 0 {
		t.Errorf("%+v, %d ports", plain.Spec, c.portsInUse())
	}
	external := c.mustUpdate("a", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "a.example.com"
	})
	if external.Spec.ClusterIP != "" || len(c.addresses()) != 0 {
		t.Errorf("%+v, %d addresses", external.Spec, len(c.addresses()))
	}
	again := c.mustUpdate("a", func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeClusterIP, "" })
	if c.addresses()[again.Spec.ClusterIP] == nil {
		t.Errorf("no address for %q", again.Spec.ClusterIP)
	}
}

func TestNodePorts(t *testing.T) {
	c := newClusterWith(t, allocate.PortRange{Base: 30000, Size: 20}, "10.96.0.0/16")
	s := c.mustCreate(service("dns", func(s *corev1.ServiceSpec) {
		s.Type = corev1.ServiceTypeNodePort
		s.Ports = []corev1.ServicePort{{Name: "t", Port: 53}, {Name: "u", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "m", Port: 80, NodePort: 30003}}
	}))
	if s.Spec.Ports[0].NodePort != s.Spec.Ports[1].NodePort || s.Spec.Ports[0].NodePort < 30016 || c.portsInUse() != 2 {
		t.Errorf("%+v, %d ports", s.Spec.Ports, c.portsInUse())
	}
	for port, want := range map[int32]string{30003: "spec.ports[0].nodePort FieldValueInvalid", 30020: "spec.ports[0].nodePort FieldValueInvalid"} {
		_, err := c.create(service("b", func(s *corev1.ServiceSpec) {
			s.Type = corev1.ServiceTypeNodePort
			s.Ports[0].NodePort = port
		}))
		if err == nil || causes(err) != want {
			t.Errorf("port %d: %v", port, err)
		}
	}
	if n := len(c.addresses()); n != 1 {
		t.Errorf("refused services keep %d addresses", n-1)
	}
	changed := c.mustUpdate("dns", func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[2:]; s.Spec.Ports[0].NodePort = 0 })
	if changed.Spec.Ports[0].NodePort != 30003 || c.portsInUse() != 1 {
		t.Errorf("%+v, %d ports", changed.Spec.Ports, c.portsInUse())
	}
	c.delete("dns")
	if n := c.portsInUse(); n != 0 {
		t.Errorf("%d ports are left", n)
	}
}

func TestDryRun(t *testing.T) {
	c := newCluster(t, "10.96.0.0/16")
	s := service("a", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort })
	api.Of[*corev1.Service]().Default(s)
	item, err := c.services.Create(c.ctx, s, registry.CreateOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if spec := item.Object().(*corev1.Service).Spec; spec.ClusterIP == "" || spec.Ports[0].NodePort == 0 {
		t.Errorf("%+v", spec)
	}
	if len(c.addresses()) != 0 || c.portsInUse() != 0 {
		t.Errorf("a dry run keeps %d addresses and %d ports", len(c.addresses()), c.portsInUse())
	}
}

// TestTwoMasters lets two allocators with their own views take ports from one store.
func TestTwoMasters(t *testing.T) {
	a := newClusterWith(t, allocate.PortRange{Base: 30000, Size: 12}, "10.96.0.0/16")
	b := &cluster{t: t, store: a.store, now: a.now}
	b.start(allocate.PortRange{Base: 30000, Size: 12}, "10.96.0.0/16")
	port := func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }
	used := map[int32]bool{}
	for n, c := range []*cluster{a, b, a, b, a, b, a, b, a, b, a, b} {
		s := c.mustCreate(service("s"+string(rune('a'+n)), port))
		if used[s.Spec.Ports[0].NodePort] {
			t.Errorf("port %d is given twice", s.Spec.Ports[0].NodePort)
		}
		used[s.Spec.Ports[0].NodePort] = true
	}
	if _, err := a.create(service("x", port)); err == nil {
		t.Error("a 13th port of 12")
	}
	b.delete("sa")
	a.mustCreate(service("x", port))
}

func TestRepair(t *testing.T) {
	c := newCluster(t, "10.96.0.0/16")
	s := c.mustCreate(service("a", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }))
	// A service whose reservations are lost, and reservations whose service is lost.
	if _, _, err := c.store.Get(c.ctx, "/registry/ipaddresses/"+s.Spec.ClusterIP, 0); err != nil {
		t.Fatal(err)
	}
	c.remove("/registry/ipaddresses/" + s.Spec.ClusterIP)
	c.remove("/registry/ranges/servicenodeports")
	c.start(allocate.PortRange{}, "10.96.0.0/16")
	c.mustCreate(service("lost", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }))
	c.remove("/registry/services/specs/default/lost")
	leaked, err := c.alloc.Repair(c.ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.addresses()) != 2 || c.addresses()[s.Spec.ClusterIP] == nil || c.portsInUse() != 2 || len(leaked) != 1 {
		t.Errorf("after one repair: %v, %d ports, leaked %v", c.addresses(), c.portsInUse(), leaked)
	}
	c.now = c.now.Add(2 * time.Minute)
	if _, err := c.alloc.Repair(c.ctx, leaked); err != nil {
		t.Fatal(err)
	}
	if len(c.addresses()) != 1 || c.portsInUse() != 1 {
		t.Errorf("after two repairs: %v, %d ports", c.addresses(), c.portsInUse())
	}
}

// remove deletes a key behind the registry's back.
func (c *cluster) remove(key string) {
	c.t.Helper()
	e, _, err := c.store.Get(c.ctx, key, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.store.Delete(c.ctx, key, e.Revision); err != nil {
		c.t.Fatal(err)
	}
}

func TestDefaultCIDR(t *testing.T) {
	c := newCluster(t, "10.96.0.0/16")
	get := func() *networkingv1.ServiceCIDR {
		blocks, _ := c.reg.Resource(schema.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"})
		item, err := blocks.Get(c.ctx, "", allocate.DefaultServiceCIDR, "")
		if err != nil {
			t.Fatal(err)
		}
		return item.Object().(*networkingv1.ServiceCIDR)
	}
	if b := get(); b.Spec.CIDRs[0] != "10.96.0.0/16" || len(b.Status.Conditions) != 1 || b.Status.Conditions[0].Status != "True" {
		t.Errorf("%+v", b)
	}
	c.start(allocate.PortRange{}, "10.96.0.0/16", "fd00::/108")
	if b := get(); len(b.Spec.CIDRs) != 2 {
		t.Errorf("not extended to the second family: %v", b.Spec.CIDRs)
	}
	c.start(allocate.PortRange{}, "10.50.0.0/16")
	if b := get(); b.Spec.CIDRs[0] != "10.96.0.0/16" {
		t.Errorf("the default blocks changed to %v", b.Spec.CIDRs)
	}
}

func TestWrongOptions(t *testing.T) {
	for _, o := range []allocate.Options{
		{},
		{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/31")}},
		{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.1.0.0/16")}},
		{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, NodePorts: allocate.PortRange{Base: 65000, Size: 1000}},
	} {
		if _, err := allocate.New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
