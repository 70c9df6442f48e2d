package placement

import "encoding/binary"

// partHeader is what stands before a plugin's part of a key: its number and the part's length in four bytes.
const partHeader = 5

func putSize(b []byte, size int) { binary.BigEndian.PutUint32(b, uint32(size)) }

// keyPart is a plugin's part of a class key, which it reads in the order in which it wrote it.
type keyPart string

// cut takes the part of the plugin with the number off the front of a key; empty if the plugin wrote none.
func (p *keyPart) cut(number byte) keyPart {
	if len(*p) == 0 || (*p)[0] != number {
		return ""
	}
	size := int(binary.BigEndian.Uint32([]byte((*p)[1:partHeader])))
	own := (*p)[partHeader : partHeader+size]
	*p = (*p)[partHeader+size:]
	return own
}

// more tells whether something is left to read.
func (p *keyPart) more() bool { return len(*p) > 0 }

func (p *keyPart) byte() byte {
	b := (*p)[0]
	*p = (*p)[1:]
	return b
}

func (p *keyPart) int() int64 {
	value, size := binary.Varint([]byte((*p)[:min(len(*p), binary.MaxVarintLen64)]))
	*p = (*p)[size:]
	return value
}

func (p *keyPart) text() string {
	size := int(p.int())
	text := string((*p)[:size])
	*p = (*p)[size:]
	return text
}

func appendInt(b []byte, n int64) []byte { return binary.AppendVarint(b, n) }

func appendText(b []byte, s string) []byte { return append(appendInt(b, int64(len(s))), s...) }
