package codec

import (
	"encoding/json"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

func tableHead(version string) []byte {
	return headsFor(schema.GroupVersionKind{Group: "meta.k8s.io", Version: version, Kind: "Table"}).json
}

// definitions are the encoded column definitions.
func (k *Kind) definitions() []byte {
	if d := k.columns.Load(); d != nil {
		return *d
	}
	columns := make([]metav1.TableColumnDefinition, len(k.columnCells))
	for i, c := range k.columnCells {
		columns[i] = c.TableColumnDefinition
	}
	d, _ := json.Marshal(columns) // strings and numbers always have an encoding
	k.columns.Store(&d)
	return d
}

// appendTableHead appends a table up to the bracket that opens its rows.
func (k *Kind) appendTableHead(dst []byte, version string, meta *metav1.ListMeta, headers bool) ([]byte, error) {
	dst = append(dst, tableHead(version)...)
	dst = append(dst, `,"metadata":`...)
	dst, err := objectjson.Append(dst, meta)
	if err != nil {
		return nil, err
	}
	dst = append(dst, `,"columnDefinitions":`...)
	if headers {
		dst = append(dst, k.definitions()...)
	} else {
		dst = append(dst, `null`...)
	}
	return append(dst, `,"rows":[`...), nil
}

// appendOneRow appends a table of a single object.
func (k *Kind) appendOneRow(dst []byte, version string, item Item, include metav1.IncludeObjectPolicy, headers bool) ([]byte, error) {
	dst, err := k.appendTableHead(dst, version, &metav1.ListMeta{ResourceVersion: item.Object().GetResourceVersion()}, headers)
	if err != nil {
		return nil, err
	}
	if dst, err = k.appendRow(dst, version, item, include, time.Now()); err != nil {
		return nil, err
	}
	return append(dst, `]}`...), nil
}

func (k *Kind) appendRow(dst []byte, version string, item Item, include metav1.IncludeObjectPolicy, now time.Time) ([]byte, error) {
	o := item.Object()
	dst = append(dst, `{"cells":[`...)
	for i, c := range k.columnCells {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendCell(dst, c.Cell(o, now)); err != nil {
			return nil, err
		}
	}
	dst = append(dst, ']')
	var err error
	if conditions := k.rowConditions(o); len(conditions) > 0 {
		encoded, err := json.Marshal(conditions)
		if err != nil {
			return nil, err
		}
		dst = append(dst, `,"conditions":`...)
		dst = append(dst, encoded...)
	}
	dst = append(dst, `,"object":`...)
	switch include {
	case metav1.IncludeNone:
		dst = append(dst, `null`...)
	case metav1.IncludeObject:
		dst, err = k.appendForm(dst, Media{}, item, include, false)
	default:
		dst, err = appendPartial(dst, version, o)
	}
	return append(dst, '}'), err
}

func appendCell(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return objectjson.AppendString(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case nil:
		return append(dst, `null`...), nil
	}
	cell, err := json.Marshal(v)
	return append(dst, cell...), err
}
