package datafolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// Lock takes the data folder for this process. It is released when the returned file is closed, or by the kernel
// when the process ends in any way.
func Lock(dir string, log func(format string, args ...any)) (*os.File, error) {
	strays, err := own(dir)
	if err != nil {
		return nil, err
	}
	if len(strays) > 0 {
		log("the data folder %s holds what no master wrote, which is left alone: %s", dir, strings.Join(strays, ", "))
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data folder %s cannot be written: %w", dir, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another process runs on the data folder %s: stop it, or choose another --data-dir", dir)
		}
		return nil, fmt.Errorf("the data folder %s cannot be locked: %w", dir, err)
	}
	return file, clean(dir)
}

// clean removes the files that a crash has kept from getting their names. The caller holds the lock.
func clean(dir string) error {
	left, err := filepath.Glob(filepath.Join(Escape(dir), durable.TemporaryPrefix+"*"))
	inside, _ := filepath.Glob(filepath.Join(Escape(dir), "etcd", durable.TemporaryPrefix+"*"))
	for _, name := range append(left, inside...) {
		if info, gone := os.Lstat(name); gone == nil && info.Mode().IsRegular() { // nothing else is ours
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// own makes the folder, or checks that it is no other program's. What lies in a master's folder besides, as an editor's copy
// or what a file system keeps at its root, is left alone, and keeps no master from starting.
func own(dir string) (strays []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := durable.MakeFolder(dir, 0o700); err != nil {
			return nil, fmt.Errorf("the data folder %s cannot be made: %w", dir, err)
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the data folder %s cannot be read: %w", dir, err)
	}
	live := false
	for _, e := range entries {
		if e.Name() == RestoringFile {
			return nil, fmt.Errorf("a restore into the data folder %s was interrupted: run wheelhouse backup restore again", dir)
		}
		live = live || slices.Contains(proofs, e.Name())
		if !written(e.Name()) {
			strays = append(strays, e.Name())
		}
	}
	if len(strays) > 0 && !live {
		return nil, fmt.Errorf("the folder %s is no master's, and holds %s: name a folder of its own with --data-dir, which is made if it does not exist", dir, strays[0])
	}
	return strays, nil
}

// written tells whether a master gives such a name.
func written(name string) bool {
	if entries[name] {
		return true
	}
	for _, prefix := range []string{durable.TemporaryPrefix, RecoveryPrefix, MovedPrefix, RestorePrefix} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
