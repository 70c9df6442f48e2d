// Package wire reads and writes protobuf without decoding it: varints, tags, the fields of a message, and the envelope in which
// Kubernetes stores and sends objects. It knows messages and numbers, and no object.
//
// It reads as the generated decoders do, so that whoever looks at bytes sees what a decoder will see: numbers of fields are cut
// to 32 bits, what overflows a varint is lost, and the last of several values of a field counts. Nothing is copied, and
// no input makes it fail but with an answer: lengths are compared with what is there before they are believed.
package wire

import (
	"encoding/binary"
	"iter"
	"math/bits"
)

// Type is the wire type of a field: how its end is found.
type Type uint8

// The wire types. There is no other: 6 and 7 are malformed.
const (
	Varint Type = iota
	Fixed64
	Bytes
	Group
	GroupEnd
	Fixed32
)

// Tag is what stands before a field's value.
func Tag(number int, t Type) uint64 { return uint64(number)<<3 | uint64(t) }

// varintMax is the greatest length of a varint.
const varintMax = 10

// Uvarint reads a varint and tells its length; that is 0 if there is none. Nearly all are of one byte: for them no function is called.
func Uvarint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return longUvarint(b)
}

func longUvarint(b []byte) (v uint64, n int) {
	for n < len(b) && n < varintMax {
		c := b[n]
		v |= uint64(c&0x7f) << (7 * n)
		n++
		if c < 0x80 {
			return v, n
		}
	}
	return 0, 0
}

// UvarintSize is the length of a number as a varint.
func UvarintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// BytesSize is the length of a field of n bytes whose tag takes one byte.
func BytesSize(n int) int { return 1 + UvarintSize(uint64(n)) + n }

// AppendLength appends what stands before the value of a field of n bytes, which is for the caller to append.
func AppendLength(dst []byte, number, n int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, Tag(number, Bytes)), uint64(n))
}

// AppendBytes appends a field of bytes.
func AppendBytes[B string | []byte](dst []byte, number int, value B) []byte {
	return append(AppendLength(dst, number, len(value)), value...)
}

// Field is one field of a message as it stands there.
type Field struct {
	Number int32
	Type   Type
	// Bytes of a field that is bytes, within the message; nil for others.
	Bytes []byte
}

// Next reads the field that a message begins with, and gives what follows it. The bounds of a group are fields without a value. It
// is not ok where a decoder would fail; the field's type is known then if the tag could be read.
func Next(b []byte) (f Field, rest []byte, ok bool) {
	tag, n := Uvarint(b)
	if n == 0 {
		return f, nil, false
	}
	b = b[n:]
	f.Number, f.Type = int32(tag>>3), Type(tag&7)
	switch f.Type {
	case Bytes:
		f.Bytes, rest, ok = Sized(b)
		return f, rest, ok
	case Varint:
		_, n = Uvarint(b)
		return f, b[n:], n > 0
	case Fixed64:
		n = 8
	case Fixed32:
		n = 4
	case Group, GroupEnd:
		return f, b, true
	default:
		return f, nil, false
	}
	return f, b[min(n, len(b)):], len(b) >= n
}

// Sized reads bytes that follow their length.
func Sized(b []byte) (value, rest []byte, ok bool) {
	size, n := Uvarint(b)
	if n == 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return b[n:end], b[end:], true
}

// Fields yields the fields of a message that are bytes and skips all others. It ends early at what is malformed and at groups:
// the decoder proper reports those.
func Fields(b []byte) iter.Seq2[int32, []byte] {
	return func(yield func(int32, []byte) bool) {
		for len(b) > 0 {
			var f Field
			if len(b) > 1 && b[0] < 0x80 && Type(b[0]&7) == Bytes && b[1] < 0x80 && int(b[1]) <= len(b)-2 {
				end := 2 + int(b[1]) // short, as nearly all: no function is called
				f, b = Field{int32(b[0] >> 3), Bytes, b[2:end]}, b[end:]
			} else {
				var ok bool
				if f, b, ok = Next(b); !ok || f.Type == Group || f.Type == GroupEnd {
					return
				}
			}
			if f.Type == Bytes && !yield(f.Number, f.Bytes) {
				return
			}
		}
	}
}

// At is the last value of a field of bytes at a path of numbers; nil if there is none.
func At(b []byte, path ...int32) []byte {
	for _, number := range path {
		var found []byte
		for n, v := range Fields(b) {
			if n == number {
				found = v
			}
		}
		b = found
	}
	return b
}
