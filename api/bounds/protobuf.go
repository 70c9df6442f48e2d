package bounds

import (
	"reflect"

	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// Protobuf scans a message that is about to be decoded into a value of the type of into.
func Protobuf(data []byte, into any) error {
	if len(data) <= smallMessage && plain(data) {
		return nil
	}
	var u use
	u.message(data, planOf(reflect.TypeOf(into)))
	return u.err
}

// message scans one message; false ends the scan.
func (u *use) message(b []byte, p *plan) bool {
	if !u.enter() {
		return false
	}
	defer u.leave()
	var counts [maxNumber + 1]int // of elements, by field
	for group := 0; len(b) > 0; {
		part, rest, ok := wire.Next(b)
		if !ok {
			return false
		}
		b = rest
		switch part.Type {
		case wire.Group:
			group++
		case wire.GroupEnd:
			if group--; group < 0 {
				return false
			}
		}
		f := p.numbered(part.Number)
		if f == nil || group > 0 || part.Type == wire.GroupEnd {
			if !u.value(0) {
				return false
			}
			continue
		}
		if f.class == list && !f.wrapped || f.class == dictionary {
			counts[part.Number] += f.elements(part)
			if !u.items(counts[part.Number], f.element) {
				return false
			}
		}
		if !u.part(f, part) {
			return false
		}
	}
	return true
}

// elements is how many elements of its list or map a part of a message is: numbers may be packed.
func (f *fieldPlan) elements(part wire.Field) int {
	if f.class != list || !f.element.number || part.Type != wire.Bytes {
		return 1
	}
	n := 0
	for _, c := range part.Bytes {
		if c < 0x80 {
			n++
		}
	}
	return n
}

// part scans what a known field has.
func (u *use) part(f *fieldPlan, part wire.Field) bool {
	switch {
	case f.class == list && !f.wrapped:
		n := f.elements(part)
		if f.element.number {
			u.values += n
			return u.value(2 * n * f.element.memory)
		}
		return u.content(f.element, part.Bytes, 2*f.element.memory)
	case f.class == dictionary:
		return u.entry(f.element, part.Bytes)
	}
	return u.content(f.plan, part.Bytes, f.extra)
}

// entry scans an entry of a map: a message of key and value, whose wire types decoders take for granted.
func (u *use) entry(element *plan, b []byte) bool {
	if !u.value(entryMemory + 2*element.memory) {
		return false
	}
	for len(b) > 0 {
		tag, n := wire.Uvarint(b)
		if n == 0 {
			return false
		}
		var value, rest []byte
		var ok bool
		number := int32(tag >> 3)
		if number == 1 || number == 2 && !element.number {
			value, rest, ok = wire.Sized(b[n:])
		} else {
			_, rest, ok = wire.Next(b)
		}
		if !ok || !u.value(0) || number == 2 && !u.content(element, value, 0) {
			return false
		}
		b = rest
	}
	return true
}

// content scans the bytes of a value.
func (u *use) content(p *plan, value []byte, memory int) bool {
	if !u.value(memory) {
		return false
	}
	switch p.class {
	case record:
		return u.message(value, p)
	case list: // a message with one field
		n := 0
		return u.inner(value, func(item []byte) {
			if n++; u.items(n, p.element) {
				u.content(p.element, item, 2*p.element.memory)
			}
		})
	case quantity:
		return u.inner(value, u.quantity)
	case raw:
		return u.inner(value, func(document []byte) {
			s := scan{use: *u, data: document}
			s.any(p, 0)
			s.use.depth = u.depth
			*u = s.use
		})
	}
	return true
}

// inner calls f with what the first field of a message holds, as often as it stands there.
func (u *use) inner(b []byte, f func([]byte)) bool {
	for len(b) > 0 {
		part, rest, ok := wire.Next(b)
		if !ok || !u.value(0) {
			return false
		}
		if b = rest; part.Number == 1 && part.Type == wire.Bytes {
			f(part.Bytes)
		}
		if u.err != nil {
			return false
		}
	}
	return true
}
