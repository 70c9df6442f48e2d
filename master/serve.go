package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/metrics"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/allocate"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// server is what serves the API: the objects, and who may do what with them.
type server struct {
	config    *Config
	port      int
	authority *pki.Authority
	keys      *keys.Keys
	store     store.Store // whose requests are measured
	catalog   *kind.Catalog
	// masters are where the cluster reaches those that live; joining is who may ask to become one.
	masters func() []netip.AddrPort
	joining bootstrap.Joining

	metrics        *metrics.Metrics
	services       *allocate.Services
	registry       *registry.Registry
	tokens         *auth.Tokens
	authentication *auth.Authenticator
	authorizer     *auth.Authorizer
	api            *apiserver.Server
	// unprepared tells that some objects that every cluster has could not be made yet.
	unprepared bool
}

// prepareEvery is how often objects are tried again that could not be made.
const prepareEvery = 2 * time.Second

// guard makes what says who somebody is and what they may do. more are tokens that others than service accounts have.
func (s *server) guard(more ...authenticator.Token) (err error) {
	c := s.config
	s.tokens, err = auth.NewTokens(auth.TokenOptions{
		Registry: s.registry, Issuers: c.ServiceAccountIssuers, Audiences: c.APIAudiences,
		Key: s.authority.TokenKey(), Keys: s.authority.TokenKeys(), MaxLife: c.MaxTokenExpiration, Now: c.Now,
	})
	if err != nil {
		return err
	}
	audiences := c.APIAudiences
	if len(audiences) == 0 {
		audiences = c.ServiceAccountIssuers
	}
	s.authentication = auth.NewAuthenticator(auth.AuthenticatorOptions{
		ClientCAs:       s.authority.ClientPool,
		FrontProxyCAs:   s.authority.FrontProxyPool,
		FrontProxyNames: []string{frontProxyName},
		Tokens:          append([]authenticator.Token{s.tokens}, more...),
		Audiences:       audiences,
		NoAnonymous:     !c.AnonymousAuth,
		Now:             c.Now,
	})
	s.authorizer, err = auth.NewAuthorizer(s.registry)
	return err
}

// bootstrap makes the objects that every cluster has, as far as they are missing.
func (s *server) bootstrap(ctx context.Context) error {
	if err := s.services.EnsureDefaultCIDR(ctx); err != nil {
		return err
	}
	err := bootstrap.Ensure(ctx, bootstrap.Options{
		Registry: s.registry, Port: s.port, Masters: s.masters(),
		ServiceIP: net.IP(s.config.ServiceRanges[0].Addr().Next().AsSlice()),
		ClientCA:  s.authority.CA().CertPEM, FrontProxyCA: s.authority.FrontProxyCA().CertPEM,
		FrontProxyNames: []string{frontProxyName}, Joining: s.joining,
	})
	if err != nil {
		return err
	}
	return s.authorizer.Sync(ctx)
}

// prepare makes the objects that every cluster has. What the present keys do not let it make, because a plugin that holds
// them starts later, is made when they do: other requests can be served.
func (s *server) prepare(ctx context.Context) error {
	err := s.bootstrap(ctx)
	if err == nil || ctx.Err() != nil || !s.keys.Failed() {
		return err
	}
	s.config.warn("%v; trying again in the background", err)
	s.unprepared = true
	return s.authorizer.Sync(ctx)
}

func (s *server) prepareAgain(ctx context.Context) {
	for s.unprepared {
		select {
		case <-ctx.Done():
			return
		case <-time.After(prepareEvery):
			s.unprepared = s.bootstrap(ctx) != nil
		}
	}
}

// objects counts what is kept, for the metrics.
func (s *server) objects() []metrics.Objects {
	var all []metrics.Objects
	for _, r := range s.registry.Stats().Resources {
		all = append(all, metrics.Objects{
			Group: r.Resource.Group, Resource: r.Resource.Resource, Count: r.Objects, Bytes: r.Bytes,
			Unreadable: r.Unreadable, ReadFailures: r.ReadFailures,
		})
	}
	return all
}

// publishAuthorities has the cluster's objects tell of the authorities.
func (s *server) publishAuthorities(ctx context.Context) error {
	a := s.authority
	return bootstrap.Trust(ctx, bootstrap.Options{
		Registry: s.registry, ClientCA: a.CA().CertPEM, FrontProxyCA: a.FrontProxyCA().CertPEM, FrontProxyNames: []string{frontProxyName},
	})
}

// publishEndpoints lists the masters in the service default/kubernetes.
func (s *server) publishEndpoints(ctx context.Context, masters []netip.AddrPort) error {
	return bootstrap.Endpoints(ctx, s.registry, masters)
}

// systemUID is the uid of kube-system, which is the cluster's.
func (s *server) systemUID() (string, error) {
	namespaces, ok := s.registry.Resource(schema.GroupResource{Resource: "namespaces"})
	if !ok {
		return "", errors.New("namespaces are not served")
	}
	item := namespaces.Peek("", metav1.NamespaceSystem)
	if item == nil {
		return "", errors.New("there is no namespace kube-system, whose uid is the cluster's")
	}
	return string(item.Object().GetUID()), nil
}

// unreadableValues are those of the store that all masters share, as this one sees them.
func (s *server) unreadableValues() membership.Unreadable {
	some, count := s.registry.Unreadable(membership.UnreadableMax)
	told := membership.Unreadable{Count: count}
	for _, u := range some {
		told.Values = append(told.Values, membership.UnreadableValue{Key: u.Key, Reason: u.Err.Error()})
	}
	return told
}

// led tells why nobody leads under that Lease; nil if somebody does.
func (s *server) led(lease string) error {
	leases, ok := s.registry.Resource(schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"})
	if !ok {
		return errors.New("leases are not served")
	}
	item := leases.Peek(metav1.NamespaceSystem, lease)
	if item == nil {
		return fmt.Errorf("no leader: there is no lease %s/%s", metav1.NamespaceSystem, lease)
	}
	l, ok := item.Object().(*coordinationv1.Lease)
	switch {
	case !ok || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil:
		return fmt.Errorf("no leader: the lease %s/%s has no holder", metav1.NamespaceSystem, lease)
	case time.Since(l.Spec.RenewTime.Time) > time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second:
		return fmt.Errorf("no leader: %s has not renewed the lease %s/%s in time", *l.Spec.HolderIdentity, metav1.NamespaceSystem, lease)
	}
	return nil
}

// holder of a Lease that has not run out; empty if nobody holds it.
func (s *server) holder(lease string) string {
	if s.led(lease) != nil {
		return ""
	}
	leases, ok := s.registry.Resource(schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"})
	if !ok {
		return ""
	}
	if item := leases.Peek(metav1.NamespaceSystem, lease); item != nil {
		if l, ok := item.Object().(*coordinationv1.Lease); ok && l.Spec.HolderIdentity != nil {
			return *l.Spec.HolderIdentity
		}
	}
	return ""
}

// checkAuthority refuses to serve a cluster that another authority has made: half of its clients could not speak to this
// master. It is called when the mirror is loaded, and nothing has been written.
func (s *server) checkAuthority() error {
	if !s.config.external() {
		return nil
	}
	maps, ok := s.registry.Resource(schema.GroupResource{Resource: "configmaps"})
	if !ok {
		return nil
	}
	item := maps.Peek(metav1.NamespaceSystem, clientAuthority)
	if item == nil {
		return nil // a new cluster
	}
	published, ok := item.Object().(*corev1.ConfigMap)
	if !ok || published.Data[clientAuthorityKey] == "" {
		return nil
	}
	theirs := publicKeys([]byte(published.Data[clientAuthorityKey]))
	for key := range publicKeys(s.authority.CA().CertPEM) {
		if theirs[key] {
			return nil
		}
	}
	return fmt.Errorf("etcd holds a cluster of another authority than %s under the prefix %s: start with the authority's files of that cluster (--pki-dir), join one of its masters (--join, with an empty data folder), or make another cluster with another --etcd-prefix",
		s.config.PKIDir, s.config.External.prefix())
}

// components are the parts of a master under upstream's names, each with what is known of its health: the cluster
// store answers, and somebody leads as scheduler and as controller manager, on this master or another.
func (s *server) components(ctx context.Context) []kind.Object {
	_, err := s.store.Revision(ctx)
	return []kind.Object{
		component("controller-manager", s.led("kube-controller-manager")),
		component("etcd-0", err),
		component("scheduler", s.led("kube-scheduler")),
	}
}

// as gives the transport of a user of this master's own. Its writes carry upstream's names of field managers.
func (s *server) as(userName string) *inProcess {
	info, manager := user.Info(&user.DefaultInfo{Name: userName, Groups: []string{user.AllAuthenticated}}), "kube-controller-manager"
	if namespace, name, err := serviceaccount.SplitUsername(userName); err == nil {
		info = auth.ServiceAccount(namespace, name)
	}
	if userName == schedulerUser {
		manager = "kube-scheduler"
	}
	return &inProcess{server: s.api, registry: s.registry, user: info, agent: manager}
}

func component(name string, err error) *corev1.ComponentStatus {
	health := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err != nil {
		health.Status, health.Message = corev1.ConditionFalse, err.Error()
	}
	return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{health}}
}
