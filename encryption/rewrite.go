package encryption

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// scanPage is the number of values that are read at once.
	scanPage = 100
	// pauseMax bounds the pause after a rewritten value.
	pauseMax = time.Second
	// passesMax bounds how often a rewrite looks again for what others wrote meanwhile.
	passesMax = 5
)

// Usage is how the objects of one resource are stored.
type Usage struct {
	Resource string `json:"resource"`
	// Writes is the form that a write gives a value now.
	Writes Form `json:"writes"`
	// Stored counts the objects by the text of their form.
	Stored map[string]int `json:"stored"`
	// Stale objects are in another form than a write would give them; Unreadable ones cannot be decrypted.
	Stale      int `json:"stale"`
	Unreadable int `json:"unreadable"`
	// Error is why one of the latter cannot.
	Error string `json:"error,omitempty"`
}

// Survey reads all stored values of the encrypted resources, and of those in also.
func (s *Store) Survey(ctx context.Context, also ...schema.GroupResource) ([]Usage, error) {
	sections := s.Sections()
	var all []Usage
	for _, sc := range s.scopes(also) {
		u := Usage{Resource: sc.resource.String(), Writes: writes(sections, sc.resource), Stored: map[string]int{}}
		err := s.scan(ctx, sc.prefix, func(raw store.Entry) error {
			u.Stored[FormOf(raw.Value).String()]++
			e := raw
			s.open(ctx, s.present.Load(), &e, true)
			switch {
			case e.Sealed != nil:
				u.Unreadable++
				u.Error = e.Sealed.Error()
				if isTimeout(e.Sealed) {
					return e.Sealed
				}
			case e.Stale:
				u.Stale++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// scope is the keys of one resource.
type scope struct {
	resource schema.GroupResource
	prefix   string
	ttl      time.Duration
}

// scopes are the keys of the encrypted resources, in order.
func (s *Store) scopes(also []schema.GroupResource) []scope {
	rules := s.present.Load()
	found := map[string]scope{}
	for _, r := range rules.byPrefix {
		if r != nil && r.prefix != masterLeases {
			found[r.prefix] = scope{r.resource, r.prefix, r.ttl}
		}
	}
	rules.custom.Range(func(_, value any) bool {
		if r := value.(*rule); r != nil {
			found[r.prefix] = scope{r.resource, r.prefix, 0}
		}
		return true
	})
	for _, k := range s.o.Kinds {
		if k.Stored() && slices.Contains(also, k.GR()) {
			found[k.StoragePrefix] = scope{k.GR(), k.StoragePrefix, k.TTL}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b scope) int {
		return cmp.Compare(a.prefix, b.prefix)
	})
}

// scan calls f with every value as it is stored.
func (s *Store) scan(ctx context.Context, prefix string, f func(store.Entry) error) error {
	for from := ""; ; {
		page, err := s.Store.List(ctx, prefix, store.ListOptions{From: from, Limit: scanPage})
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := f(e); err != nil {
				return err
			}
		}
		if !page.More || len(page.Entries) == 0 {
			return nil
		}
		from = page.Entries[len(page.Entries)-1].Key + "\x00"
	}
}

// Progress of a rewrite.
type Progress struct {
	// Seen of Total objects have been looked at, Rewritten of them written.
	Seen      int `json:"seen"`
	Total     int `json:"total"`
	Rewritten int `json:"rewritten"`
}

// Rewrite stores every object of the encrypted resources that is not in the form that a write would give it. Nothing
// else about the objects changes, and what others write meanwhile stays. It may be ended and begun again at any time.
// After each write it rests as long as the write took. report may be nil.
func (s *Store) Rewrite(ctx context.Context, report func(Progress)) error {
	if report == nil {
		report = func(Progress) {}
	}
	before := 0 // rewritten by former passes
	for range passesMax {
		w := &rewriting{s: s, report: report}
		w.progress.Rewritten = before
		if err := w.pass(ctx); err != nil {
			return err
		}
		if w.unreadable > 0 {
			return fmt.Errorf("%d objects cannot be decrypted and stay as they are: %w", w.unreadable, w.why)
		}
		if w.progress.Rewritten == before {
			return nil
		}
		before = w.progress.Rewritten
	}
	return errors.New("objects are still being written in a former form: do all masters use the same configuration?")
}

// rewriting is one pass of a Rewrite.
type rewriting struct {
	s          *Store
	report     func(Progress)
	progress   Progress
	unreadable int
	why        error
}

func (w *rewriting) pass(ctx context.Context) error {
	scopes := w.s.scopes(nil)
	for _, sc := range scopes {
		page, err := w.s.Store.List(ctx, sc.prefix, store.ListOptions{CountOnly: true})
		if err != nil {
			return err
		}
		w.progress.Total += int(page.Count)
	}
	for _, sc := range scopes {
		err := w.s.scan(ctx, sc.prefix, func(e store.Entry) error {
			w.progress.Seen++
			w.s.open(ctx, w.s.present.Load(), &e, true)
			err := w.rewrite(ctx, sc, &e)
			w.report(w.progress)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rewrite stores one value again, if it is stale.
func (w *rewriting) rewrite(ctx context.Context, sc scope, e *store.Entry) error {
	for {
		switch {
		case e == nil: // it is gone
			return nil
		case e.Sealed != nil && isTimeout(e.Sealed):
			return e.Sealed
		case e.Sealed != nil:
			w.unreadable++
			w.why = e.Sealed
			return nil
		case !e.Stale:
			return nil
		}
		begun := time.Now()
		_, err := w.s.Update(ctx, e.Key, e.Revision, e.Value, sc.ttl)
		var lost *store.Conflict
		switch {
		case err == nil:
			w.progress.Rewritten++
		case errors.As(err, &lost):
			e = lost.Present
			continue
		default:
			return err
		}
		select {
		case <-time.After(min(time.Since(begun), pauseMax)):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writes finds the form in which a resource's objects are written.
func writes(sections []Section, gr schema.GroupResource) Form {
	for _, name := range []schema.GroupResource{gr, {Group: gr.Group, Resource: "*"}, {Group: "*", Resource: "*"}} {
		for _, s := range sections {
			for _, r := range s.Resources {
				if schema.ParseGroupResource(r) == name && len(s.Forms) > 0 {
					return s.Forms[0]
				}
			}
		}
	}
	return Plain
}
