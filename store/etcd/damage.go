package etcd

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// startEtcd starts etcd. It panics where it meets damaged files; that becomes an error here.
func startEtcd(o Options, config *embed.Config) (member *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = whyPanic(o.walDir(), p)
		}
	}()
	return embed.StartEtcd(config)
}

// ErrDamaged is in every error about files of a member that are not as it wrote them.
var ErrDamaged = errors.New("damaged")

type damageError struct {
	file string
	err  error
}

// damaged says so of a file, unless the error is one that passes and tells nothing of what is in it: to move data away for that would
// be the only harm.
func damaged(file string, err error) error {
	if passesBy(err.Error()) {
		return fmt.Errorf("%s cannot be used now, and is not damaged: %w", file, err)
	}
	return &damageError{file, err}
}

// passesBy tells of errors of the system's that say nothing about a file's contents. Etcd gives them as text, in its panics.
func passesBy(text string) bool {
	return slices.ContainsFunc([]syscall.Errno{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
	}, func(e syscall.Errno) bool { return strings.Contains(text, e.Error()) })
}

func (d *damageError) Error() string {
	return fmt.Sprintf("%s is damaged (%v): move the data folder away and restore a backup, or, if there are other masters, remove this one there and let it join anew", d.file, d.err)
}

func (d *damageError) Unwrap() []error { return []error{ErrDamaged, d.err} }

// inDatabase is what the database says of the membership.
type inDatabase struct {
	members []membership.Member
	// index of the newest entry of the log that is in the database, and its newest revision.
	index  uint64
	newest int64
}

// readMembership reads the database, if there is one, as far as the membership goes.
func readMembership(file string) (found inDatabase, err error) {
	b, err := openBolt(file)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, damaged(file, err)
	}
	defer b.close()
	var c contents
	for bucket, visit := range map[string]func(key, value []byte) error{
		"meta": func(key, value []byte) error { return c.takeMeta(string(key), value) },
		"members": func(key, value []byte) error {
			m, err := readMember(key, value)
			found.members = append(found.members, m)
			return err
		},
	} {
		if err := b.walkOne(bucket, visit); err != nil {
			return found, damaged(file, err)
		}
	}
	last, err := b.lastKey("key")
	if err == nil && len(last) >= 8 {
		c.newest = int64(binary.BigEndian.Uint64(last))
	}
	if err != nil {
		return found, damaged(file, err)
	}
	found.index, found.newest = c.index, max(c.newest, c.compacted, 1)
	return found, nil
}

func readMember(key, value []byte) (m membership.Member, err error) {
	if err := json.Unmarshal(value, &m); err != nil || m.ID.String() != string(key) {
		return m, shape("the member %q cannot be read", key)
	}
	return m, nil
}

// whyPanic reads the log, the likeliest cause, to tell more than a panic does.
func whyPanic(log string, p any) error {
	if text := fmt.Sprint(p); passesBy(text) {
		return damaged(filepath.Dir(log), errors.New(text))
	}
	entries, err := wal.ValidSnapshotEntries(zap.NewNop(), log)
	if err == nil && len(entries) == 0 { // every log begins with one
		err = errors.New("no entry can be read")
	}
	if err != nil {
		return damaged(log, err)
	}
	return damaged(filepath.Dir(log), fmt.Errorf("%v", p))
}
