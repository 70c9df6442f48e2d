// Package master puts a master together: cluster store, registry, API server, controllers and scheduler, in the order
// in which they need each other.
package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/master/enrol"
	"github.com/wheelhouse-k8s/wheelhouse/master/identity"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/master/members"
	"github.com/wheelhouse-k8s/wheelhouse/master/roster"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// Master is one master. New prepares it, Run runs it.
type Master struct {
	config    Config
	taken     taken
	enrolment *enrol.Enrolment
	own       *certificates.Own
	identity  *identity.Identity
	starting  starting

	// Set in the course of Run.
	opened       opened
	keys         *keys.Keys
	members      *members.Members
	server       *server
	certificates *certificates.Certificates
	backups      *backups.Backups
	roster       *roster.Roster

	life life
}

// life is what others see of where a master's run stands.
type life struct {
	tasks    tasks
	ready    chan struct{} // closed when the API answers
	stopping chan struct{} // closed when the master begins to stop
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
	m := &Master{config: c, starting: starting{warn: c.warn}, life: life{ready: make(chan struct{}), stopping: make(chan struct{})}}
	self := func() (name, url string) { l := m.listing(); return l.Name, l.URL }
	proven := func(r *http.Request) bool { return m.privilege().Proven(r) }
	m.identity = identity.New(c.identity(self, proven))
	if err := m.take(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Master) take() (err error) {
	c := &m.config
	if c.DataDir != "" {
		if m.taken.lock, err = datafolder.Lock(c.DataDir, c.Log); err != nil {
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
	if m.taken.listener, err = net.Listen("tcp", address); err != nil {
		return fmt.Errorf("cannot serve on %s: %w: is another server running? choose another --secure-port or --bind-address", address, err)
	}
	m.taken.advertise = advertised(c)
	if m.enrolment.Open() {
		return nil // the authority is still to come
	}
	return m.certify()
}

// Close gives back what New took, for a master that never ran.
func (m *Master) Close() { m.taken.close() }

// Ready is closed when the API answers.
func (m *Master) Ready() <-chan struct{} { return m.life.ready }

// Port on which HTTPS is served.
func (m *Master) Port() int { return m.taken.port() }

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
		err = errors.Join(err, m.enrolment.Undo(ctx, m.opened.close))
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
	m.starting.door = startDoor{
		listener: m.taken.listener, tls: tlsConfig(&m.config, m.own), proven: m.privilege().Proven, identity: m.identity, members: m.members,
	}
	serveAnswers := sync.OnceFunc(m.starting.answer())
	defer serveAnswers()
	if err := m.openStore(ctx); err != nil {
		return stopped(ctx, err)
	}
	endStop := func() {}
	defer func() { endStop() }()
	defer m.opened.store.Close()
	m.opened.raw = m.opened.store
	m.identity.Open(m.opened.store, m.opened.member)
	m.members.Begin(members.Opened{Store: m.opened.store, Member: m.opened.member, Remote: m.opened.remote})
	if m.config.RecoverQuorum && m.opened.member != nil {
		if err := m.members.ForgetInvitations(ctx); err != nil {
			return stopped(ctx, err)
		}
	}
	if err := m.starting.patiently(ctx, "the identity of the store", func(ctx context.Context) error { return m.identity.Establish(ctx, m.enrolment.Began()) }); err != nil {
		return ended(err)
	}
	err := m.starting.patiently(ctx, "the authority and keys that all masters share", func(ctx context.Context) error {
		others, err := roster.Others(ctx, m.opened.store, m.enrolment.Name)
		if err != nil {
			return err
		}
		return m.members.CatchUp(ctx, others, m.enrolment.Grant())
	})
	if err != nil {
		return ended(err)
	}
	if err := m.starting.patiently(ctx, "the record of the encryption keys", func(ctx context.Context) error { return m.keys.Ensure(ctx, m.opened.store) }); err != nil {
		return stopped(ctx, err)
	}
	around, endEncryption, err := m.keys.Open(ctx, m.opened.store, func() { m.server.registry.Unseal() })
	if err != nil {
		return stopped(ctx, err)
	}
	m.opened.store = around
	defer endEncryption()
	if err := m.build(); err != nil {
		return err
	}
	m.starting.at("the objects in the store are read")
	return m.work(ctx, serveAnswers, func() { endStop = announceStop(&m.config, m.opened.member, m.waitsFor) })
}

// stopped drops the error of a start that was given up on purpose.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// work runs what was built. What serves requests outlives what makes requests: controllers, scheduler and simulated nodes
// end first. begun is called when the server is about to take over from who answered during the start, and ending when the master begins to stop.
func (m *Master) work(ctx context.Context, begun, ending func()) error {
	// Not of ctx: it ends when those who make requests have ended.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	servers, serving := errgroup.WithContext(serving)
	servers.Go(func() error { return m.server.registry.Run(serving) })
	servers.Go(func() error { m.server.authorizer.Run(serving); return nil })
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
	case <-m.server.registry.Ready():
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
	servers.Go(func() error {
		close(m.life.ready)
		return m.server.api.Serve(serving, m.taken.listener, tlsConfig(&m.config, m.own))
	})
	if c := &m.config; c.DataDir != "" {
		servers.Go(func() error {
			admin.ServeLocal(serving, c.DataDir, m.identity.Introduce(admin.Mux(m.commands())), c.warn)
			return nil
		})
	}
	for name, do := range m.tasks(entered) {
		loops.Go(m.life.tasks.run(name, func() error { return do(working) }))
	}
	<-working.Done()
	close(m.life.stopping) // by nobody else, and once: work runs once
	ending()
	loopsEnded := loops.Wait()
	stop()
	return errors.Join(ended(loopsEnded), ended(servers.Wait()))
}

// tasks are what a master does by itself, in the operator's words. It entered the roster at a revision.
func (m *Master) tasks(entered int64) map[string]func(context.Context) error {
	forever := func(do func(context.Context)) func(context.Context) error {
		return func(ctx context.Context) error { do(ctx); return nil }
	}
	return map[string]func(context.Context) error{
		"the service addresses":        forever(m.server.services.Run),
		"the certificates":             forever(m.certificates.Tend),
		"the encryption":               forever(m.keys.Tend),
		"the objects of every cluster": forever(m.server.prepareAgain),
		"the list of masters": forever(func(ctx context.Context) {
			m.roster.Live(ctx, entered, m.server.publishEndpoints, func(listings []roster.Listing) { meetRoster(m.identity, m.enrolment.Name, listings) })
		}),
		"the controllers and scheduler": m.leader().lead,
		"the members of the store":      m.members.Watch,
		"the identity of the store": forever(func(ctx context.Context) {
			m.identity.Watch(ctx, m.members, m.server.as(controllerManagerUser))
		}),
		"the masters to join": forever(func(ctx context.Context) { m.enrolment.AskLater(ctx, m.identity) }),
		"the shared files":    forever(m.members.Follow),
		"the simulated nodes": func(ctx context.Context) error {
			select {
			case <-m.life.ready:
				return simulateNodes(ctx, m.config.SimulateNodes, m.own, m.restConfig)
			case <-ctx.Done():
				return nil
			}
		},
	}
}

// begin makes this master one of the cluster's, whose mirror is loaded, and prepares what it serves.
func (m *Master) begin(ctx context.Context) (entered int64, err error) {
	if err := m.server.checkAuthority(); err != nil {
		return 0, err
	}
	if m.enrolment.Joining() { // from the moment it is on the roster it may get a vote, and its data must not be given up any more
		if err := m.enrolment.Joined(); err != nil {
			return 0, err
		}
	}
	err = m.starting.patiently(ctx, "the list of masters", func(ctx context.Context) error {
		m.roster = roster.New(m.opened.store, m.listing(), func() bool { return m.opened.alone(&m.config) })
		if m.opened.member != nil {
			m.roster.PreferLeaderOf(m.opened.member)
		}
		entered, err = m.roster.Enter(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := m.starting.patiently(ctx, "the objects that every cluster has", m.server.prepare); err != nil {
		return entered, err
	}
	if uid, err := m.server.systemUID(); err == nil {
		m.identity.SetSystem(uid)
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
		m.starting.at("none of the etcd servers serves yet")
		return m.opened.dial(ctx, &m.config)
	}
	if c.DataDir == "" {
		if m.opened.store = c.store; m.opened.store == nil {
			m.opened.store = memory.New()
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
	m.opened.store, m.opened.member = opened, opened
	return nil
}

// certify loads the authority, or makes it at the first start.
func (m *Master) certify() (err error) {
	c := &m.config
	options := pki.Options{ExtraSANs: c.TLSNames, NoEtcd: c.external(), Now: c.Now}
	if m.taken.advertise != nil {
		options.AdvertiseIPs = append(options.AdvertiseIPs, m.taken.advertise)
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
