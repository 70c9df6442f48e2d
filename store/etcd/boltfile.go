package etcd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// boltFile reads a database file as bbolt lays it out, without mapping it: whatever is in the file, a read ends with an error and
// never with a fault. bbolt and etcd themselves trust what they find, and panic on goroutines of their own.
//
// A page is a header (its number, its kind, how many elements, how many pages it goes on for) and elements. Branches lead to pages, leaves
// hold keys and values, and a value may be a bucket: the number of its first page or, if that is 0, a page within the value.
// Two pages at the beginning, the metas, take turns in saying where the tree begins.
type boltFile struct {
	file     *os.File
	pageSize int64
	pages    uint64 // how many there are in use or free
	root     uint64
	seen     []bool // by page: reached from the root
}

const (
	boltMagic, boltVersion   = 0xED0CDAED, 2
	boltPageHeader           = 16
	boltElement              = 16
	boltMetaSize             = 64
	boltBucketHeader         = 16
	boltDepthMax             = 64
	boltBranch, boltLeaf     = 0x01, 0x02
	boltBucketLeaf           = 0x01
	boltPageMin, boltPageMax = 512, 64 << 10
)

var errShape = errors.New("its pages contradict each other")

func shape(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errShape, fmt.Sprintf(format, args...))
}

// openBolt reads the metas of a database. The caller closes it.
func openBolt(name string) (*boltFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	b := &boltFile{file: f}
	if err := b.readMetas(); err != nil {
		f.Close()
		return nil, err
	}
	return b, nil
}

func (b *boltFile) close() error { return b.file.Close() }

// readMetas takes the newer of the metas that are whole, as bbolt does.
func (b *boltFile) readMetas() error {
	info, err := b.file.Stat()
	if err != nil {
		return err
	}
	var newest uint64
	found := false
	// The second meta is a page behind the first; if that one is not whole, the size of a page is unknown.
	sizes := []int64{}
	for size := int64(boltPageMin); size <= boltPageMax; size *= 2 {
		sizes = append(sizes, size)
	}
	for i, at := range append([]int64{0}, sizes...) {
		var page [boltPageHeader + boltMetaSize]byte
		if _, err := b.file.ReadAt(page[:], at); err != nil {
			continue
		}
		m := page[boltPageHeader:]
		sum := fnv.New64a()
		sum.Write(m[:boltMetaSize-8])
		size := int64(binary.LittleEndian.Uint32(m[8:]))
		if binary.LittleEndian.Uint32(m) != boltMagic || binary.LittleEndian.Uint32(m[4:]) != boltVersion || i > 0 && size != at ||
			size < boltPageMin || binary.LittleEndian.Uint64(m[56:]) != sum.Sum64() {
			continue
		}
		if txid := binary.LittleEndian.Uint64(m[48:]); !found || txid > newest {
			found, newest = true, txid
			b.pageSize, b.root, b.pages = size, binary.LittleEndian.Uint64(m[16:]), binary.LittleEndian.Uint64(m[40:])
		}
	}
	if !found {
		return errors.New("it does not begin as a database does")
	}
	if whole := uint64(info.Size() / b.pageSize); b.pages < 2 || b.pages > whole {
		return fmt.Errorf("it is cut off: it should have %d pages, and has %d", b.pages, whole)
	}
	b.seen = make([]bool, b.pages)
	return nil
}

// page reads a page with all that it goes on for.
func (b *boltFile) page(id uint64) ([]byte, error) {
	if id < 2 || id >= b.pages {
		return nil, shape("there is no page %d", id)
	}
	if b.seen[id] {
		return nil, shape("page %d is used twice", id)
	}
	first := make([]byte, b.pageSize)
	if _, err := b.file.ReadAt(first, int64(id)*b.pageSize); err != nil {
		return nil, err
	}
	if n := binary.LittleEndian.Uint64(first); n != id {
		return nil, shape("page %d says that it is page %d", id, n)
	}
	overflow := uint64(binary.LittleEndian.Uint32(first[12:]))
	if overflow >= b.pages-id {
		return nil, shape("page %d ends behind the file", id)
	}
	for n := id; n <= id+overflow; n++ {
		if b.seen[n] {
			return nil, shape("page %d is used twice", n)
		}
		b.seen[n] = true
	}
	if overflow == 0 {
		return first, nil
	}
	whole := make([]byte, int64(overflow+1)*b.pageSize)
	copy(whole, first)
	_, err := b.file.ReadAt(whole[b.pageSize:], int64(id+1)*b.pageSize)
	if errors.Is(err, io.EOF) {
		err = shape("page %d ends behind the file", id)
	}
	return whole, err
}

// walk calls visit with every key and value of every bucket in the root, in order. What visit gets is only valid during the call.
func (b *boltFile) walk(visit func(bucket string, key, value []byte) error) error {
	for i := range b.seen {
		b.seen[i] = false
	}
	return b.walkPage(b.root, nil, nil, 0, func(name, value []byte, isBucket bool) error {
		if !isBucket {
			return shape("a value stands where only buckets do")
		}
		bucket := string(name)
		return b.walkBucket(value, func(key, value []byte, isBucket bool) error {
			if isBucket {
				return shape("a bucket stands where only values do")
			}
			return visit(bucket, key, value)
		})
	})
}

// walkOne is walk for one bucket; one that does not exist holds nothing.
func (b *boltFile) walkOne(bucket string, visit func(key, value []byte) error) error {
	head, err := b.bucket(bucket)
	if err != nil || head == nil {
		return err
	}
	return b.walkBucket(head, func(key, value []byte, isBucket bool) error {
		if isBucket {
			return shape("a bucket stands where only values do")
		}
		return visit(key, value)
	})
}

// bucket finds a bucket in the root; nil if there is none. Pages that are read from now on may have been read before.
func (b *boltFile) bucket(bucket string) (head []byte, err error) {
	for i := range b.seen {
		b.seen[i] = false
	}
	err = b.walkPage(b.root, nil, nil, 0, func(name, value []byte, isBucket bool) error {
		if isBucket && string(name) == bucket {
			head = bytes.Clone(value)
		}
		return nil
	})
	return head, err
}

// lastKey is the greatest key of a bucket; nil if there is none.
func (b *boltFile) lastKey(bucket string) (last []byte, err error) {
	head, err := b.bucket(bucket)
	if err != nil || len(head) < boltBucketHeader {
		return nil, err
	}
	page := head[boltBucketHeader:]
	if root := binary.LittleEndian.Uint64(head); root != 0 {
		if page, err = b.page(root); err != nil {
			return nil, err
		}
	}
	for range boltDepthMax {
		e, err := elementsOf(page, bucket)
		if err != nil || e.count == 0 {
			return nil, err
		}
		element, key, err := e.key(e.count - 1)
		if err != nil {
			return nil, err
		}
		if e.kind == boltLeaf {
			return bytes.Clone(key), nil
		}
		if page, err = b.page(binary.LittleEndian.Uint64(element[8:])); err != nil {
			return nil, err
		}
	}
	return nil, shape("the bucket %s is too deep", bucket)
}

type boltVisit func(key, value []byte, isBucket bool) error

func (b *boltFile) walkBucket(value []byte, visit boltVisit) error {
	if len(value) < boltBucketHeader {
		return shape("a bucket is cut off")
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return b.walkPage(root, nil, nil, 0, visit)
	}
	return b.walkElements(value[boltBucketHeader:], "a page within a bucket", nil, nil, 0, visit)
}

// walkPage walks a page whose keys must not be less than from, and less than to; nil is no bound.
func (b *boltFile) walkPage(id uint64, from, to []byte, depth int, visit boltVisit) error {
	if depth > boltDepthMax {
		return shape("page %d lies too deep", id)
	}
	page, err := b.page(id)
	if err != nil {
		return err
	}
	return b.walkElements(page, fmt.Sprintf("page %d", id), from, to, depth, visit)
}

// elements of a page.
type elements struct {
	page  []byte
	name  string
	kind  uint16
	count int
}

func elementsOf(page []byte, name string) (e elements, err error) {
	if len(page) < boltPageHeader {
		return e, shape("%s is cut off", name)
	}
	e = elements{page, name, binary.LittleEndian.Uint16(page[8:]), int(binary.LittleEndian.Uint16(page[10:]))}
	if e.kind != boltBranch && e.kind != boltLeaf || len(page)-boltPageHeader < e.count*boltElement || e.kind == boltBranch && e.count == 0 {
		return e, shape("%s is of no known kind", name)
	}
	return e, nil
}

// key of the element i, and the element itself.
func (e *elements) key(i int) (element, key []byte, err error) {
	rest := e.page[boltPageHeader+i*boltElement:]
	pos, size := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
	if e.kind == boltLeaf {
		pos, size = binary.LittleEndian.Uint32(rest[4:]), binary.LittleEndian.Uint32(rest[8:])
	}
	if pos < boltElement || uint64(pos)+uint64(size) > uint64(len(rest)) {
		return nil, nil, shape("an element of %s lies outside of it", e.name)
	}
	return rest[:boltElement], rest[pos : pos+size], nil
}

// value of a leaf's element, which follows its key.
func (e *elements) value(i int, key []byte) (value []byte, isBucket bool, err error) {
	rest := e.page[boltPageHeader+i*boltElement:]
	flags, start := binary.LittleEndian.Uint32(rest), uint64(binary.LittleEndian.Uint32(rest[4:]))+uint64(len(key))
	end := start + uint64(binary.LittleEndian.Uint32(rest[12:]))
	if end > uint64(len(rest)) || flags > boltBucketLeaf {
		return nil, false, shape("an element of %s lies outside of it", e.name)
	}
	return rest[start:end], flags == boltBucketLeaf, nil
}

func (b *boltFile) walkElements(page []byte, name string, from, to []byte, depth int, visit boltVisit) error {
	e, err := elementsOf(page, name)
	if err != nil {
		return err
	}
	var before []byte
	for i := range e.count {
		element, key, err := e.key(i)
		if err != nil {
			return err
		}
		if i > 0 && bytes.Compare(before, key) >= 0 || from != nil && bytes.Compare(key, from) < 0 || to != nil && bytes.Compare(key, to) >= 0 {
			return shape("the keys of %s are out of order", name)
		}
		before = key
		if e.kind == boltLeaf {
			value, isBucket, err := e.value(i, key)
			if err == nil {
				err = visit(key, value, isBucket)
			}
			if err != nil {
				return err
			}
			continue
		}
		end := to
		if i+1 < e.count {
			if _, end, err = e.key(i + 1); err != nil {
				return err
			}
		}
		if err := b.walkPage(binary.LittleEndian.Uint64(element[8:]), key, end, depth+1, visit); err != nil {
			return err
		}
	}
	return nil
}
