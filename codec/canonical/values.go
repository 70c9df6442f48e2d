package canonical

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

// special are the types that encode themselves, and the maps that stand in nearly every object.
func special(t *shape.Type) (step, bool) {
	switch t.Class {
	case shape.Time:
		return func(w *walk, p unsafe.Pointer) { exactTime(w, &(*metav1.Time)(p).Time, time.Second) }, true
	case shape.MicroTime:
		return func(w *walk, p unsafe.Pointer) { exactTime(w, &(*metav1.MicroTime)(p).Time, time.Microsecond) }, true
	case shape.Duration:
		return nil, true
	case shape.Quantity:
		return func(w *walk, p unsafe.Pointer) { exactQuantity(w, (*resource.Quantity)(p)) }, true
	case shape.IntOrString:
		return func(w *walk, p unsafe.Pointer) { exactIntOrString(w, (*intstr.IntOrString)(p)) }, true
	case shape.Raw:
		return func(w *walk, p unsafe.Pointer) { exactRaw(w, (*runtime.RawExtension)(p)) }, true
	}
	switch t.Go {
	case reflect.TypeFor[metav1.TypeMeta]():
		return nil, true // it is for whoever encodes to fill in
	case reflect.TypeFor[map[string]string]():
		return func(w *walk, p unsafe.Pointer) { exactStrings(w, (*map[string]string)(p)) }, true
	case reflect.TypeFor[map[string]any]():
		return exactMembers, true
	case reflect.TypeFor[corev1.ResourceList]():
		return func(w *walk, p unsafe.Pointer) { exactResources(w, (*corev1.ResourceList)(p)) }, true
	}
	return nil, false
}

// specialPointer are the types of which JSON knows no zero value: null is no pointer. What a pointer points to may be shared,
// so one that must change gets a new value.
func specialPointer(t *shape.Type) (step, bool) {
	switch t.Class {
	case shape.Time:
		return func(w *walk, p unsafe.Pointer) {
			at := (**metav1.Time)(p)
			if v := **at; v.IsZero() {
				*at, w.changed = nil, true
			} else if exactTime(w, &v.Time, time.Second) {
				*at = &v
			}
		}, true
	case shape.MicroTime:
		return func(w *walk, p unsafe.Pointer) {
			at := (**metav1.MicroTime)(p)
			if v := **at; v.IsZero() {
				*at, w.changed = nil, true
			} else if exactTime(w, &v.Time, time.Microsecond) {
				*at = &v
			}
		}, true
	case shape.FieldSet:
		return func(w *walk, p unsafe.Pointer) { exactFields(w, (**metav1.FieldsV1)(p)) }, true
	}
	return nil, false
}

const replacement = string(utf8.RuneError)

func text(w *walk, p unsafe.Pointer) {
	s := (*string)(p)
	if w.again || utf8.ValidString(*s) {
		return
	}
	if !w.replace {
		w.fail("the text is no UTF-8")
		return
	}
	*s, w.changed = strings.ToValidUTF8(*s, replacement), true
}

func number(t *shape.Type) step {
	goType := t.Go
	return func(w *walk, p unsafe.Pointer) {
		if f := reflect.NewAt(goType, p).Elem().Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			w.fail("%v is no number that JSON knows", f)
		}
	}
}

// omittedBytes are bytes that JSON leaves out when there are none.
func omittedBytes(w *walk, p unsafe.Pointer) {
	if b := (*[]byte)(p); *b != nil && len(*b) == 0 {
		*b, w.changed = nil, true
	}
}

// The times that can be written: the years 0 to 9999.
const firstSecond, lastSecond = -62167219200, 253402300799

// exactTime cuts a time to whole units and puts it into the local zone, as decoding does.
func exactTime(w *walk, t *time.Time, unit time.Duration) (changed bool) {
	var exact time.Time
	if !t.IsZero() {
		seconds := t.Unix()
		if seconds < firstSecond || seconds > lastSecond {
			w.fail("the year %d is none of 0 to 9999", t.Year())
			return false
		}
		var part int64
		if unit < time.Second {
			part = int64(time.Duration(t.Nanosecond()).Truncate(unit))
		}
		exact = time.Unix(seconds, part)
	}
	if *t == exact { // with zone and clock: Equal would not see them
		return false
	}
	*t, w.changed = exact, true
	return true
}

// quantity is how a resource.Quantity stands in memory.
type quantity struct {
	value  int64
	scale  int32
	dec    unsafe.Pointer
	text   string
	format resource.Format
}

// plainBinary bounds the binary quantities that need not be parsed to be known as canonical.
const plainBinary, plainDecimal = int64(1e12), int64(1e15)

// canonical tells that a quantity is certainly what parsing its text would give.
func (q *quantity) canonical() bool {
	switch {
	case q.dec != nil:
		return false
	case q.format == resource.DecimalSI && q.value == 0:
		return q.scale == 0
	case q.format == resource.DecimalSI:
		return q.value%1000 != 0 && q.scale%3 == 0 && q.scale >= int32(resource.Nano) && q.scale <= int32(resource.Exa) &&
			q.value < plainDecimal && q.value > -plainDecimal
	case q.format == resource.BinarySI:
		return q.scale == 0 && q.value >= 1024 && q.value%1024 == 0 && q.value < plainBinary
	}
	return false
}

// exactQuantity makes a quantity what parsing its text gives.
func exactQuantity(w *walk, q *resource.Quantity) {
	if (*quantity)(unsafe.Pointer(q)).canonical() {
		return
	}
	copied := *q // String keeps its result in the quantity, which may be shared
	parsed, err := resource.ParseQuantity(copied.String())
	if err != nil {
		w.fail("%v", err)
		return
	}
	same := parsed
	(*quantity)(unsafe.Pointer(&copied)).text, (*quantity)(unsafe.Pointer(&same)).text = "", ""
	if !reflect.DeepEqual(copied, same) {
		*q, w.changed = parsed, true
	}
}

// exactIntOrString clears the half that does not count.
func exactIntOrString(w *walk, v *intstr.IntOrString) {
	switch v.Type {
	case intstr.Int:
		if v.StrVal != "" {
			v.StrVal, w.changed = "", true
		}
	case intstr.String:
		if v.IntVal != 0 {
			v.IntVal, w.changed = 0, true
		}
		text(w, unsafe.Pointer(&v.StrVal))
	default:
		w.fail("it is neither a number nor a text (type %d)", v.Type)
	}
}

// exactRaw writes down an object that stands beside its encoding; null is nothing.
func exactRaw(w *walk, r *runtime.RawExtension) {
	if r.Object != nil {
		if r.Raw == nil {
			b, err := json.Marshal(r.Object)
			if err != nil {
				w.fail("%v", err)
				return
			}
			r.Raw = b
		}
		r.Object, w.changed = nil, true
	}
	switch {
	case r.Raw == nil:
	case len(r.Raw) == 0 || string(r.Raw) == "null":
		r.Raw, w.changed = nil, true
	case w.again:
	case !json.Valid(r.Raw) || !utf8.Valid(r.Raw):
		w.fail("it is no JSON")
	}
}

func exactFields(w *walk, at **metav1.FieldsV1) {
	raw := (*at).GetRawBytes()
	switch {
	case len(raw) == 0 || string(raw) == "null":
		*at, w.changed = nil, true
	case w.again:
	case !objectjson.PlainFields(raw) && (!json.Valid(raw) || !utf8.Valid(raw)):
		w.fail("it is no JSON")
	}
}

func exactStrings(w *walk, at *map[string]string) {
	m := *at
	if len(m) == 0 {
		*at, w.changed = nil, true
		return
	}
	if w.again {
		return
	}
	for k, v := range m {
		if utf8.ValidString(k) && utf8.ValidString(v) {
			continue
		}
		if !w.replace {
			w.fail("the key %q or its value is no UTF-8", strings.ToValidUTF8(k, replacement))
			return
		}
		delete(m, k)
		m[strings.ToValidUTF8(k, replacement)] = strings.ToValidUTF8(v, replacement)
		w.changed = true
	}
}

func exactResources(w *walk, at *corev1.ResourceList) {
	m := *at
	if len(m) == 0 {
		*at, w.changed = nil, true
		return
	}
	for k, q := range m {
		var inner walk
		exactQuantity(&inner, &q)
		if !w.again && !utf8.ValidString(string(k)) {
			inner.fail("the key is no UTF-8")
		}
		if inner.problem != "" {
			w.problem = string(k) + ": " + inner.problem
			return
		}
		if inner.changed {
			m[k] = q
			w.changed = true
		}
	}
}
