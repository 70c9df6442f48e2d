package registry

import (
	"bytes"
	"sync"
)

// outstandingMax bounds the writes of this process whose events have not come back yet.
const outstandingMax = 8192

// outstanding are the writes of this process that are on their way: when the mirror sees such a write's event, it takes
// the writer's item instead of decoding the same bytes again. Whoever of writer and mirror learns the revision
// first gives it to the item.
type outstanding struct {
	mu    sync.Mutex
	byKey map[string][]*Item // guarded by mu, as is each item's revision until it is known
	count int
}

// add enters an item before it is written.
func (o *outstanding) add(i *Item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.count >= outstandingMax {
		return
	}
	if o.byKey == nil {
		o.byKey = map[string][]*Item{}
	}
	o.byKey[i.key] = append(o.byKey[i.key], i)
	o.count++
}

// resolve tells that the item was written at a revision; 0 means that it was not, or that nobody knows.
// The result is the item to go on with.
func (o *outstanding) resolve(i *Item, revision int64) *Item {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case revision == 0:
		o.remove(i)
	case i.revision == 0:
		i.setRevision(revision)
	case i.revision != revision:
		return i.at(revision) // another write of the same bytes has taken the item
	}
	return i
}

// take gives the item whose event has come, if this process wrote it.
func (o *outstanding) take(key string, value []byte, revision int64) *Item {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range o.byKey[key] {
		if i.revision > revision {
			break
		}
		if (i.revision == 0 || i.revision == revision) && bytes.Equal(i.value.Bytes, value) {
			o.remove(i)
			if i.revision == 0 {
				i.setRevision(revision)
			}
			return i
		}
	}
	return nil
}

// latest is the newest item that this process has written under the key and that the mirror has not yet seen.
func (o *outstanding) latest(key string) *Item {
	o.mu.Lock()
	defer o.mu.Unlock()
	var newest *Item
	for _, i := range o.byKey[key] {
		if i.revision > 0 && (newest == nil || i.revision > newest.revision) {
			newest = i
		}
	}
	return newest
}

// drop forgets the writes up to a revision, whose events will not come after a reload.
func (o *outstanding) drop(revision int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, items := range o.byKey {
		for _, i := range append([]*Item(nil), items...) {
			if i.revision > 0 && i.revision <= revision {
				o.remove(i)
			}
		}
	}
}

// remove is called with mu held.
func (o *outstanding) remove(i *Item) {
	items := o.byKey[i.key]
	for n, other := range items {
		if other != i {
			continue
		}
		o.count--
		if len(items) == 1 {
			delete(o.byKey, i.key)
		} else {
			o.byKey[i.key] = append(items[:n:n], items[n+1:]...)
		}
		return
	}
}
