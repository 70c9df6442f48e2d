package allocate

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
)

// block is a range of addresses to give. Addresses are counted from 0 (first) to size-1.
type block struct {
	prefix netip.Prefix
	first  netip.Addr
	// Invariant: 0 <= reserved < size. Addresses below reserved are given last when the server chooses.
	size, reserved uint64
}

// newBlock leaves out the address of the network itself, and of IPv4 the broadcast address.
func newBlock(p netip.Prefix) (block, error) {
	p = p.Masked()
	bits := p.Addr().BitLen() - p.Bits()
	if !p.IsValid() || bits < 2 {
		return block{}, fmt.Errorf("%s is too small for service addresses: at least 4 addresses are needed", p)
	}
	size := uint64(math.MaxInt64)
	if bits < 63 {
		size = 1<<bits - 1
		if p.Addr().Is4() {
			size--
		}
	}
	return block{prefix: p, first: p.Addr().Next(), size: size, reserved: reservedAddresses(size)}, nil
}

// reservedAddresses is the size of the part that is kept for addresses chosen by users: a sixteenth of the block, at
// least 16 and at most 256; none of a tiny block.
func reservedAddresses(size uint64) uint64 {
	if size < 16 {
		return 0
	}
	n := min(max(size/16, 16), 256)
	if n >= size {
		return 0
	}
	return n
}

// at is the address with the number n.
func (b block) at(n uint64) netip.Addr {
	if b.first.Is4() {
		raw := b.first.As4()
		binary.BigEndian.PutUint32(raw[:], binary.BigEndian.Uint32(raw[:])+uint32(n))
		return netip.AddrFrom4(raw)
	}
	raw := b.first.As16()
	low := binary.BigEndian.Uint64(raw[8:])
	if low+n < low {
		binary.BigEndian.PutUint64(raw[:8], binary.BigEndian.Uint64(raw[:8])+1)
	}
	binary.BigEndian.PutUint64(raw[8:], low+n)
	return netip.AddrFrom16(raw)
}

// contains tells whether the address is one that can be given.
func (b block) contains(a netip.Addr) bool {
	return b.prefix.Contains(a) && !a.Less(b.first) && !b.at(b.size-1).Less(a)
}
