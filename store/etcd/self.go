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

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"google.golang.org/protobuf/proto"
)

// Self is whose data a member's folder holds.
type Self struct {
	// Member and Cluster are etcd's identities.
	Member, Cluster uint64
	// Name that the member has told the others, if its database knows it.
	Name string
	// Members of its group, as far as its database knows.
	Members []Member
}

// ErrNoMember: a folder holds no member's data.
var ErrNoMember = errors.New("there is no member's data")

// ReadSelf reads whose data a folder holds, of a member that does not run.
func ReadSelf(dir string) (*Self, error) {
	o := Options{Dir: dir}
	logs, err := filepath.Glob(filepath.Join(escapePattern(o.walDir()), "*.wal"))
	if err != nil {
		return nil, err
	}
	if len(logs) == 0 {
		return nil, ErrNoMember
	}
	slices.Sort(logs)
	s := &Self{}
	if s.Member, s.Cluster, err = readMetadata(logs[len(logs)-1]); err != nil {
		return nil, damaged(o.walDir(), err)
	}
	if s.Members, err = ReadMembers(dir); err != nil {
		return nil, err
	}
	if i := find(s.Members, s.Member); i >= 0 {
		s.Name = s.Members[i].Name
	}
	return s, nil
}

// HoldsOnly tells whether the data of a member that nobody has open hold no key but this one, in any revision. What has no database
// yet holds none.
func HoldsOnly(dir, key string) (only bool, err error) {
	file := (&Options{Dir: dir}).databaseFile()
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	b, err := openBolt(file)
	if err != nil {
		return false, damaged(file, err)
	}
	defer b.close()
	err = b.walkOne("key", func(_, value []byte) error {
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(value, &kv); err != nil {
			return shape("a value cannot be read: %v", err)
		}
		if string(kv.Key) != key {
			return io.EOF
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, damaged(file, err)
	}
	return true, nil
}

// frameMax bounds the records at the beginning of a log's file, in bytes.
const frameMax = 64 << 10

// readMetadata reads the beginning of a log's file: a checksum, then whose log it is. Each file has it. The whole log, which can be
// long, is left to etcd.
func readMetadata(file string) (member, cluster uint64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for range 2 {
		var frame [8]byte
		if _, err := io.ReadFull(f, frame[:]); err != nil {
			return 0, 0, err
		}
		// The lower 56 bits are the record's length; if the highest bit is set, the lowest three of the upper eight are how
		// much it is padded.
		field := binary.LittleEndian.Uint64(frame[:])
		length, padding := field&(1<<56-1), uint64(0)
		if field>>63 == 1 {
			padding = field >> 56 & 7
		}
		if length == 0 || length > frameMax {
			return 0, 0, fmt.Errorf("%s begins with no record", file)
		}
		data := make([]byte, length+padding)
		if _, err := io.ReadFull(f, data); err != nil {
			return 0, 0, err
		}
		record := &walpb.Record{}
		if err := proto.Unmarshal(data[:length], record); err != nil {
			return 0, 0, err
		}
		if record.GetType() != wal.MetadataType {
			continue
		}
		of := &etcdserverpb.Metadata{}
		if err := proto.Unmarshal(record.Data, of); err != nil {
			return 0, 0, err
		}
		return of.GetNodeID(), of.GetClusterID(), nil
	}
	return 0, 0, fmt.Errorf("%s does not say whose it is", file)
}

// escapePattern makes a path a pattern that matches itself.
func escapePattern(path string) string {
	var out []byte
	for i := range len(path) {
		if c := path[i]; c == '\\' || c == '*' || c == '?' || c == '[' {
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}

// MembersIn lists the group from a snapshot or a database that nobody has open.
func MembersIn(file string) ([]Member, error) {
	found, err := readMembership(file)
	if err != nil {
		return nil, err
	}
	return listed(found), nil
}
