package etcd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	etcdutl "go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// databaseWait bounds the wait for a database that another process holds.
const databaseWait = 2 * time.Second

// RestoreOptions of Restore.
type RestoreOptions struct {
	// Snapshot is a file that etcdctl, or a member, saved.
	Snapshot string
	// Unhashed accepts a file without the hash that ends a snapshot, such as a copy of a stopped member's database. Checked tells
	// that the file is known to be what was saved.
	Unhashed, Checked bool
	// Dir becomes the member's data; it must not exist or be empty.
	Dir string
	// Name of the member, and Token, which makes the identity of the new cluster unlike any other's.
	Name, Token string
	// Bump is by how much the revision grows. Everything before is marked compacted, so that who watches from a revision
	// of the past is told to list anew, and none that was handed out after the snapshot is ever handed out again.
	Bump int64
	// Drop is shown each key with its value, once a revision, and chooses the keys that are not taken over.
	Drop func(key, value []byte) bool
}

// Restore makes the data of a lone member from a snapshot: of new member and cluster identity.
func Restore(o RestoreOptions) (revision int64, err error) {
	if o.Bump <= 0 {
		return 0, errors.New("the revision must grow at a restore")
	}
	if err := checkSnapshot(o); err != nil {
		return 0, err
	}
	defer func() {
		if p := recover(); p != nil { // etcd panics where it meets damaged files
			err = fmt.Errorf("%s cannot be restored: %v", o.Snapshot, p)
		}
	}()
	err = etcdutl.NewV3(zap.NewNop()).Restore(etcdutl.RestoreConfig{
		SnapshotPath: o.Snapshot, SkipHashCheck: o.Unhashed || o.Checked,
		Name: o.Name, PeerURLs: []string{nobody}, InitialCluster: o.Name + "=" + nobody, InitialClusterToken: o.Token,
		OutputDataDir: o.Dir, RevisionBump: uint64(o.Bump), MarkCompacted: true,
	})
	if err != nil {
		return 0, fmt.Errorf("%s cannot be restored: %w", o.Snapshot, err)
	}
	return drop(filepath.Join(o.Dir, "member", "snap", "db"), o.Drop)
}

// checkSnapshot looks at a file. One whose hash says nothing is looked at whole: a copy of a running member's database may be torn.
func checkSnapshot(o RestoreOptions) (err error) {
	torn := func(why any) error {
		return fmt.Errorf("%s is damaged, perhaps because the member was running when it was copied: %v", o.Snapshot, why)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // pages that lead outside the file
	defer func() {
		if p := recover(); p != nil {
			err = torn(p)
		}
	}()
	db, err := bolt.Open(o.Snapshot, 0o600, &bolt.Options{ReadOnly: true, Timeout: databaseWait})
	if errors.Is(err, bolt.ErrTimeout) {
		return fmt.Errorf("%s is in use: stop the member, or save a snapshot with etcdctl", o.Snapshot)
	}
	if err != nil {
		return fmt.Errorf("%s is no snapshot of etcd: %w", o.Snapshot, err)
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		if tx.Bucket(keyBucket) == nil {
			return fmt.Errorf("%s is no snapshot of etcd: it holds no keys", o.Snapshot)
		}
		if !o.Unhashed {
			return nil
		}
		err := tx.ForEach(func(_ []byte, b *bolt.Bucket) error { // bolt's own check panics on a goroutine of its own
			return b.ForEach(func([]byte, []byte) error { return nil })
		})
		if err != nil {
			return torn(err)
		}
		for err := range tx.Check() {
			return torn(err)
		}
		return nil
	})
}

// keyBucket is where etcd keeps all revisions of all keys, in their order.
var keyBucket = []byte("key")

// A revision in the key bucket: 8 bytes, an underscore, 8 bytes; a deletion's ends with deletionMark.
const (
	revisionBytes = 17
	deletionMark  = 't'
)

// drop deletes keys at the last revision, as etcd does in a transaction.
func drop(file string, choose func(key, value []byte) bool) (revision int64, err error) {
	db, err := bolt.Open(file, 0o600, &bolt.Options{Timeout: databaseWait, NoFreelistSync: true})
	if err != nil {
		return 0, fmt.Errorf("the restored database cannot be opened: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(keyBucket)
		chosen := map[string]bool{} // whether the key exists
		var order []string
		var last []byte
		err := b.ForEach(func(k, v []byte) error {
			key, value, err := keyValue(v)
			if err != nil || len(k) < revisionBytes {
				return fmt.Errorf("the restored database holds an entry that cannot be read: %w", err)
			}
			last = k
			if len(key) == 0 || choose == nil || !choose(key, value) {
				return nil
			}
			if _, met := chosen[string(key)]; !met {
				order = append(order, string(key))
			}
			chosen[string(key)] = len(k) == revisionBytes
			return nil
		})
		if err != nil {
			return err
		}
		revision = int64(binary.BigEndian.Uint64(last))
		sub := binary.BigEndian.Uint64(last[9:revisionBytes])
		for _, key := range order {
			if !chosen[key] {
				continue
			}
			sub++
			entry, err := proto.Marshal(&mvccpb.KeyValue{Key: []byte(key)})
			if err != nil {
				return err
			}
			if err := b.Put(deletion(revision, sub), entry); err != nil {
				return err
			}
		}
		return nil
	})
	return revision, errors.Join(err, db.Close())
}

func deletion(revision int64, sub uint64) []byte {
	k := binary.BigEndian.AppendUint64(make([]byte, 0, revisionBytes+1), uint64(revision))
	k = append(k, '_')
	k = binary.BigEndian.AppendUint64(k, sub)
	return append(k, deletionMark)
}

// The fields of etcd's KeyValue.
const fieldKey, fieldValue = 1, 5

// keyValue finds key and value in an entry without copying them.
func keyValue(entry []byte) (key, value []byte, err error) {
	for len(entry) > 0 {
		number, kind, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return nil, nil, protowire.ParseError(n)
		}
		entry = entry[n:]
		if kind == protowire.BytesType {
			v, n := protowire.ConsumeBytes(entry)
			if n < 0 {
				return nil, nil, protowire.ParseError(n)
			}
			switch number {
			case fieldKey:
				key = v
			case fieldValue:
				value = v
			}
			entry = entry[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, entry); n < 0 {
			return nil, nil, protowire.ParseError(n)
		}
		entry = entry[n:]
	}
	return key, value, nil
}
