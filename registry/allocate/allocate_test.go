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

func (b backend) answer(code int, i *kind.Info, item *registry.Item, old kind.Object, err error) apitest.Answer {
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

func (b backend) Create(i *kind.Info, o kind.Object) apitest.Answer {
	r, _ := b.reg.Resource(i.GR())
	item, err := r.Create(b.ctx, o, registry.CreateOptions{})
	return b.answer(201, i, item, nil, err)
}

func (b backend) Update(i *kind.Info, part string, o kind.Object) apitest.Answer {
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
			difference, err := c.Run(api.ByGVR, backend{newCluster(t, "10.96.0.0/16")})
			if err != nil {
				t.Fatal(err)
			}
			if difference != "" {
				t.Error(difference)
			}
		})
	}
}
