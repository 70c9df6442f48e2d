package objectjson

import (
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// special encodes the types that stand in nearly every object and that encode themselves.
func special(t *shape.Type) encode {
	switch t.Class {
	case shape.Time:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return appendTime(b, (*metav1.Time)(p)), nil }
	case shape.Quantity:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			j, err := (*resource.Quantity)(p).MarshalJSON()
			return append(b, j...), err
		}
	case shape.IntOrString:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return appendIntOrString(b, (*intstr.IntOrString)(p))
		}
	case shape.FieldSet:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return appendFields(b, (*metav1.FieldsV1)(p)) }
	}
	return nil
}

// appendTime is time.RFC3339 in UTC, written digit by digit.
func appendTime(b []byte, t *metav1.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	u := t.UTC()
	year, month, day := u.Date()
	if year < 0 || year > 9999 {
		return append(u.AppendFormat(append(b, '"'), "2006-01-02T15:04:05Z07:00"), '"')
	}
	hour, minute, second := u.Clock()
	b = append(b, '"', byte('0'+year/1000), byte('0'+year/100%10))
	b = append(appendTwo(b, year%100), '-')
	b = append(appendTwo(b, int(month)), '-')
	b = append(appendTwo(b, day), 'T')
	b = append(appendTwo(b, hour), ':')
	b = append(appendTwo(b, minute), ':')
	return append(appendTwo(b, second), 'Z', '"')
}

func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

func appendIntOrString(b []byte, v *intstr.IntOrString) ([]byte, error) {
	switch v.Type {
	case intstr.Int:
		return strconv.AppendInt(b, int64(v.IntVal), 10), nil
	case intstr.String:
		return AppendString(b, v.StrVal), nil
	}
	return appendForeign(b, v)
}

// appendFields copies managed fields, which are JSON already. They are objects of objects, nearly always without
// blanks and escapes; anything else is left to encoding/json, which also finds what is no JSON.
func appendFields(b []byte, f *metav1.FieldsV1) ([]byte, error) {
	raw := f.GetRawBytes()
	if !PlainFields(raw) {
		return appendForeign(b, f)
	}
	return append(b, raw...), nil
}

// PlainFields tells whether raw is an object of nothing but such objects, without blanks, and with no character in its
// keys that JSON would write in another way.
func PlainFields(raw []byte) bool {
	depth := 0
	for n := 0; n < len(raw); {
		// A value begins here: an object, empty or not.
		if raw[n] != '{' {
			return false
		}
		depth++
		n++
		if n < len(raw) && raw[n] == '}' {
			// Close it and all that end with it, then expect the next key or the end.
			for n < len(raw) && raw[n] == '}' {
				if depth--; depth < 0 {
					return false
				}
				n++
			}
			if depth == 0 {
				return n == len(raw)
			}
			if n >= len(raw) || raw[n] != ',' {
				return false
			}
			n++
		}
		if n = plainKey(raw, n); n < 0 {
			return false
		}
	}
	return false
}

// plainKey gives the position after a key and its colon, -1 if there is none.
func plainKey(raw []byte, n int) int {
	if n >= len(raw) || raw[n] != '"' {
		return -1
	}
	for n++; n < len(raw); n++ {
		switch c := raw[n]; {
		case plain[c]:
		case c == '"':
			if n+1 < len(raw) && raw[n+1] == ':' {
				return n + 2
			}
			return -1
		case c == '\\':
			// Only the quotes within keys of lists: k:{\"name\":\"x\"}.
			if n++; n >= len(raw) || raw[n] != '"' && raw[n] != '\\' {
				return -1
			}
		default:
			return -1
		}
	}
	return -1
}

// plain are the characters that stand for themselves in a string.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return t
}()

// Plain tells whether a text is the same between quotes: no character of it is written in another way.
func Plain[T string | []byte](s T) bool {
	for n := range len(s) {
		if !plain[s[n]] {
			return false
		}
	}
	return true
}

// AppendString appends a string in quotes.
func AppendString(b []byte, s string) []byte {
	if !Plain(s) {
		return appendEscaped(b, s)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendEscaped appends a string in quotes with the escapes that encoding/json uses: it keeps text from being taken for HTML or for a
// line of JavaScript, and replaces what is no UTF-8.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for n := 0; n < len(s); {
		c := s[n]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[n:])
			switch {
			case r == utf8.RuneError && size == 1:
				b = append(b, `\ufffd`...)
			case r == '\u2028' || r == '\u2029':
				b = append(b, '\\', 'u', '2', '0', '2', hex[r&0xf])
			default:
				b = append(b, s[n:n+size]...)
			}
			n += size
			continue
		}
		n++
		if plain[c] {
			b = append(b, c)
			continue
		}
		switch at := strings.IndexByte("\b\f\n\r\t", c); {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case at >= 0:
			b = append(b, '\\', "bfnrt"[at])
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
	}
	return append(b, '"')
}
