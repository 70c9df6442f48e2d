package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// databaseWait bounds the wait for a database that another process holds.
const databaseWait = 2 * time.Second

// start starts the member. etcd panics where it meets damaged files: for the database on a goroutine of its own, so that is
// looked at beforehand; elsewhere here, where it becomes an error.
func start(o Options) (member *embed.Etcd, err error) {
	if err := checkDatabase(filepath.Join(o.Dir, "member", "snap", "db")); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = whyPanic(filepath.Join(o.Dir, "member", "wal"), p)
		}
	}()
	return embed.StartEtcd(o.config())
}

func damaged(file string, err error) error {
	return fmt.Errorf("%s is damaged (%w): move the data folder away and restore a backup", file, err)
}

// checkDatabase opens the database, if there is one.
func checkDatabase(file string) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	database, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: databaseWait})
	if err != nil {
		return damaged(file, err)
	}
	return database.Close()
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
