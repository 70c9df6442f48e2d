package allocate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// portsKey is where upstream keeps the bitmap of node ports.
const portsKey = "/registry/ranges/servicenodeports"

// rangeEnvelope is that of the stored value.
var rangeEnvelope = wire.NewEnvelope("v1", "RangeAllocation")

// PortRange is a range of ports.
type PortRange struct{ Base, Size int }

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.Base, r.Base+r.Size-1) }

func (r PortRange) validate() error {
	if r.Base < 1 || r.Size < 1 || r.Base+r.Size > 1<<16 {
		return fmt.Errorf("%s is not a range of ports", r)
	}
	return nil
}

// reserved is the number of ports at the start of the range that are given last when the server chooses: a 32nd of the
// range, at least 16 and at most 128; none of a tiny range.
func (r PortRange) reserved() int {
	if r.Size < 16 {
		return 0
	}
	n := min(max(r.Size/32, 16), 128)
	if n >= r.Size {
		return 0
	}
	return n
}

// portAllocator keeps the bitmap of node ports in use: bit n is port Base+n.
type portAllocator struct {
	store store.Store
	ports PortRange

	// mu orders this process's own changes; other processes are kept apart by compare-and-swap. It guards last.
	mu sync.Mutex
	// last is the bitmap as it was last read or written, nil before that.
	last *store.Entry
}

// bitmap is the set of ports in use during one change.
type bitmap struct {
	PortRange
	bits *big.Int
}

var (
	errPortTaken    = errors.New("provided port is already allocated")
	errPortsAllUsed = errors.New("range is full")
)

// take marks a port as used.
func (b *bitmap) take(port int) error {
	n := port - b.Base
	if n < 0 || n >= b.Size {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", b.PortRange)
	}
	if b.bits.Bit(n) == 1 {
		return errPortTaken
	}
	b.bits.SetBit(b.bits, n, 1)
	return nil
}

// choose takes a free port, first above the reserved ones, from a random one on.
func (b *bitmap) choose() (int, error) {
	low := b.reserved()
	for _, part := range [][2]int{{low, b.Size}, {0, low}} {
		count := part[1] - part[0]
		if count == 0 {
			continue
		}
		start := rand.IntN(count)
		for n := range count {
			if bit := part[0] + (start+n)%count; b.bits.Bit(bit) == 0 {
				b.bits.SetBit(b.bits, bit, 1)
				return b.Base + bit, nil
			}
		}
	}
	return 0, errPortsAllUsed
}

func (b *bitmap) free(port int) {
	if n := port - b.Base; n >= 0 && n < b.Size {
		b.bits.SetBit(b.bits, n, 0)
	}
}

func (b *bitmap) has(port int) bool {
	n := port - b.Base
	return n >= 0 && n < b.Size && b.bits.Bit(n) == 1
}

// change applies f to the bitmap and stores it, repeating both when another process was faster. On a dry run, or
// when f changes nothing, nothing is stored. f may run several times.
func (a *portAllocator) change(ctx context.Context, dryRun bool, f func(*bitmap) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		b, err := a.load(ctx)
		if err != nil {
			return err
		}
		before := new(big.Int).Set(b.bits)
		if err := f(b); err != nil {
			// The refusal may rest on a bitmap that another master has changed since: then f judges the present one.
			if a.confirmed(ctx) {
				return err
			}
			continue
		}
		if dryRun || before.Cmp(b.bits) == 0 {
			return nil
		}
		err = a.save(ctx, b)
		var lost *store.Conflict
		if !errors.As(err, &lost) {
			return err
		}
		a.last = lost.Present
	}
}

// confirmed tells whether the bitmap that led to a refusal is the present one; if not, the present one is read.
func (a *portAllocator) confirmed(ctx context.Context) bool {
	present, _, err := a.store.Get(ctx, portsKey, 0)
	if errors.Is(err, store.ErrNotFound) {
		same := a.last == nil
		a.last = nil
		return same
	}
	if err != nil {
		return true // nothing is known against it, and to try on would last as long as the store is away
	}
	same := a.last != nil && a.last.Revision == present.Revision
	a.last = &present
	return same
}

func (a *portAllocator) load(ctx context.Context) (*bitmap, error) {
	if a.last == nil {
		e, _, err := a.store.Get(ctx, portsKey, 0)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			a.last = &e
		}
	}
	b := &bitmap{PortRange: a.ports, bits: new(big.Int)}
	if a.last == nil {
		return b, nil
	}
	stored, err := decodeRange(a.last.Value)
	if err != nil {
		return nil, err
	}
	if stored.Range == "" || stored.Range == a.ports.String() {
		b.bits.SetBytes(stored.Data)
		return b, nil
	}
	return b, b.adopt(stored)
}

// adopt takes over the ports of a bitmap that was written for another range, as far as they are in this one.
func (b *bitmap) adopt(stored *corev1.RangeAllocation) error {
	var first, last int
	if _, err := fmt.Sscanf(stored.Range, "%d-%d", &first, &last); err != nil {
		return fmt.Errorf("the stored node ports have the unreadable range %q: %w", stored.Range, err)
	}
	old := &bitmap{PortRange: PortRange{Base: first, Size: last - first + 1}, bits: new(big.Int).SetBytes(stored.Data)}
	for n := range b.Size {
		if old.has(b.Base + n) {
			b.bits.SetBit(b.bits, n, 1)
		}
	}
	return nil
}

func (a *portAllocator) save(ctx context.Context, b *bitmap) error {
	value, err := encodeRange(&corev1.RangeAllocation{Range: b.PortRange.String(), Data: b.bits.Bytes()})
	if err != nil {
		return err
	}
	var revision int64
	if a.last == nil {
		revision, err = a.store.Create(ctx, portsKey, value, 0)
	} else {
		revision, err = a.store.Update(ctx, portsKey, a.last.Revision, value, 0)
	}
	if err != nil {
		return err
	}
	a.last = &store.Entry{Key: portsKey, Value: value, Revision: revision}
	return nil
}

// release gives ports back.
func (a *portAllocator) release(ctx context.Context, ports []int) error {
	if len(ports) == 0 {
		return nil
	}
	return a.change(ctx, false, func(b *bitmap) error {
		for _, p := range ports {
			b.free(p)
		}
		return nil
	})
}

func encodeRange(r *corev1.RangeAllocation) ([]byte, error) {
	raw, err := r.Marshal()
	if err != nil {
		return nil, err
	}
	return rangeEnvelope.Append(nil, raw), nil
}

func decodeRange(value []byte) (*corev1.RangeAllocation, error) {
	if !bytes.HasPrefix(value, []byte(wire.Magic)) {
		return nil, errors.New("the stored node ports are not in the form of Kubernetes")
	}
	start, end, err := rangeEnvelope.Payload(value)
	if err != nil {
		return nil, fmt.Errorf("the stored node ports cannot be read: %w", err)
	}
	r := &corev1.RangeAllocation{}
	if err := r.Unmarshal(value[start:end]); err != nil {
		return nil, fmt.Errorf("the stored node ports cannot be read: %w", err)
	}
	return r, nil
}
