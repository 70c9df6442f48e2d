// Package durable writes files that a power loss cannot halve: after it a file is whole, or what it was before. When a function
// returns without an error, what it did stays.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	return SyncFolder(filepath.Dir(path))
}

// Create writes a file that must not be there yet. One that could not be written whole is removed; one that a crash cut short stays, and
// keeps the next Create from taking it for whole.
func Create(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return SyncFolder(filepath.Dir(path))
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
	if err = write(f); err == nil && mode != temporaryMode {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
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
	return errors.Join(d.Sync(), d.Close())
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
