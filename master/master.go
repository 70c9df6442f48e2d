// Package master puts a master together: cluster store, registry, API server, controllers and scheduler, in the order
// in which they need each other.
package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/metrics"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/master/enrol"
	"github.com/wheelhouse-k8s/wheelhouse/master/identity"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/master/members"
	"github.com/wheelhouse-k8s/wheelhouse/master/roll"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/allocate"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// Master is one master. New prepares it, Run runs it.
type Master struct {
	config    Config
	listener  net.Listener
	lock      *os.File // nil without a data folder
	own       *certificates.Own
	advertise net.IP
	enrolment *enrol.Enrolment
	identity  *identity.Identity

	starting starting

	// Set in the course of Run.
	store          store.Store
	raw            store.Store    // the same without what is wrapped around it: values as they are kept
	member         *etcd.Embedded // nil unless the store is a member in this process
	remote         *etcd.Remote   // nil unless the store is an etcd that runs by itself
	keys           *keys.Keys
	roll           *roll.Roll
	members        *members.Members
	precedence     *roll.Precedence // nil without a member
	backups        *backups.Backups
	certificates   *certificates.Certificates
	catalog        *kind.Catalog
	registry       *registry.Registry
	services       *allocate.Services
	authorizer     *auth.Authorizer
	tokens         *auth.Tokens
	authentication *auth.Authenticator
	metrics        *metrics.Metrics
	server         *apiserver.Server

	tasks tasks
	// unprepared tells that some objects that every cluster has could not be made yet.
	unprepared bool

	ready     chan struct{}
	stopping  chan struct{} // closed when the master begins to stop
	readyOnce sync.Once
}

// New checks the configuration and takes what other processes could hold: the port and the data folder.
// Run, or Close, gives them back.
func New(c Config) (*Master, error) {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	c.warnOfSuites()
	m := &Master{config: c, catalog: api.Catalog(), ready: make(chan struct{}), stopping: make(chan struct{})}
	m.identity = identity.New(c.identity(m.self, m.proven))
	if err := m.take(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Master) take() (err error) {
	c := &m.config
	if c.DataDir != "" {
		if m.lock, err = datafolder.Lock(c.DataDir, c.Log); err != nil {
			return err
		}
		if c.PKIDir == "" {
			c.PKIDir = filepath.Join(c.DataDir, "pki")
		}
		if c.Kubeconfig == "" {
			c.Kubeconfig = datafolder.Kubeconfig(c.DataDir)
		}
	}
	if m.enrolment, err = enrol.Prepare(c.enrolment(func() (string, error) { return m.door().URL() })); err != nil {
		return err
	}
	address := net.JoinHostPort(c.BindAddress, strconv.Itoa(c.SecurePort))
	if m.listener, err = net.Listen("tcp", address); err != nil {
		return fmt.Errorf("cannot serve on %s: %w: is another server running? choose another --secure-port or --bind-address", address, err)
	}
	m.advertise = advertised(c)
	if m.enrolment.Open() {
		return nil // the authority is still to come
	}
	return m.certify()
}

// Close gives back what New took, for a master that never ran.
func (m *Master) Close() {
	if m.listener != nil {
		m.listener.Close()
	}
	if m.lock != nil {
		m.lock.Close()
	}
}

// Ready is closed when the API answers.
func (m *Master) Ready() <-chan struct{} { return m.ready }

// Port on which HTTPS is served.
func (m *Master) Port() int { return m.listener.Addr().(*net.TCPAddr).Port }

// URL of the API, for clients on this machine.
func (m *Master) URL() string {
	host := m.config.BindAddress
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(m.Port()))
}

// Kubeconfig is the file with the administrator's credentials; empty if none was written.
func (m *Master) Kubeconfig() string { return m.config.Kubeconfig }

// RESTConfig is a client configuration with the administrator's credentials.
func (m *Master) RESTConfig() *rest.Config { return m.restConfig(m.own.Admin()) }

func (m *Master) restConfig(client *pki.Pair) *rest.Config {
	return &rest.Config{Host: m.URL(), TLSClientConfig: rest.TLSClientConfig{
		CAData: m.own.Authority.CA().CertPEM, CertData: client.CertPEM, KeyData: client.KeyPEM,
	}}
}

// Run runs the master until ctx ends, or a part of it fails for good.
func (m *Master) Run(ctx context.Context) error {
	defer m.Close()
	running, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(m.identity.Over(), stop)() // wherever it is, a start that waits for the others included
	err := m.run(running)
	if why := m.identity.Why(); why != nil {
		err = why
	}
	if m.enrolment.Joining() { // it did not come to serve
		err = errors.Join(err, m.enrolment.Undo(ctx, m.closeStore))
	}
	return err
}

func (m *Master) run(ctx context.Context) error {
	if m.enrolment.Open() { // whose master this is, and what it has of others
		if err := m.enrolment.Decide(ctx); err != nil {
			return err
		}
		if err := m.certify(); err != nil {
			return err
		}
	}
	m.keys = keys.New(m.config.encryption(m.enrolment.Name))
	m.members = members.New(m.memberOptions())
	serveAnswers := sync.OnceFunc(m.answerStart())
	defer serveAnswers()
	if err := m.openStore(ctx); err != nil {
		return stopped(ctx, err)
	}
	endStop := func() {}
	defer func() { endStop() }()
	defer m.store.Close()
	m.raw = m.store
	m.identity.Open(m.store, m.member)
	m.members.Begin(members.Opened{Store: m.store, Member: m.member, Remote: m.remote})
	if m.config.RecoverQuorum && m.member != nil {
		if err := m.members.ForgetInvitations(ctx); err != nil {
			return stopped(ctx, err)
		}
	}
	if err := m.patiently(ctx, "the identity of the store", func(ctx context.Context) error { return m.identity.Establish(ctx, m.enrolment.Began()) }); err != nil {
		return ended(err)
	}
	if err := m.patiently(ctx, "the authority and keys that all masters share", m.share); err != nil {
		return ended(err)
	}
	if err := m.patiently(ctx, "the record of the encryption keys", func(ctx context.Context) error { return m.keys.Ensure(ctx, m.store) }); err != nil {
		return stopped(ctx, err)
	}
	around, endEncryption, err := m.keys.Open(ctx, m.store, func() { m.registry.Unseal() })
	if err != nil {
		return stopped(ctx, err)
	}
	m.store = around
	defer endEncryption()
	if err := m.build(); err != nil {
		return err
	}
	m.starting.at("the objects in the store are read")
	return m.work(ctx, serveAnswers, func() { endStop = m.announceStop() })
}

// stopped drops the error of a start that was given up on purpose.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// closeStore closes the store, if it is open.
func (m *Master) closeStore() error {
	if m.store == nil {
		return nil
	}
	defer func() { m.store = nil }()
	return m.store.Close()
}

// work runs what was built. What serves requests outlives what makes requests: controllers, scheduler and simulated nodes
// end first. begun is called when the server is about to take over from who answered during the start, and ending when the master begins to stop.
func (m *Master) work(ctx context.Context, begun, ending func()) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	servers, serving := errgroup.WithContext(serving)
	servers.Go(func() error { return m.registry.Run(serving) })
	servers.Go(func() error { m.authorizer.Run(serving); return nil })
	loops, working := errgroup.WithContext(ctx)
	m.keys.Within(working)
	loops.Go(func() error { // a server that fails ends the loops; servers.Wait says why it failed
		select {
		case <-serving.Done():
			return context.Canceled
		case <-working.Done():
			return nil
		}
	})
	select {
	case <-m.registry.Ready():
	case <-serving.Done():
		return ended(servers.Wait())
	case <-ctx.Done():
		stop()
		return ended(servers.Wait())
	}
	beginning, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(serving, cancel)()
	entered, err := m.begin(beginning)
	cancel()
	if err != nil {
		stop()
		return errors.Join(ended(err), ended(servers.Wait()))
	}
	begun()
	servers.Go(func() error { return m.serve(serving) })
	servers.Go(func() error { m.serveLocal(serving); return nil })
	for name, do := range map[string]func(context.Context) error{
		"the service addresses":        func(ctx context.Context) error { m.services.Run(ctx); return nil },
		"the certificates":             func(ctx context.Context) error { m.certificates.Tend(ctx); return nil },
		"the encryption":               func(ctx context.Context) error { m.keys.Tend(ctx); return nil },
		"the objects of every cluster": func(ctx context.Context) error { m.prepareAgain(ctx); return nil },
		"the list of masters": func(ctx context.Context) error {
			m.roll.Live(ctx, entered, m.publishEndpoints, m.meetRoll)
			return nil
		},
		"the controllers and scheduler": m.lead,
		"the members of the store":      m.members.Watch,
		"the identity of the store":     func(ctx context.Context) error { m.watchIdentity(ctx); return nil },
		"the shared files":              func(ctx context.Context) error { m.members.Follow(ctx); return nil },
		"the simulated nodes":           m.simulate,
	} {
		loops.Go(m.tasks.run(name, func() error { return do(working) }))
	}
	<-working.Done()
	close(m.stopping)
	ending()
	loopsEnded := loops.Wait()
	stop()
	return errors.Join(ended(loopsEnded), ended(servers.Wait()))
}

// begin makes this master one of the cluster's, whose mirror is loaded, and prepares what it serves.
func (m *Master) begin(ctx context.Context) (entered int64, err error) {
	if err := m.checkAuthority(); err != nil {
		return 0, err
	}
	if m.enrolment.Joining() { // from the moment it is on the roll it may get a vote, and its data must not be given up any more
		if err := m.enrolment.Joined(); err != nil {
			return 0, err
		}
	}
	err = m.patiently(ctx, "the list of masters", func(ctx context.Context) error {
		m.roll = roll.New(m.store, m.peer(), m.alone)
		if m.member != nil {
			m.precedence = roll.NewPrecedence(m.member, m.roll.Peers, m.roll.Changed)
		}
		entered, err = m.roll.Enter(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := m.patiently(ctx, "the objects that every cluster has", m.prepare); err != nil {
		return entered, err
	}
	if uid, err := m.systemUID(); err == nil {
		m.identity.Settle(uid)
	}
	return entered, nil
}

// ended drops the error of a context that was ended on purpose.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (m *Master) openStore(ctx context.Context) error {
	c := m.config
	if c.external() {
		return m.openExternal(ctx)
	}
	if c.DataDir == "" {
		if m.store = c.store; m.store == nil {
			m.store = memory.New()
		}
		return nil
	}
	o := etcd.Options{
		Dir: filepath.Join(c.DataDir, "etcd"), Name: m.enrolment.Name, Quota: c.Quota, CompactionInterval: c.CompactionInterval,
		Log: etcdLog(), Warn: func(message string) { c.warn("store: %s", message) }, Running: m.starting.member.Store,
	}
	if m.enrolment.Recovering() {
		if err := m.enrolment.Recover(ctx, o); err != nil {
			return err
		}
	}
	var join *etcd.Join
	if grant := m.enrolment.Grant(); grant != nil {
		join = &etcd.Join{Cluster: grant.Cluster}
	}
	if err := m.door().Options(&o, join); err != nil {
		return err
	}
	if err := m.identity.AskMembers(ctx, &o); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(m.identity.Over(), stop)()
	opened, err := etcd.Open(ctx, o)
	if err != nil {
		return cmp.Or(m.identity.Why(), err)
	}
	m.store, m.member = opened, opened
	return nil
}

// certify loads the authority, or makes it at the first start.
func (m *Master) certify() (err error) {
	c := &m.config
	options := pki.Options{ExtraSANs: c.TLSNames, NoEtcd: c.external(), Now: c.Now}
	if m.advertise != nil {
		options.AdvertiseIPs = append(options.AdvertiseIPs, m.advertise)
	}
	for _, r := range c.ServiceRanges {
		options.ServiceIPs = append(options.ServiceIPs, net.IP(r.Addr().Next().AsSlice()))
	}
	if ip := net.ParseIP(c.BindAddress); ip != nil && !ip.IsUnspecified() {
		options.AdvertiseIPs = append(options.AdvertiseIPs, ip)
	}
	m.own, err = certificates.Open(certificates.Options{
		PKIDir: c.PKIDir, Kubeconfig: c.Kubeconfig, URL: m.URL(), PKI: options,
		CertFile: c.TLSCertFile, KeyFile: c.TLSKeyFile, Log: c.Log, Warn: c.warn,
	})
	return err
}
