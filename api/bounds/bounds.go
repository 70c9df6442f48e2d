// Package bounds says how much one object may hold, and finds out what a body holds before it is decoded.
//
// The size of a body alone bounds nothing: two bytes of protobuf or three of JSON make an element of a list that takes
// a kilobyte when it is decoded, and everything that judges the object afterwards does so once for each element.
// The bounds are far above what real objects hold; they are reached by bodies that were made to be dear.
//
// A scan is linear in the body and allocates nothing. It understands whatever a decoder would, and leaves what is
// malformed to the decoder, which says what is wrong with it.
package bounds

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// MaxValues in one object: members of objects, elements of lists and scalars, at any depth.
	MaxValues = 60_000
	// MaxItems of one list or map, and MaxObjects of a list whose elements are objects: each of those is judged by many
	// rules, and found again by its keys.
	MaxItems   = 10_000
	MaxObjects = 5_000
	// maxRaw values of what is kept as JSON.
	maxRaw = 2 * MaxValues
	// MaxDepth to which values are nested.
	MaxDepth = 1_000
	// maxSteps that the ways from an object to its values add up to: whoever tracks fields takes them one by one.
	maxSteps = 4_000_000
	// MaxMemory that an object may take once it is decoded, beyond the bytes of its strings.
	MaxMemory = 16 << 20
	// maxQuantity is the length of a quantity as text, and maxExponent the greatest exponent in one: the largest quantity
	// has 19 digits, and whatever is greater is brought down to it.
	maxQuantity, maxExponent = 64, 99
)

// smallMessage and smallDocument are the sizes up to which a body cannot reach the bounds above but that of quantities and, as
// JSON, that of depth: a value takes two bytes at least, and none takes more than two kilobytes beyond those of its parts.
const smallMessage, smallDocument = 2 * MaxDepth, 4 << 10

// ofNumber are the characters that a number may have, and that which begins an escape.
var ofNumber = func() (t [256]bool) {
	for _, c := range []byte("0123456789eE.+-\\") {
		t[c] = true
	}
	return t
}()

// plain tells that there is no quantity out of bounds in a body: it has no large exponent and no long number at all, nor characters
// in escapes, which may be parts of one.
func plain(body []byte) bool {
	run, exponent := 0, -1 // the length of the number so far, and of the exponent; -1 outside of one
	for i, c := range body {
		if !ofNumber[c] {
			run, exponent = 0, -1
			continue
		}
		switch {
		case c >= '0' && c <= '9':
			run++
			if exponent >= 0 {
				exponent++
			}
			if exponent > 2 || run > maxQuantity/2 {
				return false
			}
		case c == 'e' || c == 'E':
			run, exponent = 0, 0
		case c == '.':
			run++
			exponent = -1
		case c == '\\':
			if i+1 < len(body) && body[i+1] == 'u' {
				return false
			}
			run, exponent = 0, -1
		case (c == '+' || c == '-') && i > 0 && body[i-1]|0x20 == 'e':
		default:
			run, exponent = 0, -1
		}
	}
	return true
}

// use is what has been seen of an object so far.
type use struct {
	values, memory, depth, steps int
	// raw counts the values of what is kept as JSON: the fields of managers, which grow with the object and its managers.
	raw int
	// unbounded only counts.
	unbounded bool
	err       error
}

// value counts one; false ends the scan.
func (u *use) value(memory int) bool {
	u.values++
	u.steps += u.depth
	u.memory += memory
	switch {
	case u.err != nil || u.unbounded:
	case u.steps > maxSteps:
		u.err = tooDeep()
	case u.values > MaxValues:
		u.err = tooLarge(fmt.Sprintf("the object has more than %d values", MaxValues))
	case u.memory > MaxMemory:
		u.err = tooLarge(fmt.Sprintf("the object takes more than %d MiB once it is decoded", MaxMemory>>20))
	}
	return u.err == nil
}

// rawValue counts one in what is kept as JSON.
func (u *use) rawValue() bool {
	u.raw++
	u.steps += u.depth
	switch {
	case u.err != nil || u.unbounded:
	case u.raw > maxRaw:
		u.err = tooLarge(fmt.Sprintf("the object's managed fields have more than %d values", maxRaw))
	case u.steps > maxSteps:
		u.err = tooDeep()
	}
	return u.err == nil
}

func tooDeep() error { return tooLarge("the object has too many values that are nested too deep") }

// items checks the length of a list or map.
func (u *use) items(n int, element *plan) bool {
	if n <= MaxObjects || u.err != nil || u.unbounded {
		return u.err == nil
	}
	switch {
	case element.class == record:
		u.err = tooLarge(fmt.Sprintf("a list of the object has more than %d objects", MaxObjects))
	case element.isRaw():
		if n > MaxItems+1 { // of each item, and of the whole
			u.err = tooLarge(fmt.Sprintf("a member of the object's managed fields has more than %d items", MaxItems))
		}
	case n > MaxItems:
		u.err = tooLarge(fmt.Sprintf("a list or map of the object has more than %d items", MaxItems))
	}
	return u.err == nil
}

// enter goes one level down.
func (u *use) enter() bool {
	if u.depth++; u.depth <= MaxDepth {
		return u.err == nil
	}
	if u.err == nil {
		u.err = apierrors.NewBadRequest(fmt.Sprintf("the object is nested deeper than %d levels", MaxDepth))
	}
	return false
}

func (u *use) leave() { u.depth-- }

// quantity checks the text of a quantity.
func (u *use) quantity(text []byte) {
	if u.err == nil && !saneQuantity(text) {
		u.err = apierrors.NewBadRequest(fmt.Sprintf("a quantity has more than %d characters or an exponent beyond %d", maxQuantity, maxExponent))
	}
}

func tooLarge(text string) error {
	return apierrors.NewRequestEntityTooLargeError(text + ": split it into several, or write it more briefly")
}

// SaneQuantity tells whether a text is parsed as a quantity at little cost, whether it is one or not. It is for texts that are
// parsed as quantities without being quantities in the API: parts of names.
func SaneQuantity(text string) bool { return len(text) <= maxQuantity && saneQuantity([]byte(text)) }

// saneQuantity tells whether a text, whether a quantity or not, is parsed as one at little cost.
func saneQuantity(text []byte) bool {
	if len(text) > maxQuantity {
		return false
	}
	for i, c := range text {
		if c != 'e' && c != 'E' {
			continue
		}
		digits, exponent := 0, 0
		for _, c := range text[i+1:] {
			switch {
			case c >= '0' && c <= '9':
				exponent = min(exponent*10+int(c-'0'), maxExponent+1)
				digits++
			case digits > 0:
				return exponent <= maxExponent
			}
		}
		return exponent <= maxExponent
	}
	return true
}
