package apiserver

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec"
	"github.com/wheelhouse-k8s/wheelhouse/patch"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// The bounds of what a server takes on, upstream's defaults.
const (
	maxBodyBytes     = 3 << 20
	defaultMaxReads  = 400
	defaultMaxWrites = 200
	defaultTimeout   = 60 * time.Second
	defaultMinWatch  = 30 * time.Minute
	headerTimeout    = 32 * time.Second
	// seatWaitDivisor: a request waits for its seat for a part of its time, as upstream's do.
	seatWaitDivisor     = 4
	idleTimeout         = 90 * time.Second
	maxHeaderBytes      = 1 << 20
	maxStreamsPerClient = 250
)

// Options of a Server. Registry, Catalog, Authenticator and Authorizer are needed, the rest may be left out.
type Options struct {
	Registry *registry.Registry
	// Catalog holds the resources that are served.
	Catalog       *kind.Catalog
	Authenticator authenticator.Request
	Authorizer    authorizer.UnconditionalAuthorizer
	// Admission is a chain that speaks admission.MutationInterface and admission.ValidationInterface.
	Admission admission.Interface
	// ObjectInterfaces are what admission may ask about kinds; nil means those of the built-in kinds.
	ObjectInterfaces admission.ObjectInterfaces
	// Tracker keeps metadata.managedFields; nil leaves them alone, and then there is no server-side apply.
	Tracker *patch.Tracker
	// Reviewer answers the kinds that are only created and never kept (SubjectAccessReview and its like).
	Reviewer Reviewer
	// Computed are the kinds that are kept nowhere.
	Computed map[schema.GroupResource]Computed
	// Tokens issues service account tokens.
	Tokens Tokens
	// Paths are the handlers of what is no resource.
	Paths []Path
	// Observe is told of each finished HTTP request. It must not block.
	Observe func(Observation)
	// LongRunning is told of each watch and stream that begins; what it returns is called at its end.
	LongRunning func(Observation) (done func())
	// Abandoned is told when a request leaves work behind that still goes on ("pending"), and how that ended ("result", "error",
	// "panic").
	Abandoned func(status string)
	// Sent gives, once a watch, what is told the size in bytes of each event that is sent.
	Sent func(k *kind.Kind) func(bytes int)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Rejected is told the flow schema and the priority level of a request that found no seat.
	Rejected func(schema, level string)
	// MaxReads and MaxWrites bound the requests in flight; 0 means 400 and 200, less than 0 no bound.
	MaxReads, MaxWrites int
	// Timeout of requests that are not long-running; 0 means one minute.
	Timeout time.Duration
	// SlowBody is how long a body may take before a rate is demanded of it; 0 means ten seconds.
	SlowBody time.Duration
	// GoawayChance is the part of HTTP/2 requests after which the client is asked for a new connection; it may reach another
	// server with it.
	GoawayChance float64
	// MaxConnections bounds the open connections; 0 goes by the files that the process may open.
	MaxConnections int
	// MinWatch is the least time after which a watch without a timeout of its own ends; 0 means half an hour.
	MinWatch time.Duration
}

// Reviewer decides about an object of a kind that is not kept.
type Reviewer interface {
	Review(ctx context.Context, u user.Info, k *kind.Kind, namespace string, obj kind.Object) (runtime.Object, error)
}

// Tokens issues a token for a service account.
type Tokens interface {
	Issue(ctx context.Context, u user.Info, sa *corev1.ServiceAccount, tr *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Path is a handler of what is no resource. It runs behind authentication and authorization.
type Path struct {
	// Pattern is a path; with a slash at its end it stands for all paths below it too.
	Pattern string
	Handler http.Handler
	// Has tells of a path below Pattern whether Handler has an answer; nil means that it has one to all.
	Has func(path string) bool
	// GetOnly answers other methods than GET with 405.
	GetOnly bool
	// LongRunning exempts from the time limit and from the limits on requests in flight. The handler must itself see to it
	// that a client that does not read is cut off.
	LongRunning bool
}

// Observation is what is told of a finished HTTP request.
type Observation struct {
	Verb, Group, Version, Resource, Subresource string
	// Scope is cluster, namespace or resource; empty for what is no resource.
	Scope    string
	Path     string
	Code     int
	Bytes    int64
	DryRun   bool
	Duration time.Duration
	// LongRunning requests are counted apart.
	LongRunning bool
}

// Server answers requests.
type Server struct {
	Options
	routes *kind.Derived[*routes]
	paths  pathTable
	// installing holds a token while a kind comes or goes.
	installing chan struct{}
	// handle is the pipeline of HTTP requests.
	handle       handler
	impersonator http.Handler
	workshop     *workshop
	mutates      admission.MutationInterface
	validates    admission.ValidationInterface

	// active counts all HTTP requests.
	active atomic.Int64
	limits limits
	// stopping ends when the server begins to shut down: watches end then.
	stopping context.Context
	stop     context.CancelFunc
}

// New makes a Server. It answers at once, as far as its registry does.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ObjectInterfaces == nil {
		o.ObjectInterfaces = admission.NewObjectInterfacesFromScheme(scheme.Scheme)
	}
	o.MaxReads, o.MaxWrites = orElse(o.MaxReads, defaultMaxReads), orElse(o.MaxWrites, defaultMaxWrites)
	o.Timeout, o.MinWatch = orElse(o.Timeout, defaultTimeout), orElse(o.MinWatch, defaultMinWatch)
	o.SlowBody = orElse(o.SlowBody, slowBody)
	s := &Server{Options: o, limits: newLimits(o.MaxReads, o.MaxWrites), installing: make(chan struct{}, 1)}
	s.limits.rejected, s.limits.slowBody, s.limits.wait = o.Rejected, o.SlowBody, o.Timeout/seatWaitDivisor
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.mutates, _ = o.Admission.(admission.MutationInterface)
	s.validates, _ = o.Admission.(admission.ValidationInterface)
	s.routes = kind.Derive(o.Catalog, s.makeRoutes)
	s.paths = newPathTable(o.Paths)
	s.impersonator = s.newImpersonator()
	s.workshop = newWorkshop(o.Abandoned)
	s.handle = s.dispatch
	steps := s.pipeline()
	for i := len(steps) - 1; i >= 0; i-- {
		s.handle = steps[i](s.handle)
	}
	return s
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

// handler answers one HTTP exchange.
type handler func(*exchange)

// pipeline is what every HTTP request passes, outermost first, before it is dispatched to its verb.
func (s *Server) pipeline() []func(handler) handler {
	return []func(handler) handler{
		s.observe,
		s.recoverPanic,
		s.writeCommonHeaders,
		s.limitLength,
		s.limitTime,
		s.authenticate,
		s.impersonate,
		s.authorizeHTTP,
		s.limitInFlight,
	}
}

// Do answers a request from within the process: authorization, admission and verb as over HTTP, in the same order, and with the same
// refusals. The answer is shared with all readers and must not be changed.
func (s *Server) Do(ctx context.Context, r *Request) (*Response, error) {
	if r.Kind == nil {
		return nil, notFoundPath()
	}
	t := targetOf(r)
	if err := s.authorize(ctx, t.attributes(r)); err != nil {
		return nil, err
	}
	rt := s.routes.Get().of(r.Kind)
	if rt == nil {
		return nil, notFoundPath()
	}
	row, err := rt.locate(&t, methods[r.Verb])
	if err != nil {
		return nil, err
	}
	c := &call{Request: r, s: s, rt: rt, row: row, warn: &warnings{}}
	return c.execute(ctx)
}

// Install begins to serve a kind, or serves it in another way, while requests go on. It returns when the kind is there for everybody.
func (s *Server) Install(ctx context.Context, k *kind.Kind) error {
	again := *k // what is installed again is another kind to all who keep something of the former
	return s.alone(ctx, func() error {
		if err := s.Registry.Add(ctx, &again); err != nil {
			return err
		}
		s.Catalog.Put(&again)
		return nil
	})
}

// Uninstall ends the service of a kind. What is stored of it stays, and holds its namespaces and owners: see registry.Strays.
func (s *Server) Uninstall(ctx context.Context, k *kind.Kind) error {
	return s.alone(ctx, func() error {
		if err := s.Registry.Remove(ctx, k.GVR()); err != nil {
			return err
		}
		s.Catalog.Remove(k.GVR())
		return nil
	})
}

// alone calls f while no other kind comes or goes, so that registry and catalog agree.
func (s *Server) alone(ctx context.Context, f func() error) error {
	select {
	case s.installing <- struct{}{}:
		defer func() { <-s.installing }()
		return f()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// route is one resource with what is needed to serve it.
type route struct {
	info     *kind.Kind
	codec    *codec.Kind
	resource *registry.Resource
	gvr      schema.GroupVersionResource
	// table holds the rows by subresource; the resource's own have the empty name.
	table map[string]*endpoints
}

// routes are all resources, by what stands in the path. They never change: when the catalog has, others are made.
type routes struct {
	byPath map[schema.GroupVersionResource]*route
	groups map[string]bool
}

// makeRoutes gives each kind its route; one that has not changed keeps it.
func (s *Server) makeRoutes(now *kind.Kinds, before *routes) *routes {
	t := &routes{byPath: map[schema.GroupVersionResource]*route{}, groups: map[string]bool{"": true}}
	for _, k := range now.All() {
		t.groups[k.GVK.Group] = true
		var resource *registry.Resource
		if k.StoragePrefix != "" || k.Via != nil {
			resource, _ = s.Registry.ResourceFor(k)
		}
		if have := before.of(k); have != nil && have.info == k && have.resource == resource {
			t.byPath[have.gvr] = have
			continue
		}
		rt := &route{info: k, codec: codec.NewKind(k), gvr: k.GVR(), resource: resource}
		s.tabulate(rt)
		t.byPath[rt.gvr] = rt
	}
	return t
}

func (t *routes) of(k *kind.Kind) *route {
	if t == nil {
		return nil
	}
	return t.byPath[k.GVR()]
}

// find gives the route of a core or grouped resource, nil if there is none.
func (t *routes) find(group, version, resource string) *route {
	return t.byPath[schema.GroupVersionResource{Group: group, Version: version, Resource: resource}]
}
