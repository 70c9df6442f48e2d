package membership

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// Folder is what a master that is told to join finds in its data folder.
type Folder struct {
	// Member tells that there is a member's data, and Authority is the certificate of the authority, nil without one.
	Member    bool
	Authority []byte
	// Unfinished tells that an earlier join was cut off.
	Unfinished bool
}

// Plan is what a master that is told to join does.
type Plan int

// Plans. AskFirst asks the cluster that is named whether the folder is part of it; Replace asks it whether it is there, and
// then moves aside what is in the folder.
const (
	Start Plan = iota
	Join
	AskFirst
	Replace
)

// Decide what to do. A folder of the same cluster needs no joining, if it still belongs to it; one of another is refused, unless
// it may be replaced.
func (f Folder) Decide(dir string, hashes []string, external, replace bool) (Plan, error) {
	const how = "choose another with --data-dir, or add --replace to move what is in it aside and join as a new master; nothing was changed"
	switch ours := Pinned(f.Authority, hashes); {
	case f.Unfinished:
		return Join, nil
	case !ours && (f.Member || f.Authority != nil) && replace:
		return Replace, nil
	case f.Member && !ours:
		return Start, fmt.Errorf("the data folder %s holds a master of another cluster: %s", dir, how)
	case f.Authority != nil && !ours:
		return Start, fmt.Errorf("the data folder %s holds the authority of another cluster, or --discovery-token-ca-cert-hash is wrong: %s", dir, how)
	case f.Member:
		return AskFirst, nil
	case ours && external:
		return Start, nil
	}
	return Join, nil
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
	// Aside is where the folder's former data are, or are being moved while Moving; empty if there were none. They are put back if the
	// join fails.
	Aside  string `json:",omitempty"`
	Moving bool   `json:",omitempty"`

	file string
}

// kept are the entries of a data folder that have nothing to do with joining.
var kept = map[string]bool{"lock": true, "identity": true, MarkName: true, KeyName: true, "lost+found": true}

// NewMark writes the mark into a data folder, whose former data are aside; others are folders outside it that are written too.
func NewMark(dir, aside string, others ...string) (*Mark, error) {
	m := &Mark{Aside: aside, file: filepath.Join(dir, MarkName)}
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
	return m, m.write()
}

// MarkMoving writes the mark of a data folder whose data are about to be moved aside.
func MarkMoving(dir, aside string) (*Mark, error) {
	m := &Mark{Aside: aside, Moving: true, file: filepath.Join(dir, MarkName)}
	return m, m.write()
}

// write the mark, which is whole or as it was before at any time: it knows where the old data are.
func (m *Mark) write() error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := durable.Replace(m.file, data, 0o600); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return nil
}

// ReadMark of a data folder; nil if there is none.
func ReadMark(dir string) (*Mark, error) {
	m := &Mark{}
	file := filepath.Join(dir, MarkName)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	if json.Unmarshal(data, m) != nil { // an older version's, cut off before anything else was written
		m = &Mark{}
	}
	m.file = file
	return m, nil
}

// Done removes the mark: the master has joined.
func (m *Mark) Done() error { return durable.Remove(m.file) }

// Undo removes what was written since the mark, puts back what was moved aside, and then removes the mark. What is cut off is
// gone on with by the next Undo.
func (m *Mark) Undo() error {
	if err := m.Clear(); err != nil {
		return err
	}
	if m.Aside != "" {
		if !m.Moving {
			m.Folders, m.Had, m.Moving = nil, nil, true
			if err := m.write(); err != nil {
				return err
			}
		}
		if err := m.putBack(); err != nil {
			return fmt.Errorf("the old data cannot be put back from %s: %w", m.Aside, err)
		}
	}
	return m.Done()
}

func (m *Mark) putBack() error {
	dir := filepath.Dir(m.file)
	entries, err := os.ReadDir(m.Aside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var failed []error
	for _, e := range entries {
		failed = append(failed, durable.Rename(filepath.Join(m.Aside, e.Name()), filepath.Join(dir, e.Name())))
	}
	if err := errors.Join(append(failed, err)...); err != nil {
		return err
	}
	return errors.Join(os.Remove(m.Aside), durable.SyncFolder(dir))
}

// Clear removes what was written since the mark.
func (m *Mark) Clear() error {
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
	return nil
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
