// Package identity knows which store, of all histories of writes, is this master's. It compares it with those of the masters that it
// meets, and stops this one for good if its store was given up for another's. See enrol/DESIGN.md.
package identity

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

const (
	// eventMax bounds an event's message, as upstream does.
	eventMax = 1024
	// metFor is how long a master of another store stays in the status after it was last met, and metMax how many do.
	metFor = 2 * time.Minute
	metMax = 64
	// seekEvery is how often the members of a store that was given up are looked for: they may be started again at any time.
	seekEvery = 3 * time.Second
	// seekWait bounds the question to one of them, and startAskWait that to the other members at a start.
	seekWait     = 2 * time.Second
	startAskWait = time.Second
	// passOnWait bounds the try to tell a store itself that it was superseded.
	passOnWait = 2 * time.Second
	// watchPause is the wait before the store's identity is watched again after its watch has broken.
	watchPause = 200 * time.Millisecond
	// peerStorePath is where masters show each other their cards at the door of their stores.
	peerStorePath = "/wheelhouse/v1/store"
)

// meetings are the masters of other stores that this one has met.
type meetings struct {
	mu   sync.Mutex
	met  map[string]membership.Met // guarded by mu; by store, member and master
	news chan membership.Met       // for events
}

// Options say whose identity it is.
type Options struct {
	// DataDir remembers the store; without one there are no others to meet. PKIDir is empty if it is pki in it.
	DataDir, PKIDir string
	// Recovering and NewCluster tell that the master was started with --recover-quorum or --new-cluster.
	Recovering, NewCluster bool
	// Servers of an external etcd, for its operator; empty with a member in this process.
	Servers string
	// Self is the master's name and the URL of its API, at present.
	Self func() (name, url string)
	// Proven tells whether a request comes from a master or an administrator, by its certificate.
	Proven func(*http.Request) bool
	Now    func() time.Time
	Warn   func(format string, args ...any)
}

// Identity is what a master knows of its store, and of those of others.
type Identity struct {
	Options

	opened atomic.Pointer[store.Store]
	member *etcd.Embedded // nil unless the store is a member in this process; set before the master serves

	mu   sync.Mutex
	card membership.Card // guarded by mu
	why  error           // guarded by mu; why this master must not go on with its data
	// former are the members that this master's store was made without; set before it serves.
	former []membership.Former
	meetings
	over context.Context
	end  context.CancelFunc
	// file is held while the data folder's memory of the store is written: what was noted of a successor stays.
	file sync.Mutex
}

// New makes the identity of a master whose store is not open yet.
func New(o Options) *Identity {
	id := &Identity{Options: o, meetings: meetings{met: map[string]membership.Met{}, news: make(chan membership.Met, metMax)}}
	id.over, id.end = context.WithCancel(context.Background())
	return id
}

// Open tells that the store is open, with its member in this process, if it has one.
func (id *Identity) Open(s store.Store, member *etcd.Embedded) {
	id.member = member
	id.opened.Store(&s)
}

func (id *Identity) store() store.Store { return *id.opened.Load() }

// Over ends when this master must not go on with its data; Why says why.
func (id *Identity) Over() context.Context { return id.over }

// End has this master end for a reason, unless it has one already.
func (id *Identity) End(why error) {
	if id.mustEnd(why) {
		id.end()
	}
}

// Group is how a master's member of the store reaches others, and is reached.
type Group interface {
	// Open makes the member one that others can join.
	Open(ctx context.Context) error
	Peer() (*etcd.Peer, error)
}

// Watch tends what this master knows of its store and of others, until ctx ends. Events are written through a transport.
func (id *Identity) Watch(ctx context.Context, group Group, events client.Transport) {
	if id.DataDir == "" {
		return
	}
	var running sync.WaitGroup
	running.Go(func() { id.tellMeetings(ctx, events) })
	running.Go(func() { id.watchStore(ctx) })
	running.Go(func() { id.seek(ctx, group) })
	running.Wait()
}

// Show makes a card the one that others see.
func (id *Identity) Show(c *membership.Card) {
	c.Master, c.URL = id.Self()
	id.mu.Lock()
	defer id.mu.Unlock()
	if c.System == "" {
		c.System = id.card.System
	}
	id.card = *c
}

// Card is what others see of this master's store.
func (id *Identity) Card() membership.Card {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.card
}

// StoreID names the store; it is empty until that is known.
func (id *Identity) StoreID() string {
	c := id.Card()
	return c.Store.ID
}

// Meet compares the store of another master, of this one's authority, with its own.
func (id *Identity) Meet(other *membership.Card) {
	if other == nil || id.DataDir == "" {
		return
	}
	own := id.Card()
	switch own.Toward(other) {
	case membership.Theirs:
		id.beSuperseded(own, other)
	case membership.Ours, membership.Foreign:
		id.note(&own, other)
	}
}

// note remembers a meeting, and tells of the first.
func (id *Identity) note(own, other *membership.Card) {
	key, now := other.Store.ID+"/"+other.Cluster+"/"+other.Member+"/"+other.Master, time.Now()
	s := &id.meetings
	s.mu.Lock()
	met, known := s.met[key]
	if !known && len(s.met) >= metMax {
		s.forgetLocked(now)
	}
	if !known && len(s.met) >= metMax {
		s.mu.Unlock()
		return
	}
	old := now.Sub(met.Last) > metFor
	met = membership.Met{Card: *other, Superseded: own.Toward(other) == membership.Ours, Last: now}
	met.Card.Store.Supersedes = nil
	s.met[key] = met
	s.mu.Unlock()
	if !old {
		return
	}
	id.Warn("%s; this master belongs to %s", met.Problem(), own.Describe())
	select {
	case s.news <- met:
	default:
	}
}

func (s *meetings) forgetLocked(now time.Time) {
	for key, met := range s.met {
		if now.Sub(met.Last) > metFor {
			delete(s.met, key)
		}
	}
}

// Foreign are the masters of other stores that were met lately, in the order of their names.
func (id *Identity) Foreign() []membership.Met {
	s := &id.meetings
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(time.Now())
	var all []membership.Met
	for _, met := range s.met {
		all = append(all, met)
	}
	slices.SortFunc(all, func(a, b membership.Met) int { return strings.Compare(a.Master+a.Store.ID, b.Master+b.Store.ID) })
	return all
}

// Describe adds which store this master's is, and who was met of others.
func (id *Identity) Describe(s *membership.Status) {
	if card := id.Card(); card.Store.ID != "" {
		s.Identity, s.System = &card.Store, card.System
	}
	s.Foreign = id.Foreign()
}

// Count gives the metrics how many masters of other stores were met lately.
func (id *Identity) Count() (foreign, superseded int) {
	for _, met := range id.Foreign() {
		if met.Superseded {
			superseded++
		} else {
			foreign++
		}
	}
	return foreign, superseded
}

// tellMeetings makes an event of each master of another store that is met, until ctx ends.
func (id *Identity) tellMeetings(ctx context.Context, through client.Transport) {
	events := client.NewRecorder(through, "wheelhouse-membership")
	var running sync.WaitGroup
	running.Go(func() { events.Run(ctx) })
	defer running.Wait()
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: metav1.NamespaceSystem, Namespace: metav1.NamespaceSystem}
	for {
		select {
		case <-ctx.Done():
			return
		case met := <-id.news:
			text := met.Problem()
			events.Event(about, corev1.EventTypeWarning, "ForeignStoreMet", text[:min(len(text), eventMax)])
		}
	}
}

// beSuperseded ends this master for good: its store was given up for another. The folder remembers it, and the store itself is
// told, if it can be written, so that masters stop whom the other store does not meet.
func (id *Identity) beSuperseded(own membership.Card, by *membership.Card) {
	kept := &datafolder.Kept{Store: own.Store, Cluster: own.Cluster, Member: own.Member}
	if kept.ID == "" { // it had not got one yet
		kept.Store = membership.NewStore(membership.OriginAdopted, id.Now())
	}
	kept.Successor = &membership.Successor{ID: by.Store.ID, Incarnation: by.Store.Incarnation, Master: by.Master, At: id.Now().UTC()}
	id.file.Lock()
	defer id.file.Unlock()
	if !id.mustEnd(datafolder.GivenUp(id.DataDir, id.Recovering, kept)) {
		return
	}
	if err := kept.Write(id.DataDir); err != nil {
		id.Warn("that cannot be noted: %v", err)
	}
	go func() {
		defer id.end()
		if opened := id.opened.Load(); opened != nil {
			ctx, cancel := context.WithTimeout(context.Background(), passOnWait)
			defer cancel()
			passOn(ctx, *opened, kept.Successor)
		}
	}()
}

// mustEnd notes why this master must not go on with its data; false if there was a reason already. The caller ends it.
func (id *Identity) mustEnd(why error) bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.why != nil {
		return false
	}
	id.why = why
	id.Warn("stopping: %v", why)
	return true
}

// passOn writes into a store that it was superseded.
func passOn(ctx context.Context, s store.Store, by *membership.Successor) {
	for {
		e, _, err := s.Get(ctx, notes.Store, 0)
		if err != nil {
			return
		}
		var said membership.Store
		if json.Unmarshal(e.Value, &said) != nil || said.Successor != nil {
			return
		}
		said.Successor = by
		value, err := json.Marshal(said)
		if err != nil {
			return
		}
		if _, err = s.Update(ctx, notes.Store, e.Revision, value, 0); !isConflict(err) {
			return
		}
	}
}

// watchStore ends this master when its store says that it was superseded, until ctx ends.
func (id *Identity) watchStore(ctx context.Context) {
	for ctx.Err() == nil {
		watching, cancel := context.WithCancel(ctx)
		e, at, err := id.store().Get(watching, notes.Store, 0)
		if err == nil {
			id.heed(e.Value)
			for batch := range id.store().Watch(watching, notes.Store, store.WatchOptions{From: at + 1}).C() {
				for _, event := range batch.Events {
					if event.Key == notes.Store && !event.Deleted {
						id.heed(event.Value)
					}
				}
			}
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

// heed ends this master if its store says that it was superseded.
func (id *Identity) heed(value []byte) {
	var said membership.Store
	if json.Unmarshal(value, &said) != nil || said.Successor == nil {
		return
	}
	by := said.Successor
	id.beSuperseded(id.Card(), &membership.Card{Store: membership.Store{ID: by.ID, Incarnation: by.Incarnation}, Master: by.Master})
}

// seek looks for members of the store that this one was made from, for as long as this master's member leads, until ctx ends. Who
// was given up is told so.
func (id *Identity) seek(ctx context.Context, group Group) {
	if id.member == nil || len(id.former) == 0 {
		return
	}
	if id.Card().Store.Origin == membership.OriginRecovered {
		// Who comes back looks for this master where it was, and is told before it serves anything.
		if err := group.Open(ctx); err != nil && ctx.Err() == nil {
			id.Warn("masters that were given up cannot ask this one: %v", err)
		}
	}
	for ctx.Err() == nil {
		if id.member.Leader() == id.member.ID() {
			id.seekOnce(ctx, group)
		}
		select {
		case <-ctx.Done():
		case <-time.After(seekEvery):
		}
	}
}

func (id *Identity) seekOnce(ctx context.Context, group Group) {
	peer, err := group.Peer()
	if err != nil {
		return
	}
	taken := map[string]bool{peer.URL: true}
	members, err := id.member.Members(ctx)
	if err != nil {
		return
	}
	for _, one := range members {
		taken[one.PeerURL] = true
	}
	var addresses []string
	for _, one := range id.former {
		if !taken[one.PeerURL] {
			addresses = append(addresses, one.PeerURL)
		}
	}
	id.askPeers(ctx, peer, addresses, seekWait)
}

// Why is nil unless this master must not go on with its data.
func (id *Identity) Why() error {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.why
}

// Introduce shows this master's card with each command, and looks at those of who calls one: of masters and administrators, by
// their certificates.
func (id *Identity) Introduce(commands http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(membership.CardHeader, id.Card().Encode())
		if shown := r.Header.Get(membership.CardHeader); shown != "" && id.Proven(r) {
			id.Meet(membership.ReadCard(shown))
		}
		commands.ServeHTTP(w, r)
	})
}

// Introduced is a client that does the same from the other side.
func (id *Identity) Introduced(c *admin.Client) *admin.Client {
	own := id.Card()
	return c.Introduce(membership.CardHeader, own.Encode(), func(shown string) { id.Meet(membership.ReadCard(shown)) })
}

// SetSystem tells of the uid of kube-system, which is known once the objects are read.
func (id *Identity) SetSystem(system string) {
	c := id.Card()
	c.System = system
	id.Show(&c)
}
