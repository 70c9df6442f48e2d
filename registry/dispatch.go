package registry

import (
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// bucketEntry is where a watcher is entered, so that it can leave.
type bucketEntry struct {
	bucket *bucket
	at     int
	drop   func() // removes the bucket when it is empty; nil for the one that stays
}

// bucket is a set of watchers that see the same changes before selection.
type bucket struct{ members []*Watcher }

func (b *bucket) offer(c *change) {
	for _, w := range b.members {
		w.offer(c)
	}
}

// watchers finds those who may be interested in a change: by its key, by its indexed fields' values, by its
// namespace; only those who want everything are asked each time. It is guarded by its table's lock.
type watchers struct {
	all         bucket
	byKey       map[string]*bucket
	byName      map[string]*bucket // one name in all namespaces
	byNamespace map[string]*bucket
	byField     []map[string]*bucket
	count       int
	subscribers []*subscription
}

func newWatchers(fields int) watchers {
	w := watchers{byKey: map[string]*bucket{}, byName: map[string]*bucket{}, byNamespace: map[string]*bucket{}}
	for range fields {
		w.byField = append(w.byField, map[string]*bucket{})
	}
	return w
}

// enter puts a watcher where the changes that it may see will find it.
func (s *watchers) enter(w *Watcher) {
	f := w.filter
	switch {
	case f.single() != "":
		s.put(s.byKey, f.single(), w)
	case f.by >= 0:
		s.put(s.byField[f.by], f.value, w)
	case f.name != "":
		s.put(s.byName, f.name, w)
	case f.namespace != "":
		s.put(s.byNamespace, f.namespace, w)
	default:
		w.in = bucketEntry{bucket: &s.all, at: len(s.all.members)}
		s.all.members = append(s.all.members, w)
	}
	s.count++
	if w.r.live() != nil {
		w.fail(endedWatch())
	}
}

func (s *watchers) put(m map[string]*bucket, value string, w *Watcher) {
	b := m[value]
	if b == nil {
		b = &bucket{}
		m[value] = b
	}
	w.in = bucketEntry{bucket: b, at: len(b.members), drop: func() { delete(m, value) }}
	b.members = append(b.members, w)
}

// leave takes a watcher out; it may have left already.
func (s *watchers) leave(w *Watcher) {
	p := w.in
	if p.bucket == nil {
		return
	}
	w.in = bucketEntry{}
	s.count--
	last := len(p.bucket.members) - 1
	moved := p.bucket.members[last]
	p.bucket.members[last] = nil
	p.bucket.members = p.bucket.members[:last]
	if moved != w {
		p.bucket.members[p.at] = moved
		moved.in.at = p.at
	}
	if last == 0 && p.drop != nil {
		p.drop()
	}
}

// dispatch offers a change to all that may be interested.
func (s *watchers) dispatch(t *table, c *change) {
	for _, sub := range s.subscribers {
		sub.push(c)
	}
	if s.count == 0 {
		return
	}
	s.all.offer(c)
	i := c.item()
	offer(s.byKey, i.key, c)
	if len(s.byNamespace) > 0 {
		offer(s.byNamespace, i.Namespace(), c)
	}
	if len(s.byName) > 0 {
		offer(s.byName, i.Name(), c)
	}
	for n, m := range s.byField {
		if len(m) == 0 {
			continue
		}
		value := t.fields[n].value(i)
		offer(m, value, c)
		if c.new != nil && c.old != nil {
			if before := t.fields[n].value(c.old); before != value {
				offer(m, before, c)
			}
		}
	}
}

func offer(m map[string]*bucket, value string, c *change) {
	if b := m[value]; b != nil {
		b.offer(c)
	}
}

// expire ends all watches.
func (s *watchers) expire(revision int64) {
	s.end(func(w *Watcher) error { return expiredWatch(w.since, revision) })
}

// end ends all watches for which there is an error.
func (s *watchers) end(why func(*Watcher) error) {
	end := func(b *bucket) {
		for _, w := range b.members {
			if err := why(w); err != nil {
				w.fail(err)
			}
		}
	}
	end(&s.all)
	for _, m := range append([]map[string]*bucket{s.byKey, s.byName, s.byNamespace}, s.byField...) {
		for _, b := range m {
			end(b)
		}
	}
}

// close ends the watches and subscriptions of resources that are served no more. Those that come later end when they enter.
func (s *watchers) close(over func(*Resource) bool) {
	s.end(func(w *Watcher) error {
		if !over(w.r) {
			return nil
		}
		return endedWatch()
	})
	for _, sub := range s.subscribers {
		if over(sub.r) {
			sub.close()
		}
	}
}

func endedWatch() error {
	return apierrors.NewResourceExpired("the definition of the watched resource has changed")
}

func (s *watchers) subscribe(sub *subscription) {
	s.subscribers = append(s.subscribers, sub)
	if sub.r.live() != nil {
		sub.close()
	}
}

func (s *watchers) unsubscribe(sub *subscription) {
	s.subscribers = slices.DeleteFunc(s.subscribers, func(other *subscription) bool { return other == sub })
}
