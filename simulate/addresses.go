package simulate

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
)

// Pods get addresses from 10.244.0.0 upwards, one block a node; nodes from 192.168.0.1 upwards.
const (
	podsFirst   = 10<<24 | 244<<16
	podsLast    = 10<<24 | 255<<16 | 0xffff
	spillFirst  = 10<<24 | 128<<16
	spillLast   = podsFirst - 1
	nodesFirst  = 192<<24 | 168<<16 | 1
	nodesMost   = 65_000
	blockBits   = 8
	blockUnused = 2
)

// addressSpace divides addresses among nodes.
type addressSpace struct {
	// blockSize is the number of addresses of a node's block, a power of two.
	blockSize uint32
	blocks    uint32
}

func newAddressSpace(nodes int, pods int64) (addressSpace, error) {
	width := max(blockBits, bits.Len64(uint64(pods+blockUnused)))
	if width > 20 {
		return addressSpace{}, fmt.Errorf("%d pods a node are more than there are addresses for: choose a smaller capacity", pods)
	}
	s := addressSpace{blockSize: 1 << width}
	s.blocks = (podsLast - podsFirst + 1) / s.blockSize
	if most := s.blocks + (spillLast-spillFirst+1)/s.blockSize; uint32(nodes) > most || nodes > nodesMost {
		return s, fmt.Errorf("%d nodes of %d pods need more addresses than there are: at most %d nodes", nodes, pods, min(most, nodesMost))
	}
	return s, nil
}

func (s addressSpace) nodeIP(index int) string { return address(nodesFirst + uint32(index)).String() }

// pods is the block of a node.
func (s addressSpace) pods(index int) *block {
	first := podsFirst + uint32(index)*s.blockSize
	if uint32(index) >= s.blocks {
		first = spillFirst + (uint32(index)-s.blocks)*s.blockSize
	}
	return &block{first: first, size: s.blockSize, used: map[uint32]bool{}, next: 1}
}

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// block hands out a node's pod addresses in turn, so that one is not used again at once. The stage's lock guards it.
type block struct {
	first, size, next uint32
	used              map[uint32]bool
}

// cidr is the block as a network.
func (b *block) cidr() string {
	return netip.PrefixFrom(address(b.first), 32-bits.TrailingZeros32(b.size)).String()
}

// take returns a free address, empty if there is none.
func (b *block) take() string {
	for range b.size {
		offset := b.next
		if b.next++; b.next == b.size-1 {
			b.next = 1
		}
		if !b.used[offset] {
			b.used[offset] = true
			return address(b.first + offset).String()
		}
	}
	return ""
}

// hold marks the address of a pod that was there before. An address outside the block is left alone.
func (b *block) hold(ip string) {
	if offset, ok := b.offset(ip); ok {
		b.used[offset] = true
	}
}

func (b *block) free(ip string) {
	if offset, ok := b.offset(ip); ok {
		delete(b.used, offset)
	}
}

func (b *block) offset(ip string) (uint32, bool) {
	a, err := netip.ParseAddr(ip)
	if err != nil || !a.Is4() {
		return 0, false
	}
	bytes := a.As4()
	n := binary.BigEndian.Uint32(bytes[:])
	return n - b.first, n >= b.first && n < b.first+b.size
}
