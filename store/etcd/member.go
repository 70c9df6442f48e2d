package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"expvar"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/pkg/v3/featuregate"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

const (
	// nobody is the peer address of a member without peers: it is written into the membership and never dialled.
	nobody = "http://localhost:2380"
	// A member without peers has nobody to wait for: its election is short. Each tick wakes an idle master.
	loneTick, loneElection = 100, 500
	// Members of a group keep etcd's usual ticks, in milliseconds: a leader that is silent for an election time, and up
	// to twice that, is replaced.
	groupTick, groupElection = 100, 1000
	// walFilesMax and snapshotsMax bound what is kept of the log.
	walFilesMax, snapshotsMax = 5, 3
	// requestMax in bytes; the API server bounds its requests itself.
	requestMax = 8 << 20
	// learnersMax bounds the members that join at the same time.
	learnersMax = 16
	// compareEvery is how often a leader compares its copy of what was compacted with the others'.
	compareEvery = time.Minute
)

// errNotAlone: a member was started alone, and its log says that it has peers.
var errNotAlone = errors.New("this master belongs to a group: start it with the settings that it is reached under by the others")

// running is a started member, and what serves it.
type running struct {
	etcd    *embed.Etcd
	server  *etcdserver.EtcdServer
	grouped bool
	door    *door // nil unless grouped
	peer    *Peer // the settings of the door
	log     *watchedLog
	failed  func() bool
	leaving atomic.Bool // it ends because this process wants it to
}

type startOptions struct {
	grouped, joining, forceNew bool
}

// start starts the member and waits until it is ready.
func (e *Embedded) start(ctx context.Context, s startOptions) (*running, error) {
	r, err := e.begin(ctx, s)
	if err != nil {
		return nil, err
	}
	if e.o.Running != nil {
		e.gate.now.Store(r)
		e.o.Running(e)
	}
	if err := e.ready(ctx, r, s); err != nil {
		r.leave()
		return nil, err
	}
	return r, nil
}

// begin starts the member, which may still have to find a leader.
func (e *Embedded) begin(ctx context.Context, s startOptions) (*running, error) {
	r := &running{grouped: s.grouped, failed: e.gate.hasFailed}
	r.log = newWatchedLog(e)
	config := e.config(s, r.log)
	if s.grouped {
		var err error
		r.peer = e.o.Peer
		if r.door, err = openDoor(r.peer); err != nil {
			return nil, err
		}
		e.peers.reset()
	}
	member, err := e.startEtcd(ctx, config, s.joining)
	if err != nil {
		r.door.close()
		if differs(err) {
			return nil, errDiffers
		}
		return nil, e.explain(r, fmt.Errorf("etcd does not start in %s: %w", e.o.Dir, err))
	}
	r.etcd, r.server = member, member.Server
	r.door.serve(r.server, r.log.logger)
	if r.grouped {
		go e.probe(r)
	}
	return r, nil
}

// abandonAfter is how long a start that is no longer wanted is waited for.
const abandonAfter = 2 * time.Second

// startEtcd is given up when the context ends and it still takes long: a member of a group asks peers for their copies, which may
// not answer. What was begun is then ended in the background. One that joins is not left alone: its folder is about to go.
func (e *Embedded) startEtcd(ctx context.Context, config *embed.Config, joining bool) (*embed.Etcd, error) {
	type started struct {
		member *embed.Etcd
		err    error
	}
	done := make(chan started, 1)
	go func() {
		member, err := startEtcd(e.o, config)
		done <- started{member, err}
	}()
	select {
	case s := <-done:
		return s.member, s.err
	case <-ctx.Done():
	}
	var late <-chan time.Time
	if !joining {
		late = time.After(abandonAfter)
	}
	select {
	case s := <-done: // ready ends it
		return s.member, s.err
	case <-late:
		go func() {
			if s := <-done; s.err == nil {
				s.member.Server.HardStop()
				s.member.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func (e *Embedded) config(s startOptions, log *watchedLog) *embed.Config {
	c := embed.NewConfig()
	c.Dir = e.o.Dir
	c.Name = e.o.Name
	c.ListenPeerUrls, c.ListenClientUrls = nil, nil // peers come in at our own door, clients by function calls
	c.QuotaBackendBytes = e.o.Quota
	c.MaxRequestBytes = requestMax
	c.MaxWalFiles, c.MaxSnapFiles = walFilesMax, snapshotsMax
	c.MaxLearners = learnersMax
	c.ForceNewCluster = s.forceNew
	c.CompactHashCheckTime = e.o.compareEvery
	c.TickMs, c.ElectionMs = loneTick, loneElection
	address := nobody
	// A token of its own keeps two clusters from ever taking each other's members for their own.
	c.InitialClusterToken = rand.Text()
	if s.grouped {
		c.TickMs, c.ElectionMs = groupTick, groupElection
		gates := c.ServerFeatureGate.(featuregate.MutableFeatureGate)
		_ = gates.SetFromMap(map[string]bool{
			string(features.CompactHashCheck):    true,
			string(features.InitialCorruptCheck): !e.o.startUnchecked,
		})
		p := e.o.Peer
		address = p.URL
		c.PeerTLSInfo = peerTLS(p)
	}
	at, _ := url.Parse(address)
	c.AdvertisePeerUrls, c.AdvertiseClientUrls = []url.URL{*at}, []url.URL{}
	c.InitialCluster = c.Name + "=" + address
	if s.joining {
		c.ClusterState = embed.ClusterStateFlagExisting
		all := []string{c.InitialCluster}
		for name, address := range e.o.Join.Cluster {
			if name != c.Name {
				all = append(all, name+"="+address)
			}
		}
		c.InitialCluster = strings.Join(all, ",")
	}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log.logger)
	return c
}

func peerTLS(p *Peer) transport.TLSInfo {
	return transport.TLSInfo{CertFile: p.CertFile, KeyFile: p.KeyFile, TrustedCAFile: p.CAFile, ClientCertAuth: true}
}

const (
	// watchStart is how often a start is looked after.
	watchStart = 5 * time.Millisecond
	// waitingAgain is how often the operator is told whom a start waits for, and waitingFirst when for the first time.
	waitingFirst, waitingAgain = 3 * time.Second, time.Minute
)

// ready waits until the member can serve. A member that is the only voter is told to lead at once, instead of after an
// election time in which nobody else could have answered.
func (e *Embedded) ready(ctx context.Context, r *running, s startOptions) error {
	look, tell := time.NewTicker(watchStart), time.NewTimer(waitingFirst)
	defer look.Stop()
	defer tell.Stop()
	announcing, cancel := context.WithCancel(ctx)
	defer cancel()
	announced := make(chan struct{})
	if r.grouped {
		go e.announced(announcing, r.server, announced)
	}
	for {
		select {
		case <-announced:
			return nil
		case <-r.server.ReadyNotify():
			if !r.grouped && len(r.server.Cluster().Members()) > 1 {
				return errNotAlone
			}
			return nil
		case <-r.server.StopNotify():
			return e.explain(r, errors.New("etcd stopped during its start"))
		case <-ctx.Done():
			return e.explain(r, fmt.Errorf("etcd in %s was not ready in time: %w%s", e.o.Dir, ctx.Err(), e.waitsFor(r)))
		case <-tell.C:
			tell.Reset(waitingAgain)
			e.o.Warn("the start waits for the store" + e.waitsFor(r))
		case <-look.C:
			if !r.grouped && !s.forceNew && len(r.server.Cluster().Members()) > 1 {
				return errNotAlone
			}
			campaign(ctx, r.server)
		}
	}
}

// waitsFor says whom a start waits for.
func (e *Embedded) waitsFor(r *running) string {
	if !r.grouped {
		return ""
	}
	if q := e.quorum(r); q.Lost() {
		text := ", which has no quorum: " + q.String()
		if e.distrusted(&q) {
			text += ". Masters that run do not take this one's certificate, or it does not take theirs: if the authority was replaced while it was away, " +
				"stop it, and use wheelhouse certs fetch"
		}
		return text
	}
	return ", which takes over what it has missed from the other masters"
}

// campaign makes the only voter lead.
func campaign(ctx context.Context, server *etcdserver.EtcdServer) {
	if server.Leader() != 0 {
		return
	}
	self := server.MemberID()
	for _, m := range server.Cluster().Members() {
		if m.IsLearner == (m.ID == self) { // another voter, or this one is none
			return
		}
	}
	// Raft must have been told that everything committed is applied: until then it looks for changes of the membership in
	// a log that may have been compacted meanwhile, and panics.
	id := uint64(self)
	status, ok := raftStatus()
	if !ok || status.ID != id || status.Applied < status.GetCommit() || status.Lead != 0 {
		return
	}
	// It is the message by which a leader that leaves makes another one stand for election without delay.
	_ = server.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &id, To: &id})
}

// raftStatus is the state of Raft in the member that was started last in this process, as etcd publishes it.
func raftStatus() (raft.Status, bool) {
	published, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return raft.Status{}, false
	}
	status, ok := published().(raft.Status)
	return status, ok
}

// leave ends the member. One that failed is left as it is: it could wait for ever for what failed.
func (r *running) leave() {
	if r.leaving.Swap(true) {
		return // it has left already, and none came after it
	}
	if !r.failed() {
		r.server.HardStop() // leadership has been handed over; etcd would try for seven seconds
		r.etcd.Close()
	}
	r.door.close()
}

// walDir is where the log is.
func (o *Options) walDir() string { return filepath.Join(o.Dir, "member", "wal") }
