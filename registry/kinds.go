package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// backlogMax is how many changes may come while a kind's objects are read; then they are read anew.
const backlogMax = 100_000

// kinds are the resources of a registry at one time. A value that others see never changes: a kind that comes or goes makes another
// one, so readers need no lock.
type kinds struct {
	// Resources by group and resource, and by group, version and resource.
	byResource map[schema.GroupResource]*Resource
	byVersion  map[schema.GroupVersionResource]*Resource
	// tables by key prefix, and in the order in which they came.
	byPrefix map[string]*table
	tables   []*table
	// arriving are the tables whose objects are being read. They are not served yet.
	arriving []*arrival
	// infos are the kinds of tables; changed is closed when they are others.
	infos   []*kind.Kind
	changed chan struct{}
}

func newKinds() *kinds {
	return &kinds{byResource: map[schema.GroupResource]*Resource{}, byVersion: map[schema.GroupVersionResource]*Resource{}, byPrefix: map[string]*table{}}
}

func (k *kinds) clone() *kinds {
	return &kinds{byResource: maps.Clone(k.byResource), byVersion: maps.Clone(k.byVersion), byPrefix: maps.Clone(k.byPrefix),
		tables: slices.Clone(k.tables), arriving: slices.Clone(k.arriving)}
}

// conclude ends the making of a value that follows another one; nil at first.
func (k *kinds) conclude(before *kinds) {
	if before != nil && slices.Equal(k.tables, before.tables) {
		k.infos, k.changed = before.infos, before.changed
		return
	}
	k.infos, k.changed = nil, make(chan struct{})
	for _, t := range k.tables {
		k.infos = append(k.infos, t.info)
	}
}

// publish makes the kinds those of the registry. The caller is the mirror's goroutine.
func (r *Registry) publish(all *kinds) {
	before := r.kinds.Load()
	all.conclude(before)
	r.kinds.Store(all)
	if all.changed != before.changed {
		close(before.changed)
	}
}

// Kinds are those whose objects the registry keeps, each of them the same value as before unless it was added anew, and a channel that
// is closed when they are others. The slice must not be changed. What is stored of other kinds is known to Strays: an object is at
// any time of one of these kinds, or a stray.
func (r *Registry) Kinds() (now []*kind.Kind, changed <-chan struct{}) {
	k := r.kinds.Load()
	return k.infos, k.changed
}

// keep adds a table and its resource, whose place is free.
func (k *kinds) keep(r *Registry, t *table) {
	k.byPrefix[t.info.StoragePrefix] = t
	k.tables = append(k.tables, t)
	res := &Resource{reg: r, table: t, info: t.info, layout: t.layout}
	k.byResource[t.info.GR()] = res
	k.byVersion[t.info.GVR()] = res
}

// convert adds the resource of a kind whose objects another kind stores.
func (k *kinds) convert(r *Registry, info *kind.Kind) error {
	stored := k.byResource[info.Via.Stored]
	if stored == nil {
		return fmt.Errorf("kind %s is stored as %s, which is not among the kinds", info.GVK, info.Via.Stored)
	}
	before := k.byVersion[info.GVR()]
	if before != nil && before.via == nil {
		return fmt.Errorf("kind %s stores its own objects already", info.GVK)
	}
	res := &Resource{reg: r, table: stored.table, info: info, layout: newLayout(info, stored.info), via: info.Via}
	if speaks := k.byResource[info.GR()]; speaks == nil || speaks == before {
		k.byResource[info.GR()] = res
	}
	k.byVersion[info.GVR()] = res
	return nil
}

// dropShape takes out one shape of what another kind stores. If it spoke for its resource, another version does so now.
func (k *kinds) dropShape(res *Resource) {
	delete(k.byVersion, res.info.GVR())
	if k.byResource[res.info.GR()] != res {
		return
	}
	delete(k.byResource, res.info.GR())
	for _, other := range k.byVersion {
		if speaks := k.byResource[res.info.GR()]; other.info.GR() == res.info.GR() && (speaks == nil || other.info.GVK.Version < speaks.info.GVK.Version) {
			k.byResource[res.info.GR()] = other
		}
	}
}

// checkFree fails when a kind would take the place of another one: below the prefix of another resource, or as a resource that is
// kept below another prefix. Its own place it may take if it is to replace what is there.
func (k *kinds) checkFree(info *kind.Kind, replace bool) error {
	switch other := k.byPrefix[info.StoragePrefix]; {
	case other == nil:
	case !replace || other.info.GR() != info.GR():
		return fmt.Errorf("kinds %s and %s are both stored below %s", other.info.GVK, info.GVK, info.StoragePrefix)
	case other.info.Namespaced != info.Namespaced:
		return fmt.Errorf("kind %s is stored in another scope: its objects would be no objects any more", info.GVK)
	}
	if other := k.byResource[info.GR()]; other != nil && other.table.prefix != info.StoragePrefix {
		return fmt.Errorf("resource %s is stored below %s already, not below %s", info.GR(), other.table.prefix, info.StoragePrefix)
	}
	return nil
}

// shapesOf are the kinds that convert what a table holds.
func (k *kinds) shapesOf(t *table) (found []*kind.Kind) {
	for _, res := range k.byVersion {
		if res.table == t && res.via != nil {
			found = append(found, res.info)
		}
	}
	return found
}

// drop takes out a table and all resources over it.
func (k *kinds) drop(t *table) {
	over := func(res *Resource) bool { return res.table == t }
	maps.DeleteFunc(k.byResource, func(_ schema.GroupResource, res *Resource) bool { return over(res) })
	maps.DeleteFunc(k.byVersion, func(_ schema.GroupVersionResource, res *Resource) bool { return over(res) })
	delete(k.byPrefix, t.info.StoragePrefix)
	k.tables = slices.DeleteFunc(k.tables, func(other *table) bool { return other == t })
}

// route finds the table of a key: its prefix has one part below Root, or two.
func (k *kinds) route(key string) *table {
	if !strings.HasPrefix(key, Root) {
		return nil
	}
	end := strings.IndexByte(key[len(Root):], '/')
	if end < 0 {
		return nil
	}
	end += len(Root) + 1
	if t := k.byPrefix[key[:end]]; t != nil {
		return t
	}
	next := strings.IndexByte(key[end:], '/')
	if next < 0 {
		return nil
	}
	return k.byPrefix[key[:end+next+1]]
}

// arrival is a table whose objects are being read at one revision, and what has changed since. Only the goroutine of Run uses it once it
// is listed.
type arrival struct {
	table   *table
	from    int64
	backlog []store.Event
	// stale: changes are missing from backlog.
	stale bool
	// over: nobody waits for it any more. Who added it sets it, and does not wait for the mirror's goroutine, which may wait for the store.
	over atomic.Bool
}

func (a *arrival) note(e *store.Event) {
	switch {
	case a.stale || a.over.Load() || !strings.HasPrefix(e.Key, a.table.prefix):
	case len(a.backlog) == backlogMax:
		a.stale, a.backlog = true, nil
	default:
		a.backlog = append(a.backlog, *e)
	}
}

// errAnew: what was read of a kind's objects does not lead up to the present.
var errAnew = errors.New("the objects must be read anew")

// Add begins to serve a kind, or serves it in another way if there is one below the same prefix already: the objects that are stored are
// read first, and requests go on meanwhile. Watches of the kind that is replaced end with 410; their clients begin anew.
func (r *Registry) Add(ctx context.Context, info *kind.Kind) error {
	if info.Via != nil {
		return r.do(ctx, func() error {
			all := r.kinds.Load().clone()
			before := all.byVersion[info.GVR()]
			if err := all.convert(r, info); err != nil {
				return err
			}
			r.publish(all)
			if before != nil {
				before.end(changedKind())
			}
			return nil
		})
	}
	if !info.Stored() {
		return fmt.Errorf("no objects of kind %s are stored", info.GVK)
	}
	a := &arrival{table: r.newTable(info)}
	defer a.over.Store(true)
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		if err := r.do(ctx, func() error { return r.expect(a) }); err != nil {
			return err
		}
		c, err := r.readBelow(ctx, a.table, a.from)
		if err == nil {
			err = r.do(ctx, func() error { return r.takeOn(a, c) })
		}
		if !errors.Is(err, errAnew) && !errors.Is(err, store.ErrCompacted) && !errors.Is(err, store.ErrFutureRevision) {
			return err
		}
		// The mirror is behind the store, or ahead of one that lost something: it needs time to come to terms with it.
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return ctx.Err()
		case <-r.over:
			return errOver
		}
	}
}

// Remove ends the service of a kind, or of one shape of what another kind stores. What is stored of it stays. Its watches end with 410, and
// requests that are at work with 404. A kind in whose objects another one is stored cannot go before that one.
func (r *Registry) Remove(ctx context.Context, gvr schema.GroupVersionResource) error {
	return r.do(ctx, func() error {
		all := r.kinds.Load().clone()
		res := all.byVersion[gvr]
		switch {
		case res == nil:
			return nil
		case res.via != nil:
			all.dropShape(res)
			r.publish(all)
			res.end(unknownKind())
			return nil
		}
		if shapes := all.shapesOf(res.table); len(shapes) > 0 {
			return fmt.Errorf("kind %s cannot be removed: %s is stored as it", res.info.GVK, shapes[0].GVK)
		}
		all.drop(res.table)
		r.abandon(res.table) // before it is seen that the kind has gone
		r.publish(all)
		res.table.end(unknownKind())
		return nil
	})
}

// Ended is the resource of a kind that is not served, or not any more: it shows nothing, and says that this proves nothing.
func (r *Registry) Ended(info *kind.Kind) *Resource {
	t := r.newTable(info)
	t.end(unknownKind())
	return &Resource{reg: r, table: t, info: info, layout: t.layout}
}

// do lets the goroutine of Run do something between two batches of changes.
func (r *Registry) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case r.errands <- func() { done <- f() }:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	case <-r.over:
		return errOver
	}
}

// errOver is why nothing can be added or removed any more.
var errOver = errors.New("the registry has ended")

// expect gathers what changes below a table's prefix from now on.
func (r *Registry) expect(a *arrival) error {
	all := r.kinds.Load().clone()
	all.withoutOver()
	for _, other := range all.arriving {
		if other != a && other.table.prefix == a.table.prefix {
			return fmt.Errorf("kind %s is being added already", a.table.info.GVK)
		}
	}
	if err := all.checkFree(a.table.info, true); err != nil {
		return err
	}
	a.from, a.backlog, a.stale = r.Applied(), nil, false
	if !slices.Contains(all.arriving, a) {
		all.arriving = append(all.arriving, a)
		r.publish(all)
	}
	return nil
}

// withoutOver takes out what nobody waits for.
func (k *kinds) withoutOver() {
	k.arriving = slices.DeleteFunc(k.arriving, func(a *arrival) bool { return a.over.Load() })
}

// forget lets go of what was gathered for nobody. The caller is the mirror's goroutine.
func (r *Registry) forget(now *kinds) {
	if slices.ContainsFunc(now.arriving, func(a *arrival) bool { return a.over.Load() }) {
		all := now.clone()
		all.withoutOver()
		r.publish(all)
	}
}

// readBelow reads what the store held below a table's prefix at a revision.
func (r *Registry) readBelow(ctx context.Context, t *table, revision int64) (*contents, error) {
	c := &contents{hidden: map[string]unreadable{}}
	for o := (store.ListOptions{Limit: loadPage, Revision: revision}); ; {
		page, err := r.store.List(ctx, t.prefix, o)
		if err != nil {
			return nil, err
		}
		for n := range page.Entries {
			if e := &page.Entries[n]; t.well(e.Key) {
				r.sort(t, e, c)
			}
		}
		if !page.More || len(page.Entries) == 0 {
			return c, nil
		}
		o.From = page.Entries[len(page.Entries)-1].Key + "\x00"
	}
}

// keepReadable adds the last readable states of what cannot be read to what a table will be filled with: those of the table that it
// replaces, read anew, as long as the new kind can read them.
func keepReadable(before, t *table, c *contents, at int64) {
	if before == nil {
		return
	}
	for key := range c.hidden {
		last := before.get(key)
		if last == nil || last.revision > at { // what came later is in the backlog
			continue
		}
		if i, err := t.examine(key, last.value.Bytes, last.revision); err == nil {
			c.items = append(c.items, i)
		}
	}
	slices.SortFunc(c.items, func(a, b *Item) int { return strings.Compare(a.key, b.key) })
}

// takeOn fills a table with what was read and brings it up to date; from then on it is served.
func (r *Registry) takeOn(a *arrival, c *contents) error {
	if a.stale {
		return errAnew
	}
	t, now := a.table, r.now()
	keepReadable(r.kinds.Load().byPrefix[t.prefix], t, c, a.from)
	r.hideAll(t, c.hidden)
	t.fill(c.items, a.from)
	for n := range a.backlog {
		if e := &a.backlog[n]; t.well(e.Key) {
			r.collect(t, e, now)
		}
	}
	t.applyPending(now)
	all := r.kinds.Load().clone()
	all.arriving = slices.DeleteFunc(all.arriving, func(other *arrival) bool { return other == a })
	if err := all.checkFree(t.info, true); err != nil { // another may have come meanwhile
		return err
	}
	before := all.byPrefix[t.prefix]
	var shapes []*kind.Kind // in which the objects are served besides
	if before != nil {
		shapes = all.shapesOf(before)
		all.drop(before)
	}
	all.keep(r, t)
	for _, info := range shapes {
		if err := all.convert(r, info); err != nil {
			return err
		}
	}
	r.publish(all)
	if t.anySealed() {
		r.startUnsealing() // who tries again looks at what is served
	}
	if before == nil {
		r.strays.dropAll(t) // after it is seen that the kind is there
		return nil
	}
	before.end(changedKind())
	return nil
}

// unknownKind is the answer to requests of a kind that is served no more.
func unknownKind() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotFound,
		Reason: metav1.StatusReasonNotFound, Message: "the server could not find the requested resource"}}
}

// changedKind is the answer to requests that were at work when their kind was replaced: the next attempt finds the new one.
func changedKind() error {
	return apierrors.NewTooManyRequests("the definition of the requested resource has just changed, please try again", 1)
}

// end tells everybody that the table is not kept up to date any more: watches end with 410, subscriptions end, and reads fail.
func (t *table) end(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.applied()
	t.applied = func() int64 { return at } // what comes later is not in it
	t.ended.Store(&why)
	t.watchers.close(func(*Resource) bool { return true })
}

// live fails when the table has ended.
func (t *table) live() error {
	if why := t.ended.Load(); why != nil {
		return *why
	}
	return nil
}
