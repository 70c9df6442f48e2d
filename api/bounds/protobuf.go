package bounds

import "reflect"

// Protobuf scans a message that is about to be decoded into a value of the type of into.
func Protobuf(data []byte, into any) error {
	if len(data) <= smallMessage && plain(data) {
		return nil
	}
	var u use
	u.message(data, shapeOf(reflect.TypeOf(into)))
	return u.err
}

// The wire types.
const (
	wireVarint = iota
	wireFixed64
	wireBytes
	wireGroup
	wireGroupEnd
	wireFixed32
)

// part is one field of a message as it stands there.
type part struct {
	number, wire int
	// bytes of a field that is bytes.
	bytes []byte
}

// next reads one field as the generated decoders do: numbers are cut to 32 bits, and what overflows a varint is lost. It
// is not ok where they would fail.
func next(b []byte) (p part, rest []byte, ok bool) {
	tag, b, ok := varint(b)
	if !ok {
		return p, nil, false
	}
	p.number, p.wire = int(int32(tag>>3)), int(tag&7)
	switch p.wire {
	case wireVarint:
		_, b, ok = varint(b)
		return p, b, ok
	case wireFixed64:
		return p, after(b, 8), len(b) >= 8
	case wireFixed32:
		return p, after(b, 4), len(b) >= 4
	case wireBytes:
		return p.sized(b)
	}
	return p, b, p.wire == wireGroup || p.wire == wireGroupEnd
}

func (p part) sized(b []byte) (part, []byte, bool) {
	size, b, ok := varint(b)
	if !ok || size > uint64(len(b)) {
		return p, nil, false
	}
	p.bytes = b[:size]
	return p, b[size:], true
}

func after(b []byte, n int) []byte { return b[min(n, len(b)):] }

func varint(b []byte) (v uint64, rest []byte, ok bool) {
	for i, c := range b {
		if i == 10 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}

// message scans one message; false ends the scan.
func (u *use) message(b []byte, sh *shape) bool {
	if !u.enter() {
		return false
	}
	defer u.leave()
	var counts [maxNumber + 1]int // of elements, by field
	count := func(number, n int, element *shape) bool {
		counts[number] += n
		return u.items(counts[number], element)
	}
	for group := 0; len(b) > 0; {
		p, rest, ok := next(b)
		if !ok {
			return false
		}
		b = rest
		f := sh.numbered(p.number)
		switch {
		case p.wire == wireGroup:
			group++
		case p.wire == wireGroupEnd:
			if group--; group < 0 {
				return false
			}
		}
		if f == nil || group > 0 || p.wire == wireGroupEnd {
			if !u.value(0) {
				return false
			}
			continue
		}
		if f.form == list && !f.wrapped || f.form == dictionary {
			if !count(p.number, f.elements(p), f.element) {
				return false
			}
		}
		if !u.part(f, p) {
			return false
		}
	}
	return true
}

// elements is how many elements of its list or map a part is: numbers may be packed.
func (f *fieldShape) elements(p part) int {
	if f.form != list || !f.element.number || p.wire != wireBytes {
		return 1
	}
	n := 0
	for _, c := range p.bytes {
		if c < 0x80 {
			n++
		}
	}
	return n
}

// part scans what a known field has.
func (u *use) part(f *fieldShape, p part) bool {
	switch {
	case f.form == list && !f.wrapped:
		n := f.elements(p)
		if f.element.number {
			u.values += n
			return u.value(2 * n * f.element.memory)
		}
		return u.content(f.element, p.bytes, 2*f.element.memory)
	case f.form == dictionary:
		return u.entry(f.element, p.bytes)
	}
	return u.content(f.shape, p.bytes, f.extra)
}

// entry scans an entry of a map: a message of key and value, whose wire types decoders take for granted.
func (u *use) entry(element *shape, b []byte) bool {
	if !u.value(entryMemory + 2*element.memory) {
		return false
	}
	for len(b) > 0 {
		tag, rest, ok := varint(b)
		if !ok {
			return false
		}
		var p part
		switch p.number = int(int32(tag >> 3)); {
		case p.number == 1, p.number == 2 && !element.number:
			p, b, ok = p.sized(rest)
		default:
			p, b, ok = next(b)
		}
		if !ok || !u.value(0) || p.number == 2 && !u.content(element, p.bytes, 0) {
			return false
		}
	}
	return true
}

// content scans the bytes of a value.
func (u *use) content(sh *shape, value []byte, memory int) bool {
	if !u.value(memory) {
		return false
	}
	switch sh.form {
	case record:
		return u.message(value, sh)
	case list: // a message with one field
		n := 0
		return u.inner(value, func(item []byte) {
			if n++; u.items(n, sh.element) {
				u.content(sh.element, item, 2*sh.element.memory)
			}
		})
	case quantity:
		return u.inner(value, u.quantity)
	case raw:
		return u.inner(value, func(document []byte) {
			s := scan{use: *u, data: document}
			s.any(sh, 0)
			s.use.depth = u.depth
			*u = s.use
		})
	}
	return true
}

// inner calls f with what the first field of a message holds, as often as it stands there.
func (u *use) inner(b []byte, f func([]byte)) bool {
	for len(b) > 0 {
		p, rest, ok := next(b)
		if !ok || !u.value(0) {
			return false
		}
		if b = rest; p.number == 1 && p.wire == wireBytes {
			f(p.bytes)
		}
		if u.err != nil {
			return false
		}
	}
	return true
}
