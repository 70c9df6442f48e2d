package master

import (
	"context"
	"net/http"
	"net/netip"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/admission"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/metrics"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/master/members"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/patch"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/allocate"
)

// frontProxyName is the common name of the certificate with which this server speaks for its users to others.
const frontProxyName = "front-proxy-client"

// build makes the registry and the API server on the opened store; nothing runs yet.
func (m *Master) build() (err error) {
	c := &m.config
	m.server = &server{
		config: c, port: m.Port(), authority: m.own.Authority, keys: m.keys, catalog: api.Catalog(),
		masters: func() []netip.AddrPort { return m.roster.Endpoints() },
	}
	for _, k := range c.Kinds {
		m.server.catalog.Put(k)
	}
	if c.DataDir != "" || c.external() { // a cluster in memory has one master for ever
		path := admin.Root + membership.JoinPath
		m.server.joining = bootstrap.Joining{Group: membership.MastersGroup, Paths: []string{path, path + "/*"}, Server: m.listing().URL}
	}
	m.server.metrics = metrics.New(metrics.Options{
		Catalog: m.server.catalog, Version: health.Version(), StoreID: "etcd-0",
		StoreSize: func() int64 { total, _, _ := m.opened.store.Size(context.Background()); return total },
		Objects:   m.server.objects, Certificates: m.own.Expirations, Foreign: m.identity.Count,
		InFlight: func() (readOnly, mutating int64) { return m.server.api.InFlight() },
	})
	m.opened.store = measure(m.opened.store, m.server.metrics, m.server.catalog)
	m.server.store = m.opened.store
	if m.server.services, err = allocate.New(allocate.Options{
		Store: m.opened.store, CIDRs: c.ServiceRanges, NodePorts: allocate.PortRange{Base: c.NodePorts.Base, Size: c.NodePorts.Size},
	}); err != nil {
		return err
	}
	m.server.registry, err = registry.New(registry.Options{
		Store: m.opened.store, Kinds: m.server.catalog.Now().All(), EventTTL: c.EventTTL, Outage: m.opened.outage,
		Reservers: map[schema.GroupResource]registry.Reserver{{Resource: "services"}: m.server.services},
	})
	if err != nil {
		return err
	}
	if err := m.server.services.Attach(m.server.registry); err != nil {
		return err
	}
	m.backups = backups.New(m.backupOptions())
	return m.buildServer()
}

// buildServer makes the API server and what guards it.
func (m *Master) buildServer() error {
	c := &m.config
	if err := m.server.guard(m.members.Tokens(), members.NoMaster(auth.NewBootstrapTokens(m.server.registry))); err != nil {
		return err
	}
	masters := func() []membership.Master { return m.roster.Masters() }
	m.keys.Connect(keys.Needs{
		Masters: masters, Absent: m.members.Absent, Caller: m.caller(), Publish: m.members.Publish, Sealed: m.server.registry.Sealed,
	})
	m.members.Connect(members.Needs{Masters: masters, Holder: m.server.holder, Encryption: m.keys.InShort, Unreadable: m.server.unreadableValues})
	m.certificates = certificates.New(m.own, m.certificateNeeds(masters))
	plugins, err := c.admission()
	if err != nil {
		return err
	}
	plugins.Registry, plugins.Catalog, plugins.Authorizer, plugins.Now = m.server.registry, m.server.catalog, m.server.authorizer, c.Now
	chain, err := admission.New(plugins)
	if err != nil {
		return err
	}
	tracker := patch.NewTracker()
	go tracker.Warm(m.server.catalog.Now().All()...)
	m.server.api = apiserver.New(apiserver.Options{
		Registry:      m.server.registry,
		Catalog:       m.server.catalog,
		Authenticator: members.Authenticator(m.server.authentication),
		Authorizer:    m.server.authorizer,
		Admission:     chain,
		Tracker:       tracker,
		Reviewer:      &auth.Reviews{Authenticator: m.server.authentication, Authorizer: m.server.authorizer},
		Computed:      map[schema.GroupResource]apiserver.Computed{{Resource: "componentstatuses"}: m.server.components},
		Tokens:        m.server.tokens,
		Paths:         m.paths(m.server.tokens),
		Observe:       func(o apiserver.Observation) { m.server.metrics.Request(metrics.Request(o)) },
		Abandoned:     m.server.metrics.Abandoned,
		Sent:          func(k *kind.Kind) func(int) { return m.server.metrics.Watch(k).Sent },
		LongRunning:   func(o apiserver.Observation) func() { return m.server.metrics.LongRunning(metrics.Request(o)) },
		MaxReads:      bound(c.MaxRequestsInflight),
		MaxWrites:     bound(c.MaxMutatingInflight),
		Timeout:       c.RequestTimeout,
		MinWatch:      c.MinRequestTimeout,
		GoawayChance:  c.GoawayChance,
		Rejected:      m.server.metrics.Rejected,
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

// backupOptions are what backups need of this master.
func (m *Master) backupOptions() backups.Options {
	c := &m.config
	o := backups.Options{
		Plan: c.Backups, DataDir: c.DataDir, Self: m.enrolment.Name, Store: m.opened.store, Raw: m.opened.raw, Authority: m.own.Authority,
		KeysFile: m.keys.File, KeysName: datafolder.OperatorEncryptionFile,
		System: m.server.systemUID, Privilege: m.privilege(), Metrics: m.server.metrics.Backups, Log: c.Log, Warn: c.warn,
	}
	if c.managesKeys() {
		o.KeysName = datafolder.EncryptionFile
	}
	return o
}

// certificateNeeds are what certificates need of the rest of this master.
func (m *Master) certificateNeeds(masters func() []membership.Master) certificates.Needs {
	n := certificates.Needs{
		Self: m.enrolment.Name, Store: m.opened.store, Tokens: m.server.tokens, MaxTokenLife: m.config.MaxTokenExpiration, Authenticator: m.server.authentication,
		Trust: m.server.publishAuthorities, RenewalFailed: m.server.metrics.RenewalFailed,
		Masters: masters, Absent: m.members.Absent, Caller: m.caller(), Publish: m.members.Publish,
	}
	if m.opened.member != nil {
		n.Member = m.opened.member
	}
	return n
}

// memberOptions are what the group knows of this master before its store is open.
func (m *Master) memberOptions() members.Options {
	c, self := &m.config, m.listing()
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
		DataDir: c.DataDir, BindAddress: c.BindAddress, Host: m.taken.reachable(&m.config), Port: c.PeerPort,
		Authority: func() *pki.Authority { return m.own.Authority }, Extra: http.HandlerFunc(m.identity.AnswerPeer),
	}
}
