package foldertest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// Master is one that has run: what it left, and what its files say.
type Master struct {
	Authority *pki.Authority
	Self      *etcd.Self
	// files by their place in the data folder.
	files map[string]file
}

// file is one without the zeroes at its end: etcd's log is mostly room.
type file struct {
	data []byte
	size int64
}

var masters = struct {
	sync.Mutex // guards made
	made       map[string]*Master
}{made: map[string]*Master{}}

// Of makes a master of a name, whose store holds one key, or gives the one that was made: it is dear to make.
func Of(t *testing.T, name string) *Master {
	t.Helper()
	masters.Lock()
	defer masters.Unlock()
	if one := masters.made[name]; one != nil {
		return one
	}
	one, err := begin(t, name)
	if err != nil {
		t.Fatal(err)
	}
	masters.made[name] = one
	return one
}

// Key is what the store of every master here holds.
const Key = "/registry/configmaps/default/precious"

func begin(t *testing.T, name string) (*Master, error) {
	t.Helper()
	dir := t.TempDir()
	authority, err := pki.Ensure(filepath.Join(dir, "pki"), pki.Options{Hostname: "localhost", Now: time.Now})
	if err != nil {
		return nil, err
	}
	keys, err := encryption.NewManaged()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, datafolder.EncryptionFile), keys.Bytes(), 0o600); err != nil {
		return nil, err
	}
	at := filepath.Join(dir, "etcd")
	opened, err := etcd.Open(t.Context(), etcd.Options{Dir: at, Name: name})
	if err != nil {
		return nil, err
	}
	_, err = opened.Create(t.Context(), Key, []byte("x"), 0)
	if err := errors.Join(err, opened.Close()); err != nil {
		return nil, err
	}
	self, err := etcd.ReadSelf(at)
	if err != nil {
		return nil, err
	}
	one := &Master{Authority: authority, Self: self, files: map[string]file{}}
	return one, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		one.files[name] = file{data: bytes.TrimRight(data, "\x00"), size: int64(len(data))}
		return err
	})
}

// put writes what lies at a place of the master's folder into another.
func (m *Master) put(dir, place string) error {
	for name, one := range m.files {
		if name != place && !within(name, place) {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, one.data, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(path, one.size); err != nil {
			return err
		}
	}
	return nil
}

func within(name, folder string) bool {
	rest, err := filepath.Rel(folder, name)
	return err == nil && filepath.IsLocal(rest)
}
