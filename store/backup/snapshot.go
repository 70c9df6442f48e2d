package backup

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/bits"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// Reader knows what keys and values mean. Its methods may be called from one goroutine at a time.
type Reader interface {
	// Kind is the resource of a key, such as "pods" or "example.com/widgets".
	Kind(key string) string
	// Read decodes a value and finds out whether it is encrypted.
	Read(key string, value []byte) (encrypted bool, err error)
}

// Content is what a snapshot holds.
type Content struct {
	Revision   int64
	Objects    int64
	Kinds      map[string]int64
	Encrypted  int64
	Unreadable map[string]int64
	Digest     string
	// Faults are the first of the values that cannot be read, at most faultsMax.
	Faults []Fault
}

// Fault is a value that cannot be read.
type Fault struct {
	Key string
	// Hash is the SHA-256 of the value.
	Hash [sha256.Size]byte
	Err  error
}

// faultsMax bounds how many unreadable values are looked at; a snapshot with more of them is not accepted.
const faultsMax = 1000

// databaseWait bounds the wait for a file that another process holds.
const databaseWait = 2 * time.Second

// keyBucket is where etcd keeps all revisions of all keys, in the order of revisions.
var keyBucket = []byte("key")

// revisionBytes is the length of a revision; a deletion's has one byte more.
const revisionBytes = 17

// contentOf reads all that is live in a snapshot. Its memory grows with the number of keys, not with their values.
func contentOf(ctx context.Context, file string, r Reader, progress Progress) (c *Content, err error) {
	// A page that cannot be read from the disk, or that lies outside the file, is an error and no end of the process.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: the snapshot cannot be read: %v", ErrDamaged, p)
		}
	}()
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: databaseWait})
	if errors.Is(err, bolt.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process: copy it, or stop that process", file)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the snapshot is no database: %v", ErrDamaged, err)
	}
	defer db.Close()
	w := &walk{content: &Content{Kinds: map[string]int64{}, Unreadable: map[string]int64{}}, reader: r, seen: map[[16]byte]struct{}{}}
	err = db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(keyBucket)
		if b == nil {
			return fmt.Errorf("%w: the snapshot holds no keys: it is not etcd's", ErrDamaged)
		}
		return w.all(ctx, b, func(done int64) { progress.tell("decode", min(done, info.Size()), info.Size()) })
	})
	if err != nil {
		return nil, err
	}
	w.content.Digest = w.digest.String()
	return w.content, nil
}

// walk goes through the revisions from the last to the first: the first time that it meets a key is its last change.
type walk struct {
	content *Content
	reader  Reader
	seen    map[[16]byte]struct{} // hashes of the keys that were met
	digest  digest
}

func (w *walk) all(ctx context.Context, b *bolt.Bucket, progress func(int64)) error {
	var done int64
	n := 0
	cursor := b.Cursor()
	for k, v := cursor.Last(); k != nil; k, v = cursor.Prev() {
		if len(k) != revisionBytes && len(k) != revisionBytes+1 {
			return fmt.Errorf("%w: the snapshot holds a revision of %d bytes", ErrDamaged, len(k))
		}
		if w.content.Revision == 0 {
			w.content.Revision = int64(binary.BigEndian.Uint64(k))
		}
		var kv mvccpb.KeyValue
		if err := (proto.UnmarshalOptions{}).Unmarshal(v, &kv); err != nil {
			return fmt.Errorf("%w: the snapshot holds an entry that cannot be read: %v", ErrDamaged, err)
		}
		w.take(&kv, len(k) > revisionBytes)
		done += int64(len(k) + len(v))
		if n++; n%256 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			progress(done)
		}
	}
	return nil
}

func (w *walk) take(kv *mvccpb.KeyValue, deleted bool) {
	if len(kv.Key) == 0 { // stands for a revision that was skipped at a restore
		return
	}
	full := sha256.Sum256(kv.Key)
	id := [16]byte(full[:16])
	if _, ok := w.seen[id]; ok {
		return
	}
	w.seen[id] = struct{}{}
	if deleted {
		return
	}
	c := w.content
	w.digest.add(kv)
	c.Objects++
	key := string(kv.Key)
	kind := w.reader.Kind(key)
	c.Kinds[kind]++
	encrypted, err := w.reader.Read(key, kv.Value)
	if encrypted {
		c.Encrypted++
	}
	if err != nil {
		c.Unreadable[kind]++
		if len(c.Faults) < faultsMax {
			c.Faults = append(c.Faults, Fault{Key: key, Hash: sha256.Sum256(kv.Value), Err: err})
		}
	}
}

// digest is the sum, as numbers of 256 bits, of the hashes of all entries: it does not depend on their order.
type digest struct {
	sum  [4]uint64
	hash hash.Hash
	head []byte
}

func (d *digest) add(kv *mvccpb.KeyValue) {
	if d.hash == nil {
		d.hash = sha256.New()
	}
	d.hash.Reset()
	d.head = binary.AppendUvarint(d.head[:0], uint64(len(kv.Key)))
	d.head = append(d.head, kv.Key...)
	d.head = binary.AppendUvarint(d.head, uint64(kv.ModRevision))
	d.hash.Write(d.head)
	d.hash.Write(kv.Value)
	var sum [sha256.Size]byte
	d.hash.Sum(sum[:0])
	var carry uint64
	for i := range d.sum {
		d.sum[i], carry = bits.Add64(d.sum[i], binary.LittleEndian.Uint64(sum[8*i:]), carry)
	}
}

func (d *digest) String() string {
	var b [32]byte
	for i, v := range d.sum {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return hex.EncodeToString(b[:])
}

// checksummed hashes what passes through it, and keeps the last bytes apart: etcd ends a snapshot with the hash of all
// that comes before.
type checksummed struct {
	from io.Reader
	body hash.Hash // of everything but tail
	tail []byte
	n    int64
	tell func(done int64)
}

func newChecksummed(from io.Reader, tell func(int64)) *checksummed {
	return &checksummed{from: from, body: sha256.New(), tell: tell}
}

func (c *checksummed) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if n >= sha256.Size {
		c.body.Write(c.tail)
		c.body.Write(p[:n-sha256.Size])
		c.tail = append(c.tail[:0], p[n-sha256.Size:n]...)
	} else {
		c.tail = append(c.tail, p[:n]...)
		if over := len(c.tail) - sha256.Size; over > 0 {
			c.body.Write(c.tail[:over])
			c.tail = append(c.tail[:0], c.tail[over:]...)
		}
	}
	c.tell(c.n)
	return n, err
}

// file ends the reading: size and hash of all that has passed.
func (c *checksummed) file() File {
	c.body.Write(c.tail)
	c.tail = nil
	return File{Size: c.n, SHA256: hex.EncodeToString(c.body.Sum(nil))}
}

// etcdSector: etcd's files are multiples of it, so that 32 bytes more are the hash that a snapshot ends with.
const etcdSector = 512

// checkEnd tells whether the stream ended as etcd ends a snapshot. It must be called before file.
func (c *checksummed) checkEnd() error {
	switch {
	case c.n%etcdSector != sha256.Size:
		return fmt.Errorf("the snapshot broke off after %d bytes", c.n)
	case string(c.body.Sum(nil)) != string(c.tail):
		return errors.New("the snapshot was changed on its way: its hash is another")
	}
	return nil
}
