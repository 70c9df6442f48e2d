// Package roster keeps the list of the live masters in the store, and tells which of them should lead. See DESIGN.md.
package roster

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// recordLife is how long a record outlives its master, unrefreshed. The store may add a twentieth and rounds up
	// to seconds: ten. When a member of the store has to be elected first, that adds about three.
	recordLife = 9500 * time.Millisecond
	// recordRefresh leaves room for two refreshes that fail.
	recordRefresh = 3 * time.Second
	// recordTimeout bounds one refresh.
	recordTimeout = 3 * time.Second
	// endpointsCheck is how often the addresses of the service default/kubernetes are compared with the roster though
	// the roster did not change: somebody may have edited them. Upstream takes as long.
	endpointsCheck = 10 * time.Second
	// endpointsRetry is the same after an attempt that failed.
	endpointsRetry = time.Second
	// rosterPause is the wait before the roster is read again after its watch has broken.
	rosterPause = 200 * time.Millisecond
)

// Roster is the list of live masters. Each keeps its own record in the store, and knows all others' from a watch.
//
// A record's key is the master's address, as upstream has it. If a master on another port of the same address is there
// already, the port is appended; a master that has no address but loopback has its name as key, and no address in
// its record, so that nobody lists it as an endpoint. Readers take the address from the record, never from the key.
//
// A record expires unless it is refreshed, with one exception: a master that has the store to itself (in memory, or as
// its only member) writes it once, without expiry, because nobody is there to see it expire; an idle master would be busy
// with little else. It begins to refresh it as soon as it sees another's record or another member.
type Roster struct {
	store store.Store
	self  record
	// alone tells whether this master has the store to itself.
	alone func() bool

	// key and revision of the own record; revision 0 is none. They belong to whoever keeps the record: Enter, then keep.
	key      string
	revision int64
	lasting  atomic.Bool // the own record does not expire
	// otherSeen gets a token when another record appears.
	otherSeen  chan struct{}
	preference *Preference // nil without a member of the store
	// life and refreshEvery are recordLife and recordRefresh.
	life, refreshEvery time.Duration

	mu      sync.Mutex
	records map[string]record // guarded by mu; by key, all that are in the store
	changed chan struct{}     // guarded by mu; closed and replaced when records change
}

// New makes a roster with nobody on it. alone tells whether this master has the store to itself.
func New(s store.Store, self Listing, alone func() bool) *Roster {
	r := &Roster{
		store: s, self: record{Listing: self}, alone: alone, key: notes.Masters + self.Name,
		life: recordLife, refreshEvery: recordRefresh,
		otherSeen: make(chan struct{}, 1), records: map[string]record{}, changed: make(chan struct{}),
	}
	if self.Address != nil {
		r.key = notes.Masters + self.Address.String()
	}
	return r
}

// Enter writes the own record and reads all others. A master that has the store to itself first removes who was
// there before: they cannot live.
func (r *Roster) Enter(ctx context.Context) (revision int64, err error) {
	alone := r.alone()
	if alone {
		if err := r.dropOthers(ctx); err != nil {
			return 0, err
		}
	}
	if err := r.refresh(ctx, alone); err != nil {
		return 0, err
	}
	return r.read(ctx)
}

// dropOthers removes the records of others.
func (r *Roster) dropOthers(ctx context.Context) error {
	page, err := r.store.List(ctx, notes.Masters, store.ListOptions{})
	if err != nil {
		return err
	}
	for _, e := range page.Entries {
		if e.Key == r.key {
			continue // it is about to be written over
		}
		var conflict *store.Conflict
		if _, err := r.store.Delete(ctx, e.Key, e.Revision); err != nil && !errors.As(err, &conflict) {
			return err
		}
	}
	return nil
}

// refresh writes the own record, for good if lasting.
func (r *Roster) refresh(ctx context.Context, lasting bool) error {
	life := r.life
	if lasting {
		life = 0
	}
	for {
		r.self.generation++
		value, err := r.self.encode()
		if err != nil {
			return err
		}
		var revision int64
		if r.revision == 0 {
			revision, err = r.store.Create(ctx, r.key, value, life)
		} else {
			revision, err = r.store.Update(ctx, r.key, r.revision, value, life)
		}
		var conflict *store.Conflict
		if !errors.As(err, &conflict) {
			if err == nil {
				r.revision = revision
				r.lasting.Store(lasting)
			}
			return err
		}
		r.give(conflict.Present)
	}
}

// give makes way for the record that was found instead of the own, or takes it over.
func (r *Roster) give(present *store.Entry) {
	if present == nil {
		r.revision = 0 // it has expired
		return
	}
	r.revision = present.Revision
	found, err := decodeRecord(present.Value)
	if err != nil {
		return // written over
	}
	if found.Name != "" && found.Name != r.self.Name && found.port() != r.self.port() {
		// Another master on this host, on another port: both live. On the same port, it was this one's predecessor.
		r.key = notes.Masters + net.JoinHostPort(r.self.Address.String(), strconv.Itoa(r.self.port()))
		r.revision = 0
		return
	}
	r.self.generation, r.self.annotations = found.generation, found.annotations
}

// keep refreshes the own record until ctx ends.
func (r *Roster) keep(ctx context.Context) {
	timer := time.NewTimer(r.refreshEvery)
	defer timer.Stop()
	failing := false
	for {
		due := timer.C
		if r.lasting.Load() && r.alone() && !r.others() {
			due = nil
		}
		select {
		case <-due:
		case <-r.otherSeen:
		case <-ctx.Done():
			return
		}
		timer.Reset(r.refreshEvery)
		writing, cancel := context.WithTimeout(ctx, recordTimeout)
		err := r.refresh(writing, r.alone() && !r.others())
		cancel()
		if err != nil && !failing && ctx.Err() == nil {
			slog.Warn("this master's record could not be refreshed; while that lasts others take it for dead", "error", err)
		}
		failing = err != nil // told once
	}
}

// leave removes the own record.
func (r *Roster) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	for r.revision != 0 {
		_, err := r.store.Delete(ctx, r.key, r.revision)
		var conflict *store.Conflict
		if !errors.As(err, &conflict) {
			return err
		}
		// A refresh that was cut off may have been stored all the same.
		r.revision = 0
		if conflict.Present != nil {
			if found, err := decodeRecord(conflict.Present.Value); err == nil && found.Name == r.self.Name {
				r.revision = conflict.Present.Revision
			}
		}
	}
	return nil
}

// follow keeps the list of others' records up to date from a revision on, until ctx ends.
func (r *Roster) follow(ctx context.Context, revision int64) {
	for {
		watching, cancel := context.WithCancel(ctx)
		watch := r.store.Watch(watching, notes.Masters, store.WatchOptions{From: revision + 1})
		for batch := range watch.C() {
			r.apply(batch)
			revision = max(revision, batch.Revision)
		}
		cancel()
		for {
			select {
			case <-time.After(rosterPause):
			case <-ctx.Done():
				return
			}
			read, err := r.read(ctx)
			if err == nil {
				revision = read
				break
			}
			slog.Debug("the masters' records cannot be read, will retry", "error", err)
		}
	}
}

// read reads all records.
func (r *Roster) read(ctx context.Context) (revision int64, err error) {
	page, err := r.store.List(ctx, notes.Masters, store.ListOptions{})
	if err != nil {
		return 0, err
	}
	records := map[string]record{}
	for _, e := range page.Entries {
		put(records, e)
	}
	r.replace(records)
	return page.Revision, nil
}

func put(records map[string]record, e store.Entry) {
	found, err := decodeRecord(e.Value)
	if err != nil {
		slog.Warn("a master's record cannot be read", "key", e.Key, "error", err)
		delete(records, e.Key)
		return
	}
	records[e.Key] = found
}

func (r *Roster) apply(batch store.Batch) {
	if len(batch.Events) == 0 {
		return
	}
	r.mu.Lock()
	records := maps.Clone(r.records)
	r.mu.Unlock()
	for _, e := range batch.Events {
		if e.Deleted {
			delete(records, e.Key)
		} else {
			put(records, e.Entry)
		}
	}
	r.replace(records)
}

// replace makes records the present ones, and tells if masters came or went.
func (r *Roster) replace(records map[string]record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	same := maps.EqualFunc(r.records, records, func(a, b record) bool {
		return a.Name == b.Name && a.URL == b.URL && a.Version == b.Version && a.Address.Equal(b.Address)
	})
	r.records = records
	if same {
		return
	}
	close(r.changed)
	r.changed = make(chan struct{})
	if r.anotherLocked() {
		select {
		case r.otherSeen <- struct{}{}:
		default:
		}
	}
}

// others tells whether any other master, of any make, lives.
func (r *Roster) others() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.anotherLocked()
}

func (r *Roster) anotherLocked() bool {
	for _, other := range r.records {
		if other.Name != r.self.Name {
			return true
		}
	}
	return false
}

// Listings are the live masters of our make, this one included, ordered by name.
func (r *Roster) Listings() []Listing {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []Listing{r.self.Listing}
	for _, other := range r.records {
		if other.Name != "" && other.Name != r.self.Name {
			all = append(all, other.Listing)
		}
	}
	slices.SortFunc(all, func(a, b Listing) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Changed is closed when masters have come or gone.
func (r *Roster) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Endpoints are where the cluster reaches the live masters. Those of upstream's API servers are listed on the port that
// most of ours have, because their records tell no port.
func (r *Roster) Endpoints() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	var addresses []netip.AddrPort
	var foreign []netip.Addr
	ports := map[int]int{}
	for _, other := range r.records {
		address, ok := netip.AddrFromSlice(other.Address)
		switch address = address.Unmap(); {
		case !ok:
		case other.Name == "":
			foreign = append(foreign, address)
		default:
			addresses = append(addresses, netip.AddrPortFrom(address, uint16(other.port())))
			ports[other.port()]++
		}
	}
	common := r.self.port()
	for port, masters := range ports {
		if masters > ports[common] || masters == ports[common] && port < common {
			common = port
		}
	}
	for _, address := range foreign {
		addresses = append(addresses, netip.AddrPortFrom(address, uint16(common)))
	}
	slices.SortFunc(addresses, netip.AddrPort.Compare)
	return slices.Compact(addresses)
}
