// How a restored data folder takes the place of an old one.

package backups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// replacement brings a new data folder into the place of an old one.
type replacement struct {
	dir string
	// next is where the new data is made: beside dir, or inside if dir is a file system of its own, which cannot be renamed.
	next   string
	inside bool
	old    bool // there is data that must be moved aside
	stamp  string
}

// take locks the data folder, if there is one, and checks that it may be replaced.
func (p *replacement) take(replace bool) (release func(), err error) {
	p.mark(time.Now().UTC().Format("20060102T150405Z"))
	release = func() {}
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return release, durable.MakeFolder(filepath.Dir(p.dir), 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("the data folder %s cannot be read: %w", p.dir, err)
	}
	interrupted := false
	for _, e := range entries {
		interrupted = interrupted || e.Name() == datafolder.RestoringFile
		p.old = p.old || !passive[e.Name()] && !strings.HasPrefix(e.Name(), datafolder.MovedPrefix) && !strings.HasPrefix(e.Name(), datafolder.RestorePrefix)
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
	if err := p.bringBackups(); err != nil {
		f.Close()
		return nil, err
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
	return noLock == nil && datafolder.HoldsMember(dir)
}

// mark names what this restore moves aside by a time, and by a number if there has been another in the same second.
func (p *replacement) mark(at string) {
	p.stamp = at
	for n := 2; ; n++ {
		_, beside := os.Lstat(p.dir + datafolder.MovedPrefix + p.stamp)
		_, inside := os.Lstat(filepath.Join(p.dir, datafolder.MovedPrefix+p.stamp))
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
func (p *replacement) mounts(entries []fs.DirEntry) (inside bool, err error) {
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

// mounted tells whether a folder is the root of a file system. It is a variable for tests, which mount none.
var mounted = func(dir string) (bool, error) {
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &here), unix.Stat(filepath.Dir(dir), &above)); err != nil {
		return false, err
	}
	return here.Dev != above.Dev, nil
}

// begin makes the folder for the new data, and removes those of restores that were interrupted.
func (p *replacement) begin() error {
	prefix := p.dir + datafolder.RestorePrefix
	if p.inside {
		prefix = filepath.Join(p.dir, datafolder.RestorePrefix)
	}
	left, err := filepath.Glob(datafolder.Escape(prefix) + "*")
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
	at("begun")
	return nil
}

// undo removes the new data, unless it is in place.
func (p *replacement) undo() error {
	if p.next == "" {
		return nil
	}
	return os.RemoveAll(p.next)
}

// swap puts the new data in place, durably.
func (p *replacement) swap() (moved string, err error) {
	if err := durable.SyncTree(p.next); err != nil {
		return "", err
	}
	at("filled")
	if p.inside {
		return p.swapInside()
	}
	parent := filepath.Dir(p.dir)
	_, err = os.Stat(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", durable.Rename(p.next, p.dir)
	}
	if err != nil {
		return "", err
	}
	// The new data gets the name that the old will have before the two change places: what an interrupted restore leaves under the
	// name of p.next is removed, and must never be the old data.
	moved = p.dir + datafolder.MovedPrefix + p.stamp
	// The backups follow the data. Until they have, nothing starts, and the next restore knows where they are.
	mark := filepath.Join(p.next, datafolder.RestoringFile)
	if err := datafolder.WriteFile(mark, []byte(interruptedHere+backupsAt+filepath.Base(moved)+"\n")); err != nil {
		return "", err
	}
	if err := durable.Rename(p.next, moved); err != nil {
		return "", err
	}
	p.next = moved
	at("named")
	// Both names change at once: at no time is there an empty place on which a master would start a new cluster.
	if err := unix.Renameat2(unix.AT_FDCWD, moved, unix.AT_FDCWD, p.dir, unix.RENAME_EXCHANGE); err != nil {
		return "", fmt.Errorf("the new data cannot take the place of %s: %w", p.dir, err)
	}
	p.next = "" // from here on it is the old data that is aside
	at("exchanged")
	err = errors.Join(durable.SyncFolder(parent), rename(filepath.Join(moved, "backups"), filepath.Join(p.dir, "backups")))
	if err == nil {
		at("backups moved")
		err = durable.Remove(filepath.Join(p.dir, datafolder.RestoringFile))
	}
	if err != nil {
		return moved, fmt.Errorf("the new data is in place and the old in %s, but: %w", moved, err)
	}
	if !p.old && os.Remove(filepath.Join(moved, "lock")) == nil && os.Remove(moved) == nil {
		moved = ""
	}
	return moved, nil
}

// interruptedHere is what the mark of a restore says; after backupsAt it says in which folder beside the data the backups are.
const (
	interruptedHere = "A restore was interrupted here: run it again.\n"
	backupsAt       = "The backups are in "
)

// bringBackups puts the backups back in place that an interrupted restore has left beside the data.
func (p *replacement) bringBackups() error {
	mark, err := os.ReadFile(filepath.Join(p.dir, datafolder.RestoringFile))
	_, name, ok := strings.Cut(string(mark), backupsAt)
	name = strings.TrimSpace(name)
	if err != nil || !ok || name != filepath.Base(name) || !strings.HasPrefix(name, filepath.Base(p.dir)+datafolder.MovedPrefix) {
		return nil
	}
	own := filepath.Join(p.dir, "backups")
	if _, err := os.Lstat(own); err == nil {
		return nil
	}
	return rename(filepath.Join(filepath.Dir(p.dir), name, "backups"), own)
}

// rename moves what there is.
func rename(from, to string) error {
	err := durable.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// swapInside moves entries one by one; the mark keeps masters off until all are in place.
func (p *replacement) swapInside() (moved string, err error) {
	mark := filepath.Join(p.dir, datafolder.RestoringFile)
	if err := datafolder.WriteFile(mark, []byte(interruptedHere)); err != nil {
		return "", err
	}
	at("marked")
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return "", err
	}
	aside := filepath.Join(p.dir, datafolder.MovedPrefix+p.stamp)
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		name := e.Name()
		return passive[name] || name == datafolder.RestoringFile || strings.HasPrefix(name, datafolder.MovedPrefix) || strings.HasPrefix(name, datafolder.RestorePrefix)
	})
	if len(entries) > 0 {
		if err := os.Mkdir(aside, 0o700); err != nil {
			return "", err
		}
		moved = aside
		if err := moveAll(p.dir, aside, entries); err != nil {
			return moved, err
		}
	}
	if entries, err = os.ReadDir(p.next); err != nil {
		return moved, err
	}
	if err := moveAll(p.next, p.dir, entries); err != nil {
		return moved, err
	}
	if err := durable.Remove(p.next); err != nil {
		return moved, err
	}
	at("emptied")
	return moved, durable.Remove(mark)
}

// moveAll moves entries of a folder into another, durably.
func moveAll(from, to string, entries []fs.DirEntry) error {
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return durable.MoveAll(from, to, names, func(name string) { at("moved " + name) })
}

// at is where tests end the process: step was done last.
var at = func(step string) {}
