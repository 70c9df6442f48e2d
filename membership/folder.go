package membership

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Folder is what a master that is told to join finds in its data folder.
type Folder struct {
	// Member tells that there is a member's data, and Authority is the certificate of the authority, nil without one.
	Member    bool
	Authority []byte
	// Unfinished tells that an earlier join was cut off.
	Unfinished bool
}

// Decide whether to join. A folder of the same cluster needs no joining; one of another is refused.
func (f Folder) Decide(dir string, hashes []string, external bool) (join bool, err error) {
	switch ours := Pinned(f.Authority, hashes); {
	case f.Unfinished:
		return true, nil
	case f.Member && !ours:
		return false, fmt.Errorf("the data folder %s holds a master of another cluster: choose an empty one with --data-dir, or empty it; nothing was changed", dir)
	case f.Authority != nil && !ours:
		return false, fmt.Errorf("the data folder %s holds the authority of another cluster, or --discovery-token-ca-cert-hash is wrong: choose an empty folder with --data-dir; nothing was changed", dir)
	case f.Member, ours && external:
		return false, nil
	}
	return true, nil
}

// MarkName is the file in the data folder that is there while a master joins.
const MarkName = "joining"

// KeyName is the file in the data folder with the key for which a master that joins is sent the shared files. It stays until the
// master has joined, so that the same token serves for another attempt of the same master.
const KeyName = "join-key"

// Mark remembers what was in the folders before a master began to join, so that all else can be removed if it fails.
type Mark struct {
	// Folders that are written, and the Had paths in them.
	Folders, Had []string

	file string
}

// kept are the entries of a data folder that have nothing to do with joining.
var kept = map[string]bool{"lock": true, "identity": true, MarkName: true, KeyName: true, "lost+found": true}

// NewMark writes the mark into a data folder; others are folders outside it that are written too.
func NewMark(dir string, others ...string) (*Mark, error) {
	m := &Mark{file: filepath.Join(dir, MarkName)}
	for _, folder := range append([]string{dir}, others...) {
		folder, err := filepath.Abs(folder) // the next start may be in another folder
		if err != nil {
			return nil, err
		}
		m.Folders = append(m.Folders, folder)
		err = walk(folder, func(path string) error {
			m.Had = append(m.Had, path)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(m.file, data, 0o600); err != nil {
		return nil, fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return m, nil
}

// ReadMark of a data folder; nil if there is none.
func ReadMark(dir string) (*Mark, error) {
	m := &Mark{file: filepath.Join(dir, MarkName)}
	data, err := os.ReadFile(m.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	if json.Unmarshal(data, m) != nil { // cut off before anything else was written
		m.Folders = nil
	}
	return m, nil
}

// Done removes the mark: the master has joined.
func (m *Mark) Done() error { return os.Remove(m.file) }

// Undo removes what was written since the mark, and then the mark.
func (m *Mark) Undo() error {
	had := map[string]bool{}
	for _, path := range m.Had {
		had[path] = true
	}
	var failed []error
	for _, folder := range m.Folders {
		var folders []string
		err := walk(folder, func(path string) error {
			if had[path] {
				return nil
			}
			if info, err := os.Lstat(path); err == nil && info.IsDir() {
				folders = append(folders, path)
				return nil
			}
			return os.Remove(path)
		})
		failed = append(failed, err)
		for i := len(folders) - 1; i >= 0; i-- { // the inner before the outer
			failed = append(failed, os.Remove(folders[i]))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("what an attempt to join has written cannot be removed: %w", err)
	}
	return os.Remove(m.file)
}

// walk all below a folder but what is kept.
func walk(folder string, f func(path string) error) error {
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		if rest, ok := strings.CutPrefix(path, folder+string(filepath.Separator)); ok && kept[rest] {
			return nil
		}
		return f(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
