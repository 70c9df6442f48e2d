package datafolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// WriteFile writes a file that is there whole or as it was before, whenever a power cut comes.
func WriteFile(path string, data []byte) error {
	if err := durable.Replace(path, data, 0o600); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return nil
}

// RemoveFile removes an entry of a data folder, if it is there. It does not come back.
func RemoveFile(dir, name string) error {
	if err := durable.Remove(filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return nil
}

// MoveAside moves an entry of a folder, if it is there, into another. An empty folder, which may be where a disk was, stays.
func MoveAside(dir, name, aside string) error {
	path := filepath.Join(dir, name)
	if entries, err := os.ReadDir(path); err == nil && len(entries) == 0 {
		return nil
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := durable.MakeFolder(aside, 0o700); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	if err := durable.Rename(path, filepath.Join(aside, name)); err != nil {
		return fmt.Errorf("%s cannot be moved aside, perhaps because it is a file system of its own: move what is in it away by hand: %w", path, err)
	}
	return nil
}

// Moment is the time now, as part of a file's name.
func Moment() string { return time.Now().UTC().Format("20060102T150405.000Z") }

// Escape makes a path a pattern that matches itself.
func Escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
