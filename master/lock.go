package master

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// ours are the entries of a data folder; anything else means that the folder belongs to something else.
var ours = map[string]bool{"etcd": true, "pki": true, "lock": true, "identity": true, encryptionFile: true, "admin.kubeconfig": true, "backups": true, OperatorEncryptionFile: true, "joining": true, "peer-port": true, "recovered": true, externalName: true, "lost+found": true}

// lock takes the data folder for this process. It is released when the returned file is closed, or by the kernel
// when the process ends in any way.
func lock(dir string) (*os.File, error) {
	if err := own(dir); err != nil {
		return nil, err
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
	left, err := filepath.Glob(filepath.Join(dir, pki.TemporaryPrefix+"*"))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// own makes the folder, or checks that it holds nothing foreign.
func own(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("the data folder %s cannot be made: %w", dir, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("the data folder %s cannot be read: %w", dir, err)
	}
	for _, e := range entries {
		if e.Name() == restoring {
			return fmt.Errorf("a restore into the data folder %s was interrupted: run wheelhouse backup restore again", dir)
		}
		if !ours[e.Name()] && !strings.HasPrefix(e.Name(), pki.TemporaryPrefix) && !strings.HasPrefix(e.Name(), asidePrefix) &&
			!strings.HasPrefix(e.Name(), movedSuffix) && !strings.HasPrefix(e.Name(), nextSuffix) {
			return fmt.Errorf("the data folder %s holds %s, which no master wrote: choose an empty folder with --data-dir", dir, e.Name())
		}
	}
	return nil
}
