package etcd

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// databaseWait bounds the wait for a database that another process holds.
const databaseWait = 2 * time.Second

// startEtcd starts etcd. It panics where it meets damaged files; that becomes an error here.
func startEtcd(o Options, config *embed.Config) (member *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = whyPanic(o.walDir(), p)
		}
	}()
	return embed.StartEtcd(config)
}

func damaged(file string, err error) error {
	return fmt.Errorf("%s is damaged (%w): move the data folder away and restore a backup", file, err)
}

// inDatabase is what the database says of the membership.
type inDatabase struct {
	members []membership.Member
	// index of the newest entry of the log that is in the database.
	index uint64
}

// These are etcd's: members stand in JSON under their hexadecimal numbers, the index in eight bytes.
var membersBucket, metaBucket, indexKey = []byte("members"), []byte("meta"), []byte("consistent_index")

// readMembership opens the database, if there is one. Etcd panics where it meets a damaged one, on a goroutine of its own, so
// that it is looked at beforehand.
func readMembership(file string) (found inDatabase, err error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	database, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: databaseWait})
	if err != nil {
		return found, damaged(file, err)
	}
	defer database.Close()
	err = database.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(membersBucket)
		if b == nil {
			return nil
		}
		if meta := tx.Bucket(metaBucket); meta != nil {
			if index := meta.Get(indexKey); len(index) == 8 {
				found.index = binary.BigEndian.Uint64(index)
			}
		}
		return b.ForEach(func(_, value []byte) error {
			var m membership.Member
			if err := json.Unmarshal(value, &m); err != nil {
				return err
			}
			found.members = append(found.members, m)
			return nil
		})
	})
	if err != nil {
		return found, damaged(file, err)
	}
	return found, nil
}

// whyPanic reads the log, the likeliest cause, to tell more than a panic does.
func whyPanic(log string, p any) error {
	entries, err := wal.ValidSnapshotEntries(zap.NewNop(), log)
	if err == nil && len(entries) == 0 { // every log begins with one
		err = errors.New("no entry can be read")
	}
	if err != nil {
		return damaged(log, err)
	}
	return damaged(filepath.Dir(log), fmt.Errorf("%v", p))
}
