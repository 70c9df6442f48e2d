package master

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/control"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master/roll"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
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

// identityState is what a master knows of its store, and of those of others.
type identityState struct {
	mu   sync.Mutex
	card membership.Card // guarded by mu
	// former are the members that this master's store was made without; set before it serves.
	former []membership.Former
	meetings
	// over ends when this master must not go on with its data, once; why is set before.
	over context.Context
	end  context.CancelFunc
	why  error // guarded by mu
	// file is held while the data folder's memory of the store is written: what was noted of a successor stays.
	file sync.Mutex
}

func newIdentityState() *identityState {
	s := &identityState{meetings: meetings{met: map[string]membership.Met{}, news: make(chan membership.Met, metMax)}}
	s.over, s.end = context.WithCancel(context.Background())
	return s
}

// meetRoll looks at the stores that the masters on the roll say they belong to.
func (m *Master) meetRoll(peers []roll.Peer) {
	for _, p := range peers {
		if p.Store != "" && p.Name != m.identity {
			m.meet(&membership.Card{Store: membership.Store{ID: p.Store}, Master: p.Name, URL: p.URL})
		}
	}
}

// watchIdentity tends what this master knows of its store and of others, until ctx ends.
func (m *Master) watchIdentity(ctx context.Context) {
	if m.config.DataDir == "" {
		return
	}
	var running sync.WaitGroup
	running.Go(func() { m.tellMeetings(ctx) })
	running.Go(func() { m.watchStore(ctx) })
	running.Go(func() { m.seek(ctx) })
	running.Go(func() { m.askLater(ctx) })
	running.Wait()
}

// showCard makes a card the one that others see.
func (m *Master) showCard(c *membership.Card) {
	c.Master, c.URL = m.identity, m.peer().URL
	m.ids.mu.Lock()
	defer m.ids.mu.Unlock()
	if c.System == "" {
		c.System = m.ids.card.System
	}
	m.ids.card = *c
}

// card is what others see of this master's store.
func (m *Master) card() membership.Card {
	m.ids.mu.Lock()
	defer m.ids.mu.Unlock()
	return m.ids.card
}

func (m *Master) storeID() string {
	c := m.card()
	return c.Store.ID
}

// showSystem adds what is known when the objects are: the uid of kube-system.
func (m *Master) showSystem() {
	if uid, err := m.systemUID(); err == nil {
		c := m.card()
		c.System = uid
		m.showCard(&c)
	}
}

// meet compares the store of another master, of this one's authority, with its own.
func (m *Master) meet(other *membership.Card) {
	if other == nil || m.config.DataDir == "" {
		return
	}
	own := m.card()
	switch own.Toward(other) {
	case membership.Theirs:
		m.beSuperseded(own, other)
	case membership.Ours, membership.Foreign:
		m.note(&own, other)
	}
}

// note remembers a meeting, and tells of the first.
func (m *Master) note(own, other *membership.Card) {
	key, now := other.Store.ID+"/"+other.Cluster+"/"+other.Member+"/"+other.Master, time.Now()
	s := &m.ids.meetings
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
	m.config.warn("%s; this master belongs to %s", met.Problem(), own.Describe())
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

// foreign are the masters of other stores that were met lately, in the order of their names.
func (m *Master) foreign() []membership.Met {
	s := &m.ids.meetings
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

// identifyStatus adds which store this master's is, and who was met of others.
func (m *Master) identifyStatus(s *membership.Status) {
	if card := m.card(); card.Store.ID != "" {
		s.Identity, s.System = &card.Store, card.System
	}
	s.Foreign = m.foreign()
}

// foreignCount is for the metrics.
func (m *Master) foreignCount() (foreign, superseded int) {
	for _, met := range m.foreign() {
		if met.Superseded {
			superseded++
		} else {
			foreign++
		}
	}
	return foreign, superseded
}

// tellMeetings makes an event of each master of another store that is met, until ctx ends.
func (m *Master) tellMeetings(ctx context.Context) {
	events := client.NewRecorder(m.as(controllerManagerUser), "wheelhouse-membership")
	var running sync.WaitGroup
	running.Go(func() { events.Run(ctx) })
	defer running.Wait()
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: metav1.NamespaceSystem, Namespace: metav1.NamespaceSystem}
	for {
		select {
		case <-ctx.Done():
			return
		case met := <-m.ids.news:
			text := met.Problem()
			events.Event(about, corev1.EventTypeWarning, "ForeignStoreMet", text[:min(len(text), eventMax)])
		}
	}
}

// beSuperseded ends this master for good: its store was given up for another. The folder remembers it, and the store itself is
// told, if it can be written, so that masters stop whom the other store does not meet.
func (m *Master) beSuperseded(own membership.Card, by *membership.Card) {
	kept := &datafolder.Kept{Store: own.Store, Cluster: own.Cluster, Member: own.Member}
	if kept.ID == "" { // it had not got one yet
		kept.Store = membership.NewStore(membership.OriginAdopted, m.config.Now())
	}
	kept.Successor = &membership.Successor{ID: by.Store.ID, Incarnation: by.Store.Incarnation, Master: by.Master, At: m.config.Now().UTC()}
	m.ids.file.Lock()
	defer m.ids.file.Unlock()
	if !m.mustEnd(m.superseded(kept)) {
		return
	}
	if err := kept.Write(m.config.DataDir); err != nil {
		m.config.warn("that cannot be noted: %v", err)
	}
	go func() {
		defer m.ids.end()
		if opened := m.opened.Load(); opened != nil {
			ctx, cancel := context.WithTimeout(context.Background(), passOnWait)
			defer cancel()
			passOn(ctx, *opened, kept.Successor)
		}
	}()
}

// mustEnd notes why this master must not go on with its data; false if there was a reason already. The caller ends it.
func (m *Master) mustEnd(why error) bool {
	m.ids.mu.Lock()
	defer m.ids.mu.Unlock()
	if m.ids.why != nil {
		return false
	}
	m.ids.why = why
	m.config.warn("stopping: %v", why)
	return true
}

// superseded is the error of a master whose store was given up.
func (m *Master) superseded(kept *datafolder.Kept) error {
	return datafolder.GivenUp(m.config.DataDir, m.config.RecoverQuorum, kept)
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
func (m *Master) watchStore(ctx context.Context) {
	for ctx.Err() == nil {
		watching, cancel := context.WithCancel(ctx)
		e, at, err := m.store.Get(watching, notes.Store, 0)
		if err == nil {
			m.heed(e.Value)
			for batch := range m.store.Watch(watching, notes.Store, store.WatchOptions{From: at + 1}).C() {
				for _, event := range batch.Events {
					if event.Key == notes.Store && !event.Deleted {
						m.heed(event.Value)
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

// heed reads what the store says of itself.
func (m *Master) heed(value []byte) {
	var said membership.Store
	if json.Unmarshal(value, &said) != nil || said.Successor == nil {
		return
	}
	by := said.Successor
	m.beSuperseded(m.card(), &membership.Card{Store: membership.Store{ID: by.ID, Incarnation: by.Incarnation}, Master: by.Master})
}

// seek looks for members of the store that this one was made from, for as long as this master's member leads, until ctx ends. Who
// was given up is told so.
func (m *Master) seek(ctx context.Context) {
	if m.member == nil || len(m.ids.former) == 0 {
		return
	}
	if m.card().Store.Origin == membership.OriginRecovered {
		// Who comes back looks for this master where it was, and is told before it serves anything.
		if err := m.openGroup(ctx); err != nil && ctx.Err() == nil {
			m.config.warn("masters that were given up cannot ask this one: %v", err)
		}
	}
	for ctx.Err() == nil {
		if m.member.Leader() == m.member.ID() {
			m.seekOnce(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(seekEvery):
		}
	}
}

func (m *Master) seekOnce(ctx context.Context) {
	peer, err := m.etcdPeer()
	if err != nil {
		return
	}
	taken := map[string]bool{peer.URL: true}
	members, err := m.member.Members(ctx)
	if err != nil {
		return
	}
	for _, one := range members {
		taken[one.PeerURL] = true
	}
	var addresses []string
	for _, one := range m.ids.former {
		if !taken[one.PeerURL] {
			addresses = append(addresses, one.PeerURL)
		}
	}
	m.askPeers(ctx, peer, addresses, seekWait)
}

// whyOver is nil unless this master must not go on with its data.
func (m *Master) whyOver() error {
	m.ids.mu.Lock()
	defer m.ids.mu.Unlock()
	return m.ids.why
}

// introduce shows this master's card with each command, and looks at those of who calls one: of masters and administrators, by
// their certificates.
func (m *Master) introduce(commands http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(membership.CardHeader, m.card().Encode())
		if shown := r.Header.Get(membership.CardHeader); shown != "" && m.privilege().Proven(r) {
			m.meet(membership.ReadCard(shown))
		}
		commands.ServeHTTP(w, r)
	})
}

// introduced is a client that does the same from the other side.
func (m *Master) introduced(c *control.Client) *control.Client {
	own := m.card()
	return c.Introduce(membership.CardHeader, own.Encode(), func(shown string) { m.meet(membership.ReadCard(shown)) })
}
