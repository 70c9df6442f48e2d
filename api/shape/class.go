package shape

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// scalars are the API's own.
var scalars = map[reflect.Type]Class{
	reflect.TypeFor[metav1.Time]():          Time,
	reflect.TypeFor[metav1.MicroTime]():     MicroTime,
	reflect.TypeFor[metav1.Duration]():      Duration,
	reflect.TypeFor[resource.Quantity]():    Quantity,
	reflect.TypeFor[intstr.IntOrString]():   IntOrString,
	reflect.TypeFor[runtime.RawExtension](): Raw,
	reflect.TypeFor[metav1.FieldsV1]():      FieldSet,
}

func classOf(t reflect.Type) Class {
	if own, ok := scalars[t]; ok {
		return own
	}
	switch t.Kind() {
	case reflect.Bool:
		return Bool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return Int
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return Uint
	case reflect.Float32, reflect.Float64:
		return Float
	case reflect.String:
		return String
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return Bytes
		}
		return List
	case reflect.Map:
		return Map
	case reflect.Pointer:
		return Pointer
	case reflect.Struct:
		return Struct
	}
	return Other
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	message       = reflect.TypeFor[interface{ Unmarshal([]byte) error }]()
)

// has tells whether a type or a pointer to it has the methods.
func has(t, methods reflect.Type) bool {
	return t.Implements(methods) || t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(methods)
}

// numberOf reads a protobuf tag: `bytes,1,opt,name=metadata`.
func numberOf(tag string) (number int, encoding string) {
	parts := strings.SplitN(tag, ",", 3)
	if len(parts) < 2 {
		return 0, ""
	}
	number, err := strconv.Atoi(parts[1])
	if err != nil || number <= 0 {
		return 0, ""
	}
	return number, parts[0]
}
