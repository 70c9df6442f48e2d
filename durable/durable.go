// Package durable writes files that a power loss cannot halve: after it a file is whole, or what it was before. When a function
// returns without an error, what it did stays.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// TemporaryPrefix begins the names of files that are being written. A crash may leave them behind; who owns the folder removes them.
const TemporaryPrefix = ".new-"

// Replace writes a file, in the place of the one that has the name, if there is one. Its folder must be there.
func Replace(path string, data []byte, mode os.FileMode) error {
	return ReplaceWith(path, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// ReplaceWith is Replace for what is written piece by piece.
func ReplaceWith(path string, mode os.FileMode, write func(io.Writer) error) error {
	temporary, err := Temporary(filepath.Dir(path), mode, write)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	at("renamed")
	return SyncFolder(filepath.Dir(path))
}

// Create writes a file that must not be there yet, and gives it its name when it is whole: a file that is there is never touched, and what
// a crash leaves is no file of that name.
func Create(path string, data []byte, mode os.FileMode) error {
	if _, err := os.Lstat(path); err == nil { // the place decides; this only spares the writing
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	temporary, err := Temporary(filepath.Dir(path), mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	if err := place(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return SyncFolder(filepath.Dir(path))
}

// place gives a file a name that nothing has.
func place(temporary, path string) error {
	err := renameNew(temporary, path)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // NFS, for one, knows no such rename
		if err := os.Link(temporary, path); err != nil {
			return err
		}
		at("linked")
		return os.Remove(temporary)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: temporary, New: path, Err: err}
	}
	at("renamed")
	return nil
}

// renameNew is a variable for tests of file systems that do not have it.
var renameNew = func(from, to string) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
}

// at is where tests end the process: step was done last.
var at = func(step string) {}

// Rename moves a file or folder within a file system.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	at("renamed")
	if filepath.Dir(from) == filepath.Dir(to) {
		return SyncFolder(filepath.Dir(to))
	}
	return errors.Join(SyncFolder(filepath.Dir(to)), SyncFolder(filepath.Dir(from)))
}

// MoveAll moves entries of a folder into another, and syncs each folder once. moved is told after each. When it returns, also with an error,
// what it has moved stays: until then no other file may get one of the names.
func MoveAll(from, to string, names []string, moved func(name string)) error {
	var failed error
	for _, name := range names {
		if failed = os.Rename(filepath.Join(from, name), filepath.Join(to, name)); failed != nil {
			break
		}
		moved(name)
	}
	return errors.Join(failed, SyncFolder(to), SyncFolder(from))
}

// Remove removes a file, or an empty folder. One that is not there is none that stays away: a crash may have come between the removal and
// the disk, and whoever repeats it relies on that it holds now. Without the folder above, nothing can come back.
func Remove(path string) error {
	err := os.Remove(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	at("removed")
	if err := SyncFolder(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// MakeFolder makes a folder, and those above it that are missing.
func MakeFolder(path string, mode os.FileMode) error {
	missing := 0
	above := filepath.Clean(path)
	for ; ; above = filepath.Dir(above) {
		if _, err := os.Stat(above); !errors.Is(err, fs.ErrNotExist) || above == filepath.Dir(above) {
			break
		}
		missing++
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	for above = filepath.Dir(filepath.Clean(path)); missing > 0; above = filepath.Dir(above) {
		if err := SyncFolder(above); err != nil {
			return err
		}
		missing--
	}
	return nil
}

// temporaryMode is what os.CreateTemp gives. Some mounted file systems know no other and refuse to change it.
const temporaryMode = 0o600

// Temporary writes a file under a name that nobody knows, and forces its content to the disk. It is for who puts several files into
// place at once: the file is whole, and gets its name with a rename and SyncFolder.
func Temporary(dir string, mode os.FileMode, write func(io.Writer) error) (name string, err error) {
	f, err := os.CreateTemp(dir, TemporaryPrefix+"*")
	if err != nil {
		return "", err
	}
	at("made")
	if err = write(f); err == nil && mode != temporaryMode {
		err = f.Chmod(mode)
	}
	at("written")
	if err == nil {
		err = f.Sync()
	}
	at("synced")
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// SyncFolder forces the names in a folder to the disk: of what was made, renamed or removed there.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = errors.Join(d.Sync(), d.Close())
	at("synced folder")
	return err
}

// SyncTree is SyncFolder for a folder and all below it. The content of the files is not its business.
func SyncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return SyncFolder(path)
	})
}
