package backups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// RestoreOptions say what becomes a master's data.
type RestoreOptions struct {
	// Snapshot is a file of etcd. Unhashed accepts one without a hash at its end, Checked one whose hash was compared already.
	Snapshot          string
	Unhashed, Checked bool
	// Keys are the authority's files and the encryption configuration, by their names in a data folder.
	Keys map[string][]byte
	// DataDir is made, or taken if it is empty. Replace moves what is in it aside.
	DataDir string
	Replace bool
	// Tell is told of each step; it may be nil.
	Tell func(step string)
}

// Restored is what a restore has made.
type Restored struct {
	// Revision at which the cluster continues.
	Revision int64
	// Moved is where the old data is now; empty if there was none.
	Moved string
}

// Restore makes a data folder from a snapshot. The master that starts on it is the only one of its cluster, whatever it was
// before; others may then join. All is made in a folder beside it and takes its place at the end: an interrupted restore
// leaves the old data, or nothing that starts.
func Restore(ctx context.Context, o RestoreOptions) (r *Restored, err error) {
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, err
	}
	p := &replacement{dir: dir}
	release, err := p.take(o.Replace)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := p.begin(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.undo())
		}
	}()
	r = &Restored{}
	if r.Revision, err = fill(p.next, &o); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o.Tell("the new data takes its place")
	r.Moved, err = p.swap()
	return r, err
}

// fill makes the new data.
func fill(dir string, o *RestoreOptions) (revision int64, err error) {
	o.Tell("keys are installed")
	for _, name := range slices.Sorted(maps.Keys(o.Keys)) {
		if err := installKey(dir, name, o.Keys[name]); err != nil {
			return 0, err
		}
	}
	name, err := datafolder.Identify(dir)
	if err != nil {
		return 0, err
	}
	o.Tell("the store is made from the snapshot")
	var before membership.Store
	sealed, some := false, false
	revision, err = etcd.Restore(etcd.RestoreOptions{
		Snapshot: o.Snapshot, Unhashed: o.Unhashed, Checked: o.Checked, Dir: filepath.Join(dir, "etcd"), Name: name, Token: string(uuid.NewUUID()),
		Bump: datafolder.RevisionBump,
		Drop: func(key, value []byte) bool {
			if string(key) == notes.Store {
				datafolder.NoteStore(&before, value)
				return true
			}
			some = some || bytes.HasPrefix(key, rootBytes)
			sealed = sealed || bytes.HasPrefix(value, encryptedValue)
			return ofThePast(key)
		},
	})
	if err != nil {
		return 0, err
	}
	if !some {
		return 0, fmt.Errorf("the snapshot holds no keys below %s: it is none of a Kubernetes cluster", registry.Root)
	}
	if sealed && o.Keys[datafolder.EncryptionFile] == nil && o.Keys[datafolder.OperatorEncryptionFile] == nil {
		return 0, errors.New("the snapshot holds encrypted objects, and there is no encryption configuration to read them with: restore a backup with its keys, or give --encryption-provider-config")
	}
	return revision, identifyRestored(dir, o.Snapshot, before)
}

// identifyRestored gives what was restored an identity of its own, and notes who may still have what it was made from.
func identifyRestored(dir, snapshot string, before membership.Store) error {
	members, err := etcd.MembersIn(snapshot)
	if err != nil {
		return err
	}
	kept, err := datafolder.KeptFor(filepath.Join(dir, "etcd"), before.Next(membership.OriginRestored, "", datafolder.FormerOf(members, 0), time.Now()))
	if err != nil {
		return err
	}
	return kept.Write(dir)
}

var rootBytes = []byte(registry.Root)

// Keys that speak of masters and terms that are no more, and of tokens that may have been used since.
var pastPrefixes = []string{registry.Root + "masterleases/", registry.Root + "peerserverleases/", notes.Terms, notes.Root + "shared", notes.Invitations}
var pastKeys = []string{leasePrefix + election.ControllerManager, leasePrefix + election.Scheduler}

const leasePrefix = registry.Root + "leases/kube-system/"

// ofThePast chooses what is not taken over: who led and which masters lived. It would have the new master wait for them.
func ofThePast(key []byte) bool {
	for _, prefix := range pastPrefixes {
		if len(key) >= len(prefix) && string(key[:len(prefix)]) == prefix {
			return true
		}
	}
	return slices.Contains(pastKeys, string(key))
}

// CheckKeyName finds a name among the keys of a backup that is none of a master's files.
func CheckKeyName(name string) error {
	if !filepath.IsLocal(name) || path.Clean(name) != name || name != datafolder.EncryptionFile && name != datafolder.OperatorEncryptionFile && !strings.HasPrefix(name, "pki/") {
		return fmt.Errorf("the keys hold a file that is none of a master's: %q", name)
	}
	return nil
}

// installKey writes one file of the authority or the encryption configuration.
func installKey(dir, name string, data []byte) error {
	if err := CheckKeyName(name); err != nil {
		return err
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(0o600)
	if strings.HasSuffix(name, ".crt") || strings.HasSuffix(name, ".pub") {
		mode = 0o644
	}
	return durable.Create(path, data, mode)
}

// KeyPrefix begins a cluster's keys in the store of a master.
const KeyPrefix = registry.Root
