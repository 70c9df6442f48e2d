package objectjson

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

var (
	customType = reflect.TypeFor[custom.Object]()
	treeType   = reflect.TypeFor[map[string]any]()
)

// custom encodes an object with members of its own: kind and version first, if it says them, then its metadata, then its members by
// their names.
func (pl *planner) custom() encode {
	metadata := pl.plan(shape.Of(reflect.TypeFor[metav1.ObjectMeta]()))
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		o := (*custom.Object)(p)
		b = append(b, '{')
		if o.Kind != "" {
			b = append(AppendString(append(b, `"kind":`...), o.Kind), ',')
		}
		if o.APIVersion != "" {
			b = append(AppendString(append(b, `"apiVersion":`...), o.APIVersion), ',')
		}
		b, err := metadata(append(b, `"metadata":`...), unsafe.Pointer(&o.ObjectMeta))
		if err != nil {
			return b, err
		}
		for _, name := range names(o.Members) {
			if custom.Owns(name) {
				continue
			}
			b = append(AppendString(append(b, ','), name), ':')
			if b, err = AppendTree(b, o.Members[name]); err != nil {
				return b, fmt.Errorf("%s: %w", name, err)
			}
		}
		return append(b, '}'), nil
	}
}

// AppendTree appends the JSON of a value of a tree.
func AppendTree(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case string:
		return AppendString(b, v), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case float64:
		return appendFloat(b, v)
	case map[string]any:
		return appendMembers(b, v)
	case []any:
		return appendElements(b, v)
	}
	return appendForeign(b, v)
}

func appendMembers(b []byte, m map[string]any) ([]byte, error) {
	if m == nil {
		return append(b, "null"...), nil
	}
	b = append(b, '{')
	var err error
	for n, name := range names(m) {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(AppendString(b, name), ':')
		if b, err = AppendTree(b, m[name]); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func appendElements(b []byte, list []any) ([]byte, error) {
	if list == nil {
		return append(b, "null"...), nil
	}
	b = append(b, '[')
	var err error
	for n, v := range list {
		if n > 0 {
			b = append(b, ',')
		}
		if b, err = AppendTree(b, v); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// appendFloat writes a number as encoding/json does: in digits, unless those would be very many.
func appendFloat(b []byte, f float64) ([]byte, error) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return appendForeign(b, f) // whose error says it
	}
	if abs := math.Abs(f); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64), nil
	}
	return appendForeign(b, f)
}

func names(m map[string]any) []string {
	all := make([]string, 0, len(m))
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Decode makes into what a document says. With check, it tells which members are unknown or given twice; such a member does not keep the
// rest from being decoded.
func Decode(data []byte, into runtime.Object, check bool) (complaints []error, err error) {
	if o, ok := into.(*custom.Object); ok {
		return o.Decode(data, check)
	}
	if check {
		return kjson.UnmarshalStrict(data, into)
	}
	return nil, kjson.UnmarshalCaseSensitivePreserveInts(data, into)
}
