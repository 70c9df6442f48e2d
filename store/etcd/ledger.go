package etcd

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// The ledger is a file beside the database that holds a checksum of every key that the database should hold: its revision, a
// hash of its name, and a sum over all that etcd keeps of it. The database has no sums of its own, so that a bit that falls over in a
// value would be served as if it had been written; and a log that lost its end looks like one that never had it.
//
// Each change that the member applies is appended within a second, and a mark says up to which revision the ledger is whole. What
// follows the last mark counts for nothing. It is not synced: it survives the death of the process, and after a power failure an
// older state of it is as good, since all that it says is still true; one that is torn or empty is made anew. When the member closes
// a seal follows, which also says how far the log had been applied.

const (
	ledgerName   = "ledger"
	ledgerHead   = "wheelhouse ledger 2 " // its salt and a checksum of that follow in hexadecimal, and the end of the line
	recordLength = 32
	// rewriteFloor is how many records too many a ledger has before it is written anew.
	rewriteFloor = 16 << 10
)

// The kinds of a record.
const (
	recordPut = iota + 1
	recordDelete
	recordMark
	recordSeal
)

// record is one line of the ledger. Of a mark and a seal only the revision counts, and of a seal the key, which is the index of the
// newest entry of the log in the database.
type record struct {
	revision int64
	key      uint64
	sum      uint32
	kind     uint32
}

var ledgerTable = crc32.MakeTable(crc32.Castagnoli)

func (r record) appendTo(b []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.revision))
	b = binary.LittleEndian.AppendUint64(b, r.key)
	b = binary.LittleEndian.AppendUint32(b, r.sum)
	b = binary.LittleEndian.AppendUint32(b, r.kind)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], ledgerTable))
	return binary.LittleEndian.AppendUint32(b, 0)
}

func readRecord(b []byte) (r record, ok bool) {
	if crc32.Checksum(b[:24], ledgerTable) != binary.LittleEndian.Uint32(b[24:]) || binary.LittleEndian.Uint32(b[28:]) != 0 {
		return r, false
	}
	r = record{int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])}
	return r, r.kind >= recordPut && r.kind <= recordSeal
}

// ledgerSalt makes the hashes of keys those of one ledger: who may choose names of objects must not be able to choose two that look
// alike in it.
type ledgerSalt [16]byte

func newSalt() (s ledgerSalt) {
	rand.Read(s[:])
	return s
}

func (s *ledgerSalt) head() []byte {
	return fmt.Appendf(nil, "%s%x\n", ledgerHead, binary.LittleEndian.AppendUint32(s[:len(s):len(s)], crc32.Checksum(s[:], ledgerTable)))
}

func readHead(data []byte) (s ledgerSalt, rest []byte, err error) {
	line, rest, ok := bytes.Cut(data, []byte{'\n'})
	text, known := bytes.CutPrefix(line, []byte(ledgerHead))
	var head [len(s) + crc32.Size]byte
	if !ok || !known || len(text) != hex.EncodedLen(len(head)) {
		return s, nil, errLedger
	}
	if _, err := hex.Decode(head[:], text); err != nil {
		return s, nil, errLedger
	}
	copy(s[:], head[:])
	if crc32.Checksum(s[:], ledgerTable) != binary.LittleEndian.Uint32(head[len(s):]) { // with another salt every key looks foreign
		return s, nil, errLedger
	}
	return s, rest, nil
}

func (s *ledgerSalt) hash(key []byte) uint64 {
	sum := sha256.Sum256(append(s[:len(s):len(s)], key...))
	return binary.LittleEndian.Uint64(sum[:])
}

// recordOf a key's state after a change.
func (s *ledgerSalt) recordOf(kv *mvccpb.KeyValue, revision int64, deleted bool) record {
	r := record{revision: revision, key: s.hash(kv.GetKey()), kind: recordPut}
	if deleted {
		r.kind = recordDelete
		return r
	}
	var head [32]byte
	binary.LittleEndian.PutUint64(head[:], uint64(len(kv.GetKey())))
	binary.LittleEndian.PutUint64(head[8:], uint64(kv.GetCreateRevision()))
	binary.LittleEndian.PutUint64(head[16:], uint64(kv.GetVersion()))
	binary.LittleEndian.PutUint64(head[24:], uint64(kv.GetLease()))
	r.sum = crc32.Update(0, ledgerTable, head[:])
	r.sum = crc32.Update(r.sum, ledgerTable, kv.GetKey())
	r.sum = crc32.Update(r.sum, ledgerTable, kv.GetValue())
	return r
}

// ledger is what was read of the file: the latest record of each key, up to the last mark.
type ledger struct {
	salt     ledgerSalt
	revision int64
	latest   map[uint64]record
	// sealed tells that the member was closed, with everything up to revision, and index applied.
	sealed bool
	index  uint64
}

func ledgerFile(dir string) string { return filepath.Join(dir, "member", ledgerName) }

// errLedger: the ledger itself is damaged, and says nothing about the database.
var errLedger = errors.New("the ledger is damaged")

// readLedger reads a ledger; nil if there is none.
func readLedger(file string) (*ledger, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	salt, data, err := readHead(data)
	if err != nil {
		return nil, err
	}
	l := &ledger{salt: salt, latest: map[uint64]record{}}
	var open []record // after the last mark
	for ; len(data) >= recordLength; data = data[recordLength:] {
		r, ok := readRecord(data)
		if !ok {
			if len(data) >= 2*recordLength && anyRecord(data[recordLength:]) {
				return nil, errLedger // it is not the end that is torn
			}
			break
		}
		switch r.kind {
		case recordMark, recordSeal:
			for _, o := range open {
				l.latest[o.key] = o
			}
			open = open[:0]
			if r.revision < l.revision {
				return nil, errLedger
			}
			l.revision, l.sealed, l.index = r.revision, r.kind == recordSeal, r.key
		default:
			open, l.sealed = append(open, r), false
		}
	}
	return l, nil
}

func anyRecord(data []byte) bool {
	for ; len(data) >= recordLength; data = data[recordLength:] {
		if _, ok := readRecord(data); ok {
			return true
		}
	}
	return false
}

// contents are what a walk over the database found.
type contents struct {
	// latest record of each key that is not compacted away.
	latest map[uint64]record
	// newest and compacted revision.
	newest, compacted int64
	index             uint64
	keys              int // that exist
}

// check compares the database with the ledger. What came after the ledger's last mark cannot be judged: the process may have died, and a
// start may have ended before it went on with the ledger, or a version that keeps none may have run since. What came after the
// database's last commit is still in the log. name gives a key's name for its hash.
func (l *ledger) check(c *contents, name func(uint64) string) error {
	var wrong, foreign, missing []uint64
	for key, in := range c.latest {
		should, known := l.latest[key]
		switch {
		case in.revision > l.revision:
		case !known:
			// What is deleted leaves the ledger when that is written anew, and the database may still hold it then.
			if in.kind != recordDelete && l.revision <= c.newest {
				foreign = append(foreign, key)
			}
		case in.revision < should.revision:
			if should.revision <= c.newest {
				wrong = append(wrong, key)
			}
		case in != should:
			wrong = append(wrong, key)
		}
	}
	for key, should := range l.latest {
		_, found := c.latest[key]
		if !found && should.kind == recordPut && should.revision <= c.newest && c.compacted <= l.revision {
			missing = append(missing, key)
		}
	}
	first := func(keys []uint64) string {
		if text := name(keys[0]); text != "" {
			return ", " + text + " first"
		}
		return ""
	}
	switch {
	case len(wrong) > 0:
		return fmt.Errorf("%d of %d keys are not as they were written%s", len(wrong), len(l.latest), first(wrong))
	case len(foreign) > 0:
		return fmt.Errorf("it holds %d keys that nobody wrote%s", len(foreign), first(foreign))
	case len(missing) > 0:
		return fmt.Errorf("%d of %d keys are lost", len(missing), len(l.latest))
	case l.sealed && (c.newest < l.revision || c.index < l.index || c.index == l.index && c.newest != l.revision):
		return fmt.Errorf("it ends at revision %d and entry %d of the log, and was closed at %d and %d", c.newest, c.index, l.revision, l.index)
	}
	return nil
}

// writeLedger writes a whole ledger in place of the one that is there.
func writeLedger(file string, salt ledgerSalt, latest map[uint64]record, revision int64) (records int, err error) {
	b := make([]byte, 0, 64+(len(latest)+1)*recordLength)
	b = append(b, salt.head()...)
	for _, r := range latest {
		if r.kind == recordPut {
			b = r.appendTo(b)
			records++
		}
	}
	b = record{revision: revision, kind: recordMark}.appendTo(b)
	next := file + ".new"
	if err = os.WriteFile(next, b, 0o600); err == nil {
		err = os.Rename(next, file)
	}
	if err != nil {
		os.Remove(next) // where there is no room, it would take some
		return 0, err
	}
	return records + 1, nil
}
