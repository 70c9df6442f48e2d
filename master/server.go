package master

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/admission"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/metrics"
	"github.com/wheelhouse-k8s/wheelhouse/control"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/master/members"
	"github.com/wheelhouse-k8s/wheelhouse/master/roll"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/patch"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/allocate"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// frontProxyName is the common name of the certificate with which this server speaks for its users to others.
const frontProxyName = "front-proxy-client"

// build makes the registry and the API server on the opened store; nothing runs yet.
func (m *Master) build() (err error) {
	c := &m.config
	m.metrics = metrics.New(metrics.Options{
		Catalog: m.catalog, Version: health.Version(), StoreID: "etcd-0",
		StoreSize: func() int64 { total, _, _ := m.store.Size(context.Background()); return total },
		Objects:   m.objects, Certificates: m.own.Expirations, Foreign: m.identity.Count,
		InFlight: func() (readOnly, mutating int64) { return m.server.InFlight() },
	})
	m.store = measure(m.store, m.metrics, m.catalog)
	if m.services, err = allocate.New(allocate.Options{
		Store: m.store, CIDRs: c.ServiceRanges, NodePorts: allocate.PortRange{Base: c.NodePorts.Base, Size: c.NodePorts.Size},
	}); err != nil {
		return err
	}
	m.registry, err = registry.New(registry.Options{
		Store: m.store, Kinds: m.catalog.Now().All(), EventTTL: c.EventTTL, Outage: m.outage,
		Reservers: map[schema.GroupResource]registry.Reserver{{Resource: "services"}: m.services},
	})
	if err != nil {
		return err
	}
	if err := m.services.Attach(m.registry); err != nil {
		return err
	}
	m.backups = backups.New(m.backupOptions())
	return m.buildServer()
}

// buildServer makes the API server and what guards it.
func (m *Master) buildServer() error {
	c := &m.config
	var err error
	m.tokens, err = auth.NewTokens(auth.TokenOptions{
		Registry: m.registry, Issuers: c.ServiceAccountIssuers, Audiences: c.APIAudiences,
		Key: m.own.Authority.TokenKey(), Keys: m.own.Authority.TokenKeys(), MaxLife: c.MaxTokenExpiration, Now: c.Now,
	})
	if err != nil {
		return err
	}
	audiences := c.APIAudiences
	if len(audiences) == 0 {
		audiences = c.ServiceAccountIssuers
	}
	m.authentication = auth.NewAuthenticator(auth.AuthenticatorOptions{
		ClientCAs:       m.own.Authority.ClientPool,
		FrontProxyCAs:   m.own.Authority.FrontProxyPool,
		FrontProxyNames: []string{frontProxyName},
		Tokens:          []authenticator.Token{m.tokens, m.members.Tokens(), members.NoMaster(auth.NewBootstrapTokens(m.registry))},
		Audiences:       audiences,
		NoAnonymous:     !c.AnonymousAuth,
		Now:             c.Now,
	})
	if m.authorizer, err = auth.NewAuthorizer(m.registry); err != nil {
		return err
	}
	m.keys.Connect(keys.Needs{
		Masters: m.masters, Absent: m.members.Absent, AllServe: m.members.AllServe, Caller: m.caller(), Publish: m.members.Publish, Sealed: m.registry.Sealed,
	})
	m.members.Connect(members.Needs{Masters: m.masters, Holder: m.holder, Encryption: m.keys.InShort, Unreadable: m.unreadableValues})
	m.certificates = certificates.New(m.own, m.certificateNeeds())
	plugins, err := c.admission()
	if err != nil {
		return err
	}
	plugins.Registry, plugins.Catalog, plugins.Authorizer, plugins.Now = m.registry, m.catalog, m.authorizer, c.Now
	chain, err := admission.New(plugins)
	if err != nil {
		return err
	}
	tracker := patch.NewTracker()
	go tracker.Warm(m.catalog.Now().All()...)
	m.server = apiserver.New(apiserver.Options{
		Registry:      m.registry,
		Catalog:       m.catalog,
		Authenticator: members.Authenticator(m.authentication),
		Authorizer:    m.authorizer,
		Admission:     chain,
		Tracker:       tracker,
		Reviewer:      &auth.Reviews{Authenticator: m.authentication, Authorizer: m.authorizer},
		Computed:      map[schema.GroupResource]apiserver.Computed{{Resource: "componentstatuses"}: m.components},
		Tokens:        m.tokens,
		Paths:         m.paths(m.tokens),
		Observe:       func(o apiserver.Observation) { m.metrics.Request(metrics.Request(o)) },
		Abandoned:     m.metrics.Abandoned,
		Sent:          func(k *kind.Info) func(int) { return m.metrics.Watch(k).Sent },
		LongRunning:   func(o apiserver.Observation) func() { return m.metrics.LongRunning(metrics.Request(o)) },
		MaxReads:      bound(c.MaxRequestsInflight),
		MaxWrites:     bound(c.MaxMutatingInflight),
		Timeout:       c.RequestTimeout,
		MinWatch:      c.MinRequestTimeout,
		GoawayChance:  c.GoawayChance,
		Rejected:      m.metrics.Rejected,
	})
	return nil
}

// bound translates the flags' 0, no limit, into the server's.
func bound(limit int) int {
	if limit == 0 {
		return -1
	}
	return limit
}

// bootstrap makes the objects that every cluster has, as far as they are missing.
func (m *Master) bootstrap(ctx context.Context) error {
	if err := m.services.EnsureDefaultCIDR(ctx); err != nil {
		return err
	}
	err := bootstrap.Ensure(ctx, bootstrap.Options{
		Registry: m.registry, Port: m.Port(), Masters: m.roll.Endpoints(),
		ServiceIP: net.IP(m.config.ServiceRanges[0].Addr().Next().AsSlice()),
		ClientCA:  m.own.Authority.CA().CertPEM, FrontProxyCA: m.own.Authority.FrontProxyCA().CertPEM,
		FrontProxyNames: []string{frontProxyName}, Joining: m.whoJoins(),
	})
	if err != nil {
		return err
	}
	return m.authorizer.Sync(ctx)
}

// objects counts what is kept, for the metrics.
func (m *Master) objects() []metrics.Objects {
	var all []metrics.Objects
	for _, s := range m.registry.Stats().Resources {
		all = append(all, metrics.Objects{
			Group: s.Resource.Group, Resource: s.Resource.Resource, Count: s.Objects, Bytes: s.Bytes,
			Unreadable: s.Unreadable, ReadFailures: s.ReadFailures,
		})
	}
	return all
}

// serve answers HTTPS requests until ctx ends.
func (m *Master) serve(ctx context.Context) error {
	m.readyOnce.Do(func() { close(m.ready) })
	return m.server.Serve(ctx, m.listener, m.tlsConfig())
}

// outage tells why the store cannot answer, as far as this master knows by itself.
func (m *Master) outage() error {
	if m.member == nil || !m.member.Grouped() {
		return nil
	}
	if q := m.member.Quorum(); q.Lost() {
		return &store.NoQuorum{Why: q.String()}
	}
	return nil
}

// backupOptions are what backups need of this master.
func (m *Master) backupOptions() backups.Options {
	c := &m.config
	o := backups.Options{
		Plan: c.Backups, DataDir: c.DataDir, Self: m.enrolment.Name, Store: m.store, Raw: m.raw, Authority: m.own.Authority,
		KeysFile: m.keys.File, KeysName: datafolder.OperatorEncryptionFile,
		System: m.systemUID, Privilege: m.privilege(), Metrics: m.metrics.Backups, Log: c.Log, Warn: c.warn,
	}
	if c.managesKeys() {
		o.KeysName = datafolder.EncryptionFile
	}
	return o
}

// systemUID is the uid of kube-system, which is the cluster's.
func (m *Master) systemUID() (string, error) {
	namespaces, ok := m.registry.Resource(schema.GroupResource{Resource: "namespaces"})
	if !ok {
		return "", errors.New("namespaces are not served")
	}
	item := namespaces.Peek("", metav1.NamespaceSystem)
	if item == nil {
		return "", errors.New("there is no namespace kube-system, whose uid is the cluster's")
	}
	return string(item.Object().GetUID()), nil
}

// certificateNeeds are what certificates need of the rest of this master.
func (m *Master) certificateNeeds() certificates.Needs {
	n := certificates.Needs{
		Self: m.enrolment.Name, Store: m.store, Tokens: m.tokens, MaxTokenLife: m.config.MaxTokenExpiration, Authenticator: m.authentication,
		Trust: m.publishAuthorities, RenewalFailed: m.metrics.RenewalFailed,
		Masters: m.masters, Absent: m.members.Absent, Caller: m.caller(), Publish: m.members.Publish,
	}
	if m.member != nil {
		n.Member = m.member
	}
	return n
}

// publishAuthorities has the cluster's objects tell of the authorities.
func (m *Master) publishAuthorities(ctx context.Context) error {
	a := m.own.Authority
	return bootstrap.Trust(ctx, bootstrap.Options{
		Registry: m.registry, ClientCA: a.CA().CertPEM, FrontProxyCA: a.FrontProxyCA().CertPEM, FrontProxyNames: []string{frontProxyName},
	})
}

// prepare makes the objects that every cluster has. What the present keys do not let it make, because a plugin that holds
// them starts later, is made when they do: other requests can be served.
func (m *Master) prepare(ctx context.Context) error {
	err := m.bootstrap(ctx)
	if err == nil || ctx.Err() != nil || !m.keys.Failed() {
		return err
	}
	m.config.warn("%v; trying again in the background", err)
	m.unprepared = true
	return m.authorizer.Sync(ctx)
}

// prepareEvery is how often objects are tried again that could not be made.
const prepareEvery = 2 * time.Second

func (m *Master) prepareAgain(ctx context.Context) {
	for m.unprepared {
		select {
		case <-ctx.Done():
			return
		case <-time.After(prepareEvery):
			m.unprepared = m.bootstrap(ctx) != nil
		}
	}
}

// whoJoins are those with a token for masters. A cluster in memory has one master for ever.
func (m *Master) whoJoins() bootstrap.Joining {
	if m.config.DataDir == "" && !m.config.external() {
		return bootstrap.Joining{}
	}
	path := control.Root + membership.JoinPath
	return bootstrap.Joining{Group: membership.MastersGroup, Paths: []string{path, path + "/*"}, Server: m.peer().URL}
}

// masters are those that live.
func (m *Master) masters() []membership.Master { return m.roll.Masters() }

// memberOptions are what the group knows of this master before its store is open.
func (m *Master) memberOptions() members.Options {
	c, self := &m.config, m.peer()
	return members.Options{
		Self: self.Name, URL: self.URL, DataDir: c.DataDir, StoreKind: c.storeKind(), Joinable: c.DataDir != "" || c.external(), Leases: self.Leases,
		Settings: c.sharedSettings(), Door: m.door(), Authority: m.own.Authority,
		Parts:    []membership.Shared{certificates.Shared{Authority: m.own.Authority}, m.keys},
		Identity: m.identity, Caller: m.caller(), Privilege: m.privilege(), Now: c.Now, Log: c.Log, Warn: c.warn,
	}
}

// door is where other masters reach this one's member of the store.
func (m *Master) door() *members.Door {
	c := &m.config
	return &members.Door{
		DataDir: c.DataDir, BindAddress: c.BindAddress, Host: m.reachable(), Port: c.PeerPort,
		Authority: func() *pki.Authority { return m.own.Authority }, Extra: http.HandlerFunc(m.identity.AnswerPeer),
	}
}

// share makes this master's authority and keys those of the cluster.
func (m *Master) share(ctx context.Context) error {
	others, err := roll.Others(ctx, m.store, m.enrolment.Name)
	if err != nil {
		return err
	}
	return m.members.CatchUp(ctx, others, m.enrolment.Grant())
}
