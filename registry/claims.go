package registry

import (
	"bytes"
	"sync"
)

// claimsMax bounds the writes of this process whose events have not come back yet.
const claimsMax = 8192

// claims are the writes of this process that are on their way: when the mirror sees such a write's event, it takes
// the writer's item instead of decoding the same bytes again. Whoever of writer and mirror learns the revision
// first gives it to the item.
type claims struct {
	mu    sync.Mutex
	byKey map[string][]*Item // guarded by mu, as is each item's revision until it is settled
	count int
}

// add enters an item before it is written.
func (c *claims) add(i *Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count >= claimsMax {
		return
	}
	if c.byKey == nil {
		c.byKey = map[string][]*Item{}
	}
	c.byKey[i.key] = append(c.byKey[i.key], i)
	c.count++
}

// settle tells that the item was written at a revision; 0 means that it was not, or that nobody knows.
// The result is the item to go on with.
func (c *claims) settle(i *Item, revision int64) *Item {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case revision == 0:
		c.remove(i)
	case i.revision == 0:
		i.settle(revision)
	case i.revision != revision:
		return i.at(revision) // another write of the same bytes has taken the item
	}
	return i
}

// take gives the item whose event has come, if this process wrote it.
func (c *claims) take(key string, value []byte, revision int64) *Item {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.byKey[key] {
		if i.revision > revision {
			break
		}
		if (i.revision == 0 || i.revision == revision) && bytes.Equal(i.value, value) {
			c.remove(i)
			if i.revision == 0 {
				i.settle(revision)
			}
			return i
		}
	}
	return nil
}

// latest is the newest item that this process has written under the key and that the mirror has not yet seen.
func (c *claims) latest(key string) *Item {
	c.mu.Lock()
	defer c.mu.Unlock()
	var newest *Item
	for _, i := range c.byKey[key] {
		if i.revision > 0 && (newest == nil || i.revision > newest.revision) {
			newest = i
		}
	}
	return newest
}

// drop forgets the writes up to a revision, whose events will not come after a reload.
func (c *claims) drop(revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, items := range c.byKey {
		for _, i := range append([]*Item(nil), items...) {
			if i.revision > 0 && i.revision <= revision {
				c.remove(i)
			}
		}
	}
}

// remove is called with mu held.
func (c *claims) remove(i *Item) {
	items := c.byKey[i.key]
	for n, other := range items {
		if other != i {
			continue
		}
		c.count--
		if len(items) == 1 {
			delete(c.byKey, i.key)
		} else {
			c.byKey[i.key] = append(items[:n:n], items[n+1:]...)
		}
		return
	}
}
