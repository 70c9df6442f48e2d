package registry

import (
	"cmp"
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// ListOptions are the options of a list, parsed. Namespace "" is all namespaces.
type ListOptions struct {
	Namespace            string
	Label                labels.Selector // nil is everything
	Field                fields.Selector // nil is everything; its labels have been checked
	ResourceVersion      string
	ResourceVersionMatch metav1.ResourceVersionMatch
	Limit                int64
	Continue             string
}

// List is the result of a listing; Items are in key order.
type List struct {
	Items     []*Item
	Revision  int64
	Continue  string
	Remaining *int64
}

// listing is one List call after its options have been read.
type listing struct {
	*filter
	// exact revision to read at, 0 for the present state; minimum is the least that this may be.
	exact, minimum int64
	// consistent: the present state must hold every acknowledged write.
	consistent bool
	// from is the first key; limit is 0 for no limit.
	from  string
	limit int64
	// continued tells that a continue token gave exact and from.
	continued bool
}

// List reads a snapshot.
func (r *Resource) List(ctx context.Context, o ListOptions) (*List, error) {
	l, err := r.listing(&o)
	if err != nil {
		return nil, err
	}
	if err := r.reg.whenLoaded(ctx); err != nil {
		return nil, err
	}
	if l.consistent {
		_, err = r.reg.Fresh(ctx)
	} else {
		err = r.reg.waitAtLeast(ctx, max(l.minimum, l.exact))
	}
	if err != nil {
		return nil, err
	}
	if err := r.legible(cmp.Or(l.single(), l.scope())); err != nil {
		return nil, err
	}
	list, err := r.read(ctx, l)
	if err != nil || r.via == nil {
		return list, err
	}
	for n, i := range list.Items {
		list.Items[n] = r.served(i)
	}
	return list, nil
}

// listing reads the options as upstream does.
func (r *Resource) listing(o *ListOptions) (*listing, error) {
	in := internalversion.ListOptions{
		ResourceVersion: o.ResourceVersion, ResourceVersionMatch: o.ResourceVersionMatch, Limit: o.Limit, Continue: o.Continue,
	}
	if errs := validation.ValidateListOptions(&in, true); len(errs) > 0 {
		return nil, bounds.Invalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
	}
	l := &listing{filter: r.filter(o.Namespace, o.Label, o.Field), limit: max(o.Limit, 0)}
	l.from = l.scope()
	if o.Continue != "" {
		whole := *l
		if err := whole.resume(o); err != nil || l.single() == "" {
			return &whole, err
		} // a token that could go on with one object has nothing to go on with
	}
	revision, err := parseRevision(o.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest("invalid resource version: " + err.Error())
	}
	l.minimum = revision
	switch {
	case o.ResourceVersionMatch == metav1.ResourceVersionMatchExact,
		o.ResourceVersionMatch == "" && l.limit > 0 && revision > 0 && l.single() == "":
		l.exact = revision
	case o.ResourceVersion == "":
		l.consistent = true
	}
	if o.ResourceVersion == "0" || l.single() != "" {
		l.limit = 0
	}
	return l, nil
}

// resume takes revision and first key from a continue token.
func (l *listing) resume(o *ListOptions) error {
	from, revision, err := decodeContinue(o.Continue, l.scope())
	if err != nil {
		return apierrors.NewBadRequest("invalid continue token: " + err.Error())
	}
	if o.ResourceVersion != "" && o.ResourceVersion != "0" {
		return apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	l.from, l.continued = from, true
	if revision > 0 {
		l.exact = revision
	} else {
		l.consistent = true
	}
	return nil
}

// read answers from the mirror if it can, else from the store's history.
func (r *Resource) read(ctx context.Context, l *listing) (*List, error) {
	t := r.table
	if l.exact > 0 {
		if l.continued && r.reg.horizon.behind(l.exact, r.reg.now()) {
			return nil, l.expired()
		}
		if s := t.snapshotAt(l.exact); s != nil {
			return r.page(ctx, s, l.exact, l)
		}
		return r.readPast(ctx, l)
	}
	t.mu.RLock()
	items, ok := t.find(l.filter)
	revision := t.revision()
	t.mu.RUnlock()
	if ok && l.limit == 0 && !l.continued {
		chosen, err := l.choose(ctx, items)
		return &List{Items: chosen, Revision: revision}, err
	}
	s, revision := t.snapshot()
	return r.page(ctx, s, revision, l)
}

// choose keeps the items that match.
func (l *listing) choose(ctx context.Context, items []*Item) ([]*Item, error) {
	chosen := items[:0]
	for n, i := range items {
		if givenUp(ctx, n) {
			return nil, ctx.Err()
		}
		if l.matches(i) {
			chosen = append(chosen, i)
		}
	}
	return chosen, nil
}

// lookUp is after how many objects a list looks whether anybody still waits for it.
const lookUp = 1000

// givenUp tells whether the request is over; n counts the objects.
func givenUp(ctx context.Context, n int) bool { return n%lookUp == lookUp-1 && ctx.Err() != nil }

// page reads up to limit items of a snapshot.
func (r *Resource) page(ctx context.Context, s *snapshot, revision int64, l *listing) (*List, error) {
	list := &List{Revision: revision}
	if key := l.single(); key != "" {
		if e, ok := s.entries.Get(entry{key: key}); ok {
			list.Items, _ = l.choose(ctx, []*Item{e.item}) // one is too few to be given up
		}
		return list, nil
	}
	if l.limit == 0 && !l.selects() && l.namespace == "" {
		list.Items = make([]*Item, 0, s.entries.Len())
	}
	more, seen := false, 0
	open := !l.selects()
	s.ascend(l.scope(), l.from, func(i *Item) bool {
		if seen++; givenUp(ctx, seen) {
			return false
		}
		if l.limit > 0 && int64(len(list.Items)) >= l.limit {
			more = true
			return false
		}
		if open || l.matches(i) {
			list.Items = append(list.Items, i)
		}
		return true
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if more {
		r.finish(list, s, l)
	}
	return list, nil
}

// finish gives a page its continue token, counts what is left, and keeps the snapshot for the next page.
func (r *Resource) finish(list *List, s *snapshot, l *listing) {
	next := list.Items[len(list.Items)-1].key + "\x00"
	list.Continue = encodeContinue(next, l.scope(), list.Revision)
	remaining := int64(-1)
	if !l.selects() {
		left, ok := r.table.left(s, pageStart{l.scope(), l.from})
		if !ok {
			left = s.count(l.scope(), l.from)
		}
		remaining = left - int64(len(list.Items))
		list.Remaining = &remaining
	}
	r.table.keep(s, pageStart{l.scope(), next}, remaining, r.reg.now(), !l.continued)
}

// ascend walks the items of a scope from a key on.
func (s *snapshot) ascend(scope, from string, f func(*Item) bool) {
	s.entries.AscendGreaterOrEqual(entry{key: from}, func(e entry) bool {
		return strings.HasPrefix(e.key, scope) && f(e.item)
	})
}

func (s *snapshot) count(scope, from string) (n int64) {
	s.ascend(scope, from, func(*Item) bool { n++; return true })
	return n
}

// Bounds of the pages that are read from the store for a list of the past.
const (
	pastPage    = 2000
	pastPageMax = 10000
)

// readPast reads a list at an exact revision from the store.
func (r *Resource) readPast(ctx context.Context, l *listing) (*List, error) {
	list := &List{Revision: l.exact}
	o := store.ListOptions{From: l.from, Revision: l.exact, Limit: pastPage}
	if l.limit > 0 {
		o.Limit = int(min(l.limit, pastPageMax))
	}
	for {
		page, err := r.reg.store.List(ctx, l.scope(), o)
		if err != nil {
			return nil, r.pastError(err, l)
		}
		for n := range page.Entries {
			e := &page.Entries[n]
			i, err := r.pastItem(e)
			if err != nil {
				return nil, err
			}
			if i == nil || !l.matches(i) {
				continue
			}
			list.Items = append(list.Items, i)
			if l.limit == 0 || int64(len(list.Items)) < l.limit {
				continue
			}
			if left := page.Count - int64(n) - 1; left > 0 {
				list.Continue = encodeContinue(e.Key+"\x00", l.scope(), l.exact)
				if !l.selects() {
					list.Remaining = &left
				}
			}
			return list, nil
		}
		if !page.More || len(page.Entries) == 0 {
			return list, nil
		}
		o.From = page.Entries[len(page.Entries)-1].Key + "\x00"
		o.Limit = min(2*o.Limit, pastPageMax)
	}
}

// pastItem is the item of a former state; nil if the key is none of this kind.
func (r *Resource) pastItem(e *store.Entry) (*Item, error) {
	if !r.table.well(e.Key) {
		return nil, nil
	}
	// The present item, if it is the same, has been decoded already.
	if i := r.table.get(e.Key); i != nil && i.revision == e.Revision {
		return i, nil
	}
	i, bad := r.reg.read(r.table, e)
	if bad != nil {
		return nil, r.unreadablePast(e.Key, bad)
	}
	return i, nil
}

// expired is what a client is told whose token is too old, with one to go on with inconsistently.
func (l *listing) expired() error {
	e := apierrors.NewResourceExpired(inconsistentContinue)
	e.ErrStatus.Continue = encodeContinue(l.from, l.scope(), -1)
	return e
}

func (r *Resource) pastError(err error, l *listing) error {
	switch {
	case errors.Is(err, store.ErrCompacted) && l.continued:
		return l.expired()
	case errors.Is(err, store.ErrCompacted):
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	case errors.Is(err, store.ErrFutureRevision):
		return tooLarge(l.exact, r.reg.Applied())
	}
	return storeError(err, r.gr(), kind.List)
}
