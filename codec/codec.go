package codec

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// Format is a way to write objects.
type Format uint8

// The formats.
const (
	JSON Format = iota
	YAML
	Protobuf
)

// ContentType of an answer in the format.
func (f Format) ContentType() string { return contentTypes[f] }

// StreamContentType of a watch in the format.
func (f Format) StreamContentType() string {
	if f == Protobuf {
		return contentTypes[f] + ";stream=watch"
	}
	return contentTypes[f]
}

var contentTypes = [...]string{
	JSON:     "application/json",
	YAML:     "application/yaml",
	Protobuf: "application/vnd.kubernetes.protobuf",
}

// Supported are the media types of request bodies and of answers.
var Supported = contentTypes[:]

// SupportedBy are those of a kind's objects: trees have no protobuf.
func SupportedBy(k *kind.Kind) []string {
	if k.Form == kind.Tree {
		return contentTypes[:Protobuf]
	}
	return Supported
}

// Item is an object that brings its encodings along. Its bytes are shared and are only read.
type Item interface {
	Object() kind.Object
	// AppendProto appends the object's protobuf without envelope; ProtoSize is its length.
	AppendProto([]byte) []byte
	ProtoSize() int
	// AppendJSON appends the object's JSON without kind and apiVersion.
	AppendJSON([]byte) ([]byte, error)
}

// Kind holds what an encoded object of one kind begins with.
type Kind struct {
	Info *kind.Kind
	one  heads
	list heads
	// columns is the encoded column definitions of tables, made on first need.
	columns     atomic.Pointer[[]byte]
	columnCells []kind.AnyColumn
}

// rowConditions say what is special about an object's row in a table.
func (k *Kind) rowConditions(o kind.Object) []metav1.TableRowCondition {
	if f := k.Info.RowConditions; f != nil {
		return f(o)
	}
	return nil
}

// heads say a kind and a version in each format.
type heads struct {
	// json is `{"kind":"Pod","apiVersion":"v1"`.
	json  []byte
	proto wire.Envelope
}

// NewKind prepares the encoding of a kind.
func NewKind(info *kind.Kind) *Kind {
	k := &Kind{Info: info, one: headsOf(info.GVK), list: headsOf(info.GVK.GroupVersion().WithKind(info.ListKind)), columnCells: info.Columns}
	if len(k.columnCells) == 0 {
		k.columnCells = defaultColumns()
	}
	return k
}

// headCache spares objects of unusual kinds (Status, Scale, reviews) the making of their heads.
var headCache sync.Map

func headsFor(gvk schema.GroupVersionKind) *heads {
	if h, ok := headCache.Load(gvk); ok {
		return h.(*heads)
	}
	h := headsOf(gvk)
	headCache.Store(gvk, &h)
	return &h
}

func headsOf(gvk schema.GroupVersionKind) heads {
	version, name := gvk.GroupVersion().String(), gvk.Kind
	var h heads
	h.json = append(h.json, `{"kind":`...)
	h.json = objectjson.AppendString(h.json, name)
	h.json = append(h.json, `,"apiVersion":`...)
	h.json = objectjson.AppendString(h.json, version)
	h.proto = wire.NewEnvelope(version, name)
	return h
}

// metaOf is the metadata of a generated type.
func metaOf(o kind.Object) *metav1.ObjectMeta {
	if a, ok := o.(metav1.ObjectMetaAccessor); ok {
		if m, ok := a.GetObjectMeta().(*metav1.ObjectMeta); ok {
			return m
		}
	}
	return &metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
		Generation: o.GetGeneration(), CreationTimestamp: o.GetCreationTimestamp(), DeletionTimestamp: o.GetDeletionTimestamp(),
		DeletionGracePeriodSeconds: o.GetDeletionGracePeriodSeconds(), Labels: o.GetLabels(), Annotations: o.GetAnnotations(),
		OwnerReferences: o.GetOwnerReferences(), Finalizers: o.GetFinalizers(), ManagedFields: o.GetManagedFields()}
}

// defaultColumns are those of a kind that names none.
func defaultColumns() []kind.AnyColumn {
	docs := metav1.ObjectMeta{}.SwaggerDoc()
	return []kind.AnyColumn{
		{TableColumnDefinition: metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: docs["name"]},
			Cell: func(o kind.Object, _ time.Time) any { return o.GetName() }},
		{TableColumnDefinition: metav1.TableColumnDefinition{Name: "Created At", Type: "date", Description: docs["creationTimestamp"]},
			Cell: func(o kind.Object, _ time.Time) any {
				return strings.TrimSpace(o.GetCreationTimestamp().UTC().Format(time.RFC3339))
			}},
	}
}
