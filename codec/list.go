package codec

import (
	"bytes"
	"io"
	"runtime"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

const (
	// writeSize is how much of a list is gathered before it is written.
	writeSize = 128 << 10
	// chunkItems is how many items of a large list one worker encodes at a time.
	chunkItems = 128
	// parallelFrom is the size of lists that are worth several workers.
	parallelFrom = 512
)

// buffers are the gathered parts of lists. One whose writing failed is not put back: the connection may still be reading it.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, writeSize+32<<10); return &b }}

func putBuffer(b *[]byte, content []byte) {
	if cap(content) <= 1<<20 {
		*b = content[:0]
		buffers.Put(b)
	}
}

// Fields of every list in protobuf.
const (
	fieldListMeta  = 1
	fieldListItems = 2
)

// List is a list ready to be written.
type List[I Item] struct {
	Kind    *Kind
	Meta    metav1.ListMeta
	Items   []I
	Include metav1.IncludeObjectPolicy
}

// Size is the number of bytes that Write will write in this form, or -1 if only writing tells.
func (l *List[I]) Size(m Media) int {
	if m.Format != Protobuf || m.Form != Whole {
		return -1
	}
	return l.Kind.list.proto.Size(l.payloadSize())
}

// payloadSize is the size of the list's protobuf message.
func (l *List[I]) payloadSize() int {
	size := wire.BytesSize(l.Meta.Size())
	for _, item := range l.Items {
		size += wire.BytesSize(item.ProtoSize())
	}
	return size
}

// Write writes the list, item by item, in the form that the client asked for.
func (l *List[I]) Write(w io.Writer, m Media) error {
	switch {
	case m.Form == Partial:
		return ErrNotAcceptable
	case m.Format == Protobuf && m.Form == PartialList:
		return l.writePartialProto(w, m.Version)
	case m.Format == Protobuf:
		return l.writeProto(w)
	case m.Format == YAML || m.Pretty:
		var whole bytes.Buffer
		if err := l.writeJSON(&whole, m); err != nil {
			return err
		}
		text, err := finish(bytes.TrimSuffix(whole.Bytes(), []byte("\n")), 0, m)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	return l.writeJSON(w, m)
}

func (l *List[I]) writeProto(w io.Writer) error {
	p := buffers.Get().(*[]byte)
	b := l.Kind.list.proto.AppendHead((*p)[:0], l.payloadSize())
	meta, err := l.Meta.Marshal()
	if err != nil {
		return err
	}
	b = wire.AppendBytes(b, fieldListMeta, meta)
	for _, item := range l.Items {
		b = item.AppendProto(wire.AppendLength(b, fieldListItems, item.ProtoSize()))
		if len(b) >= writeSize {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	b = wire.AppendTail(b)
	if _, err = w.Write(b); err == nil {
		putBuffer(p, b)
	}
	return err
}

func (l *List[I]) writePartialProto(w io.Writer, version string) error {
	list := metav1.PartialObjectMetadataList{ListMeta: l.Meta}
	for _, item := range l.Items {
		list.Items = append(list.Items, metav1.PartialObjectMetadata{ObjectMeta: *metaOf(item.Object())})
	}
	raw, err := list.Marshal()
	if err != nil {
		return err
	}
	gvk := partialGVK(version)
	gvk.Kind += "List"
	_, err = w.Write(headsFor(gvk).proto.Append(nil, raw))
	return err
}

// writeJSON writes the list, a table or a list of metadata.
func (l *List[I]) writeJSON(w io.Writer, m Media) error {
	p := buffers.Get().(*[]byte)
	b, err := l.appendHead((*p)[:0], m)
	if err != nil {
		return err
	}
	now := time.Now()
	if len(l.Items) >= parallelFrom && runtime.GOMAXPROCS(0) > 1 {
		b, err = l.writeChunks(w, b, m, now)
	} else {
		b, err = l.appendItems(w, b, m, now, l.Items, true)
	}
	if err != nil {
		return err
	}
	b = append(b, "]}\n"...)
	if _, err = w.Write(b); err == nil {
		putBuffer(p, b)
	}
	return err
}

func (l *List[I]) appendHead(b []byte, m Media) ([]byte, error) {
	switch m.Form {
	case Table:
		return l.Kind.appendTableHead(b, m.Version, &l.Meta, true)
	case PartialList:
		gvk := partialGVK(m.Version)
		gvk.Kind += "List"
		b = append(b, headsFor(gvk).json...)
	default:
		b = append(b, l.Kind.list.json...)
	}
	b, err := objectjson.Append(append(b, `,"metadata":`...), &l.Meta)
	if err != nil {
		return nil, err
	}
	return append(b, `,"items":[`...), nil
}

// appendItems appends items, and writes what has been gathered when it is enough and w is not nil.
func (l *List[I]) appendItems(w io.Writer, b []byte, m Media, now time.Time, items []I, first bool) ([]byte, error) {
	var err error
	for _, item := range items {
		if !first {
			b = append(b, ',')
		}
		first = false
		switch m.Form {
		case Table:
			b, err = l.Kind.appendRow(b, m.Version, item, l.Include, now)
		case PartialList:
			b, err = appendPartial(b, m.Version, item.Object())
		default:
			b, err = l.Kind.appendElement(b, item)
		}
		if err == nil && w != nil && len(b) >= writeSize {
			_, err = w.Write(b)
			b = b[:0]
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// chunk is a part of a large list on its way from a worker to the writer.
type chunk struct {
	pooled *[]byte // of buffers: the writer puts it back, and nobody does for a chunk that is not written
	bytes  []byte
	err    error
}

// writeChunks encodes chunks of the list by several workers and writes them in order. Workers run at most two chunks each
// ahead of the writer, which bounds the memory. Whatever happens, it returns only when no worker is left.
func (l *List[I]) writeChunks(w io.Writer, head []byte, m Media, now time.Time) ([]byte, error) {
	if _, err := w.Write(head); err != nil {
		return nil, err
	}
	workers := runtime.GOMAXPROCS(0)
	slots := make(chan chan chunk, 2*workers)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	defer wait.Wait() // after stop is closed: nobody then waits for the writer, who has gone
	defer close(stop)
	tokens := make(chan struct{}, workers)
	wait.Go(func() {
		defer close(slots)
		for from := 0; from < len(l.Items); from += chunkItems {
			// A slot is queued before its chunk is begun, which keeps the order; it has room for the chunk, so that a worker ends
			// though nobody may read it any more.
			slot := make(chan chunk, 1)
			select {
			case slots <- slot:
			case <-stop:
				return
			}
			select {
			case tokens <- struct{}{}:
			case <-stop:
				return
			}
			items, first := l.Items[from:min(from+chunkItems, len(l.Items))], from == 0
			wait.Go(func() {
				p := buffers.Get().(*[]byte)
				b, err := l.appendItems(nil, (*p)[:0], m, now, items, first)
				slot <- chunk{p, b, err}
				<-tokens
			})
		}
	})
	for slot := range slots {
		c := <-slot
		if c.err != nil {
			return nil, c.err
		}
		if _, err := w.Write(c.bytes); err != nil {
			return nil, err
		}
		putBuffer(c.pooled, c.bytes)
	}
	return head[:0], nil
}
