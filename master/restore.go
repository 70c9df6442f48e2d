package master

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
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

// revisionBump is by how much the revision grows at a restore: by more than a cluster can have written since the snapshot
// (a year at thirty writes a second), as etcd's documentation advises.
const revisionBump = 1_000_000_000

// restoring marks a data folder in which a restore was interrupted. Nothing starts on it.
const restoring = "restoring"

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
	p := &placement{dir: dir}
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
	name, err := identify(dir)
	if err != nil {
		return 0, err
	}
	o.Tell("the store is made from the snapshot")
	var before membership.Store
	sealed, some := false, false
	revision, err = etcd.Restore(etcd.RestoreOptions{
		Snapshot: o.Snapshot, Unhashed: o.Unhashed, Checked: o.Checked, Dir: filepath.Join(dir, "etcd"), Name: name, Token: string(uuid.NewUUID()),
		Bump: revisionBump,
		Drop: func(key, value []byte) bool {
			if string(key) == storeKey {
				noteStore(&before, value)
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
	if sealed && o.Keys[encryptionFile] == nil && o.Keys[OperatorEncryptionFile] == nil {
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
	kept, err := keptFor(filepath.Join(dir, "etcd"), before.Next(membership.OriginRestored, "", formerOf(members, 0), time.Now()))
	if err != nil {
		return err
	}
	return kept.write(dir)
}

var rootBytes = []byte(registry.Root)

// Keys that speak of masters and terms that are no more, and of tokens that may have been used since.
var pastPrefixes = []string{registry.Root + "masterleases/", registry.Root + "peerserverleases/", termsPrefix, wheelhousePrefix + "shared", invitationsPrefix}
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
	if !filepath.IsLocal(name) || name != encryptionFile && name != OperatorEncryptionFile && !strings.HasPrefix(name, "pki/") {
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
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// placement brings a new data folder into the place of an old one.
type placement struct {
	dir string
	// next is where the new data is made: beside dir, or inside if dir is a file system of its own, which cannot be renamed.
	next   string
	inside bool
	old    bool // there is data that must be moved aside
	stamp  string
}

// Names of what a restore makes beside or in a data folder.
const (
	nextSuffix  = ".restore-"
	movedSuffix = ".replaced-"
)

// take locks the data folder, if there is one, and checks that it may be replaced.
func (p *placement) take(replace bool) (release func(), err error) {
	p.mark(time.Now().UTC().Format("20060102T150405Z"))
	release = func() {}
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return release, os.MkdirAll(filepath.Dir(p.dir), 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("the data folder %s cannot be read: %w", p.dir, err)
	}
	interrupted := false
	for _, e := range entries {
		interrupted = interrupted || e.Name() == restoring
		p.old = p.old || !passive[e.Name()] && !strings.HasPrefix(e.Name(), movedSuffix) && !strings.HasPrefix(e.Name(), nextSuffix)
	}
	if p.old && !replace && !interrupted {
		return nil, fmt.Errorf("the data folder %s is not empty: choose another with --data-dir, or give --replace, which moves what is in it aside", p.dir)
	}
	if p.old && !interrupted && !mastersOwn(p.dir) {
		return nil, fmt.Errorf("the folder %s is none that a master made, and is not moved aside: choose another with --data-dir, or move it yourself", p.dir)
	}
	if p.inside, err = p.mounts(entries); err != nil {
		return nil, err
	}
	// Not by lock: what is in the folder need not be ours, and an interrupted restore is no obstacle here.
	f, err := os.OpenFile(filepath.Join(p.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data folder %s cannot be written: %w", p.dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("a master runs on the data folder %s: stop it first", p.dir)
	}
	return func() { f.Close() }, nil
}

// namePattern is that of a master's name.
var namePattern = regexp.MustCompile(`^\S+_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\s*$`)

// mastersOwn tells whether a master made a folder: its name is in it, or its member of the store beside its lock.
func mastersOwn(dir string) bool {
	if name, err := os.ReadFile(filepath.Join(dir, "identity")); err == nil && namePattern.Match(name) {
		return true
	}
	_, noLock := os.Lstat(filepath.Join(dir, "lock"))
	return noLock == nil && holdsMember(dir)
}

// mark names what this restore moves aside by a time, and by a number if there has been another in the same second.
func (p *placement) mark(at string) {
	p.stamp = at
	for n := 2; ; n++ {
		_, beside := os.Lstat(p.dir + movedSuffix + p.stamp)
		_, inside := os.Lstat(filepath.Join(p.dir, movedSuffix+p.stamp))
		if beside != nil && inside != nil {
			return
		}
		p.stamp = fmt.Sprintf("%s-%d", at, n)
	}
}

// passive are entries of a data folder that a restore leaves where they are; a folder with nothing else is empty.
var passive = map[string]bool{"lock": true, "lost+found": true, "backups": true}

// mounts tells whether what is in the data folder must be moved one by one, since the folder, or that of the backups in it, is a
// file system of its own. Other data that is one cannot be moved aside, and would cover the new data when it is mounted again.
func (p *placement) mounts(entries []fs.DirEntry) (inside bool, err error) {
	if inside, err = mounted(p.dir); err != nil {
		return false, err
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "lost+found" {
			continue
		}
		path := filepath.Join(p.dir, e.Name())
		own, err := mounted(path)
		switch {
		case err != nil:
			return false, err
		case own && !passive[e.Name()]:
			return false, fmt.Errorf("%s is a file system of its own, which a restore cannot move aside: unmount it first, or choose another --data-dir", path)
		}
		inside = inside || own
	}
	return inside, nil
}

// mounted tells whether a folder is the root of a file system.
func mounted(dir string) (bool, error) {
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &here), unix.Stat(filepath.Dir(dir), &above)); err != nil {
		return false, err
	}
	return here.Dev != above.Dev, nil
}

// begin makes the folder for the new data, and removes those of restores that were interrupted.
func (p *placement) begin() error {
	prefix := p.dir + nextSuffix
	if p.inside {
		prefix = filepath.Join(p.dir, nextSuffix)
	}
	left, err := filepath.Glob(escape(prefix) + "*")
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	p.next = prefix + p.stamp
	if err := os.Mkdir(p.next, 0o700); err != nil {
		return fmt.Errorf("the data folder cannot be made: %w", err)
	}
	return nil
}

// escape makes a path a pattern that matches itself.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// undo removes the new data, unless it is in place.
func (p *placement) undo() error {
	if p.next == "" {
		return nil
	}
	return os.RemoveAll(p.next)
}

// swap puts the new data in place, durably.
func (p *placement) swap() (moved string, err error) {
	if err := syncTree(p.next); err != nil {
		return "", err
	}
	if p.inside {
		return p.swapInside()
	}
	parent := filepath.Dir(p.dir)
	_, err = os.Stat(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.Join(os.Rename(p.next, p.dir), syncFolder(parent))
	}
	if err != nil {
		return "", err
	}
	// The new data gets the name that the old will have before the two change places: what an interrupted restore leaves under the
	// name of p.next is removed, and must never be the old data.
	moved = p.dir + movedSuffix + p.stamp
	if err := os.Rename(p.next, moved); err != nil {
		return "", err
	}
	p.next = moved
	if err := syncFolder(parent); err != nil {
		return "", err
	}
	// Both names change at once: at no time is there an empty place on which a master would start a new cluster.
	if err := unix.Renameat2(unix.AT_FDCWD, moved, unix.AT_FDCWD, p.dir, unix.RENAME_EXCHANGE); err != nil {
		return "", fmt.Errorf("the new data cannot take the place of %s: %w", p.dir, err)
	}
	p.next = "" // from here on it is the old data that is aside
	err = errors.Join(syncFolder(parent), rename(filepath.Join(moved, "backups"), filepath.Join(p.dir, "backups")), syncFolder(p.dir))
	if err != nil {
		return moved, fmt.Errorf("the new data is in place and the old in %s, but: %w", moved, err)
	}
	if !p.old && os.Remove(filepath.Join(moved, "lock")) == nil && os.Remove(moved) == nil {
		moved = ""
	}
	return moved, nil
}

// rename moves what there is.
func rename(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// swapInside moves entries one by one; the mark keeps masters off until all are in place.
func (p *placement) swapInside() (moved string, err error) {
	mark := filepath.Join(p.dir, restoring)
	if err := os.WriteFile(mark, []byte("A restore was interrupted here: run it again.\n"), 0o600); err != nil {
		return "", err
	}
	if err := syncFolder(p.dir); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return "", err
	}
	aside := filepath.Join(p.dir, movedSuffix+p.stamp)
	for _, e := range entries {
		name := e.Name()
		if passive[name] || name == restoring || strings.HasPrefix(name, movedSuffix) || strings.HasPrefix(name, nextSuffix) {
			continue
		}
		if moved == "" {
			if err := os.Mkdir(aside, 0o700); err != nil {
				return "", err
			}
			moved = aside
		}
		if err := os.Rename(filepath.Join(p.dir, name), filepath.Join(aside, name)); err != nil {
			return moved, err
		}
	}
	if entries, err = os.ReadDir(p.next); err != nil {
		return moved, err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(p.next, e.Name()), filepath.Join(p.dir, e.Name())); err != nil {
			return moved, err
		}
	}
	if err := errors.Join(os.Remove(p.next), syncFolder(p.dir)); err != nil {
		return moved, err
	}
	return moved, errors.Join(os.Remove(mark), syncFolder(p.dir))
}

// syncTree makes the folders durable; the files in them are already.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncFolder(path)
	})
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// KeyPrefix begins a cluster's keys in the store of a master.
const KeyPrefix = registry.Root

// EncryptionFile is the name of the encryption configuration that masters keep by themselves, in a data folder and among the
// keys of a backup; OperatorEncryptionFile that of one that was given with --encryption-provider-config, which a restore puts
// into the data folder.
const (
	EncryptionFile         = encryptionFile
	OperatorEncryptionFile = "encryption-provider-config.yaml"
)
