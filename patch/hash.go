package patch

import (
	"hash/maphash"
	"math/bits"
	"sync"
)

// hash is 128 bits that stand for a path or a set of paths. Seeds are of this process, so nobody can prepare a collision.
type hash struct{ a, b uint64 }

// seeds of the two halves; salt keeps operands of multiplications from zero.
var (
	seedA, seedB = maphash.MakeSeed(), maphash.MakeSeed()
	saltA        = maphash.String(seedA, "salt") | 1
	saltB        = maphash.String(seedB, "salt") | 1
)

func hashString(s string) hash { return hash{maphash.String(seedA, s), maphash.String(seedB, s)} }

func hashBytes(b []byte) hash { return hash{maphash.Bytes(seedA, b), maphash.Bytes(seedB, b)} }

// hashNumber tells a number from the string that looks like it.
func hashNumber(n uint64) hash {
	return hash{n ^ saltA, n + saltB}.with(hash{saltB, saltA})
}

// with is the hash of h followed by next.
func (h hash) with(next hash) hash {
	return hash{fold(h.a^saltA, next.a+bits.RotateLeft64(h.b, 23)), fold(h.b^saltB, next.b+bits.RotateLeft64(h.a, 41))}
}

func fold(x, y uint64) uint64 {
	high, low := bits.Mul64(x|1<<63, y|1)
	return high ^ low ^ x ^ bits.RotateLeft64(y, 32)
}

// plus joins sets: the order does not matter.
func (h hash) plus(other hash) hash { return hash{h.a + other.a, h.b + other.b} }

// maxResults is how many results each half of the cache holds, of about a kilobyte each.
const maxResults = 1024

// cache holds the results used last: when the new half is full it becomes the old half, whose entries come
// back when they are used.
type cache struct {
	mu       sync.RWMutex // guards both halves; a result never changes
	new, old map[hash]*result
}

func (c *cache) get(key hash) (*result, bool) {
	c.mu.RLock()
	r, ok := c.new[key]
	if ok {
		c.mu.RUnlock()
		return r, true
	}
	r, ok = c.old[key]
	c.mu.RUnlock()
	if ok {
		c.add(key, r)
	}
	return r, ok
}

func (c *cache) add(key hash, r *result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.new == nil || len(c.new) >= maxResults {
		c.old, c.new = c.new, map[hash]*result{}
	}
	c.new[key] = r
}
