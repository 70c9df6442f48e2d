package etcd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// Examination is what was found in the folder of a member that does not run.
type Examination struct {
	// Member tells that there is one; nothing else is set otherwise.
	Member bool
	// Self and Cluster are the member's and its cluster's IDs, by its log.
	Self, Cluster uint64
	Members       []Member
	// Revision of the newest change in the database, Index of the newest entry of the log in it, and Last the newest entry of the log.
	Revision    int64
	Index, Last uint64
	Keys        int
	// Size of the database's file in bytes.
	Size int64
	// Ledger tells that values were compared with what was written, up to LedgerRevision.
	Ledger         bool
	LedgerRevision int64
	// Remark is what is not as it should be and does no harm.
	Remark string

	contents *contents
	salt     ledgerSalt
}

// Examine reads all that a member keeps and finds what is damaged: pages that contradict each other, values that cannot be read or
// are not what was written, a log that is cut off. Etcd itself panics on the one and serves the other. The error names the file,
// and is nil if all is whole. Nothing is changed.
func Examine(dir string) (*Examination, error) {
	o := &Options{Dir: dir}
	x := &Examination{Member: o.exists()}
	if _, err := os.Stat(o.databaseFile()); err == nil {
		x.Member = true
	}
	if !x.Member {
		return x, nil
	}
	kept, err := readLedger(ledgerFile(dir))
	switch {
	case errors.Is(err, errLedger):
		x.Remark = ledgerFile(dir) + ", by which values are checked, is damaged itself, and is made anew at the next start"
		x.salt = newSalt()
	case err != nil:
		return x, err
	case kept == nil:
		x.salt = newSalt()
	default:
		x.salt, x.Ledger, x.LedgerRevision = kept.salt, true, kept.revision
	}
	if err := x.database(o.databaseFile(), kept); err != nil {
		return x, err
	}
	return x, x.log(o.walDir())
}

// database walks over the file, if it is there: a member that ended at once after its first start has only a log.
func (x *Examination) database(file string, kept *ledger) error {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		x.contents = &contents{latest: map[uint64]record{}}
		if kept != nil && len(kept.latest) > 0 {
			return damaged(file, errors.New("it is gone"))
		}
		return nil
	}
	if err != nil {
		return err
	}
	x.Size = info.Size()
	b, err := openBolt(file)
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err != nil {
		return damaged(file, err)
	}
	defer b.close()
	found, err := x.read(b)
	if err != nil {
		return damaged(file, err)
	}
	x.contents, x.Revision, x.Index, x.Keys = found, found.newest, found.index, found.keys
	if kept == nil {
		return nil
	}
	if err := kept.check(found, func(hash uint64) string { return x.nameOf(b, hash) }); err != nil {
		return damaged(file, err)
	}
	return nil
}

// knownBuckets are etcd's. A bucket whose name is damaged would be made anew, and empty.
func knownBucket(name string) bool {
	return slices.ContainsFunc(schema.AllBuckets, func(b backend.Bucket) bool { return string(b.Name()) == name })
}

func (x *Examination) read(b *boltFile) (*contents, error) {
	c := &contents{latest: map[uint64]record{}}
	err := b.walk(func(bucket string, key, value []byte) error {
		switch bucket {
		case "key":
			return c.take(&x.salt, key, value)
		case "meta":
			return c.takeMeta(string(key), value)
		case "members":
			m, err := readMember(key, value)
			if err != nil {
				return err
			}
			member := Member{ID: uint64(m.ID), Name: m.Name, Learner: m.IsLearner}
			if len(m.PeerURLs) > 0 {
				member.PeerURL = m.PeerURLs[0]
			}
			x.Members = append(x.Members, member)
			return nil
		}
		if !knownBucket(bucket) {
			return shape("there is a bucket %q", bucket)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range c.latest {
		if r.kind == recordPut {
			c.keys++
		}
	}
	c.newest = max(c.newest, c.compacted, 1)
	return c, nil
}

// take one change of a key.
func (c *contents) take(salt *ledgerSalt, key, value []byte) error {
	deleted := len(key) == revisionBytes+1 && key[revisionBytes] == deletionMark
	if len(key) != revisionBytes && !deleted || key[8] != '_' {
		return shape("%x is no revision", key)
	}
	revision := int64(binary.BigEndian.Uint64(key))
	if len(value) == 0 { // etcd's tools set a restored cluster's revision so
		c.newest = max(c.newest, revision)
		return nil
	}
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(value, &kv); err != nil || len(kv.Key) == 0 || len(kv.ProtoReflect().GetUnknown()) > 0 {
		return shape("the value of revision %d cannot be read", revision)
	}
	if !deleted && kv.ModRevision != revision {
		return shape("the value of revision %d says that it is of %d", revision, kv.ModRevision)
	}
	r := salt.recordOf(&kv, revision, deleted)
	c.latest[r.key] = r // they come in the order of revisions
	c.newest = max(c.newest, revision)
	return nil
}

func (c *contents) takeMeta(key string, value []byte) error {
	switch key {
	case string(schema.MetaConsistentIndexKeyName):
		if len(value) != 8 {
			return shape("the index has %d bytes", len(value))
		}
		c.index = binary.BigEndian.Uint64(value)
	case string(schema.FinishedCompactKeyName), string(schema.ScheduledCompactKeyName):
		if len(value) != revisionBytes {
			return shape("%s has %d bytes", key, len(value))
		}
		c.compacted = max(c.compacted, int64(binary.BigEndian.Uint64(value)))
	case string(schema.MetaTermKeyName):
		if len(value) != 8 {
			return shape("the term has %d bytes", len(value))
		}
	}
	return nil
}

// nameOf finds the name of a key for a message.
func (x *Examination) nameOf(b *boltFile, hash uint64) (name string) {
	_ = b.walk(func(bucket string, _, value []byte) error {
		var kv mvccpb.KeyValue
		if bucket == "key" && proto.Unmarshal(value, &kv) == nil && x.salt.hash(kv.Key) == hash {
			name = fmt.Sprintf("%q", kv.Key)
			return io.EOF
		}
		return nil
	})
	return name
}

// log reads the log from its newest snapshot on, as etcd does at its start. What the database holds must be in it: etcd ends in a panic
// where it is not.
func (x *Examination) log(dir string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damaged(dir, fmt.Errorf("%v", p))
		}
	}()
	if logs, _ := filepath.Glob(filepath.Join(dir, "*.wal")); len(logs) == 0 {
		return damaged(dir, errors.New("it holds no log"))
	}
	snapshots, err := wal.ValidSnapshotEntries(zap.NewNop(), dir)
	if err == nil && len(snapshots) == 0 { // every log begins with one
		err = errors.New("no entry can be read")
	}
	if err != nil {
		return damaged(dir, err)
	}
	// Etcd begins at the newest snapshot whose file is there.
	at := snapshots[0]
	for _, s := range snapshots {
		name := fmt.Sprintf("%016x-%016x.snap", s.GetTerm(), s.GetIndex())
		if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "snap", name)); err == nil && s.GetIndex() > at.GetIndex() {
			at = s
		}
	}
	return x.readLog(dir, at)
}

func (x *Examination) readLog(dir string, at *walpb.Snapshot) error {
	log, err := wal.OpenForRead(zap.NewNop(), dir, at)
	if err != nil {
		return damaged(dir, err)
	}
	defer log.Close()
	metadata, state, entries, err := log.ReadAll()
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // a crash may leave half an entry
		return damaged(dir, err)
	}
	if x.Self, x.Cluster, err = owner(metadata); err != nil {
		return damaged(dir, err)
	}
	x.Last = at.GetIndex()
	if len(entries) > 0 {
		x.Last = entries[len(entries)-1].GetIndex()
	}
	if need := max(x.Index, state.GetCommit()); x.Last < need {
		return damaged(dir, fmt.Errorf("it ends at entry %d, and entry %d was applied", x.Last, need))
	}
	return nil
}
