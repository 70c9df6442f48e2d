package pki

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// file is one file to write; nil data removes it.
type file struct {
	name string
	data []byte
}

// mode of a file: private keys are their owner's alone.
func (f file) mode() os.FileMode {
	if strings.HasSuffix(f.name, ".key") {
		return 0o600
	}
	return 0o644
}

// differences are the files by which after differs from before, in the order of fileNames.
func differences(before, after map[string][]byte) []file {
	var all []file
	for _, name := range fileNames() {
		if !bytes.Equal(before[name], after[name]) {
			all = append(all, file{name, after[name]})
		}
	}
	return all
}

// folder reads and writes files so that after a crash at any time all files of one write are there or none.
//
// Files that were not there before are put into place in order, and what a crash left out is made at the next
// start. As soon as one replaces another the whole write goes into a journal first: once that has its name the write
// has happened; it is repeated at the next start if the journal is still there.
type folder struct {
	dir string // empty: nothing is read or written
	// fault, in tests, may let an operation fail; nothing is forced to the disk then.
	fault func(operation string) error
	// unfinished tells that a write has happened whose files are not all in place.
	unfinished bool
}

// journalName is the file that holds a write until all its files are in place.
const journalName = ".pending"

// journal is a write in its file; null removes.
type journal map[string][]byte

// abandoned is the age from which on a temporary file is nobody's any more.
const abandoned = time.Minute

// load reads those files that are there, after finishing a write that a crash has interrupted.
func (d *folder) load(names []string) (map[string][]byte, error) {
	if d.dir == "" {
		return map[string][]byte{}, nil
	}
	if err := durable.MakeFolder(d.dir, 0o755); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	if err := d.finish(); err != nil {
		return nil, err
	}
	d.clean()
	return d.read(names)
}

// finish puts the files of a journal into place, if there is one.
func (d *folder) finish() error {
	pending, err := d.pending()
	if err != nil {
		return err
	}
	if pending != nil {
		if _, err = d.install(pending); err == nil {
			err = d.closeJournal()
		}
		if err != nil {
			return fmt.Errorf("pki: finishing an interrupted write: %w", err)
		}
	}
	d.unfinished = false
	return nil
}

// read gives the files that are there, without changing any: as if an interrupted write were finished.
func (d *folder) read(names []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(d.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
		if data == nil {
			data = []byte{}
		}
		files[name] = data
	}
	pending, err := d.pending()
	if err != nil {
		return nil, err
	}
	for _, f := range pending {
		if f.data == nil {
			delete(files, f.name)
		} else {
			files[f.name] = f.data
		}
	}
	return files, nil
}

// pending is the write in the journal; nil without one.
func (d *folder) pending() ([]file, error) {
	path := filepath.Join(d.dir, journalName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	var j journal
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("pki: %s is damaged (%w): restore the folder from a backup, or remove the file to go on with what is there", path, err)
	}
	all := []file{}
	for _, name := range fileNames() {
		if content, ok := j[name]; ok {
			all = append(all, file{name, content})
		}
	}
	return all, nil
}

// write makes the files durable. happened tells that they count though there was an error: the rest is done by finish.
func (d *folder) write(files []file) (happened bool, err error) {
	if d.dir == "" || len(files) == 0 {
		return true, nil
	}
	if d.unfinished {
		if err := d.finish(); err != nil {
			return false, err
		}
	}
	journaled := len(files) > 1 && slices.ContainsFunc(files, func(f file) bool {
		_, err := os.Lstat(filepath.Join(d.dir, f.name))
		return err == nil
	})
	if !journaled {
		_, err = d.install(files)
	} else {
		happened, err = d.writeJournaled(files)
	}
	if err != nil {
		return happened, fmt.Errorf("pki: %w", err)
	}
	return true, nil
}

func (d *folder) writeJournaled(files []file) (happened bool, err error) {
	j := journal{}
	for _, f := range files {
		j[f.name] = f.data
	}
	data, err := json.Marshal(j)
	if err != nil {
		return false, err
	}
	if err := d.openJournal(data); err != nil {
		return false, errors.Join(err, d.remove(filepath.Join(d.dir, journalName)))
	}
	begun, err := d.install(files)
	if err != nil && !begun {
		// Such as a full disk: the write is taken back.
		return false, errors.Join(err, d.remove(filepath.Join(d.dir, journalName)))
	}
	if err == nil {
		err = d.closeJournal()
	}
	d.unfinished = err != nil
	return true, err
}

func (d *folder) openJournal(data []byte) error {
	temporary, err := d.writeTemporary(journalName, data, 0o600)
	if err != nil {
		return err
	}
	if err := d.rename(temporary, filepath.Join(d.dir, journalName)); err != nil {
		os.Remove(temporary)
		return err
	}
	return d.sync(d.dir)
}

func (d *folder) closeJournal() error {
	if err := d.remove(filepath.Join(d.dir, journalName)); err != nil {
		return err
	}
	return d.sync(d.dir)
}

// install writes the files beside the old ones, makes them durable in parallel, and then puts them into place in order.
// begun tells whether any was put into place.
func (d *folder) install(files []file) (begun bool, err error) {
	dirs := []string{d.dir}
	for _, f := range files {
		if dir := filepath.Dir(filepath.Join(d.dir, f.name)); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
			if err := durable.MakeFolder(dir, 0o755); err != nil {
				return false, err
			}
		}
	}
	temporary := make([]string, len(files))
	failed := make([]error, len(files))
	var wait sync.WaitGroup
	for n, f := range files {
		if f.data == nil {
			continue
		}
		wait.Go(func() {
			temporary[n], failed[n] = d.writeTemporary(f.name, f.data, f.mode())
		})
	}
	wait.Wait()
	err = errors.Join(failed...)
	for n, f := range files {
		path := filepath.Join(d.dir, f.name)
		switch {
		case err != nil:
		case f.data == nil:
			err = d.remove(path)
		default:
			err = d.rename(temporary[n], path)
		}
		begun = begun || err == nil
		if err != nil && temporary[n] != "" {
			os.Remove(temporary[n])
		}
	}
	for _, dir := range dirs {
		if err == nil {
			err = d.sync(dir)
		}
	}
	return begun, err
}

// may is where tests let an operation fail.
func (d *folder) may(operation string) error {
	if d.fault == nil {
		return nil
	}
	return d.fault(operation)
}

func (d *folder) rename(from, to string) error {
	if err := d.may("rename " + filepath.Base(to)); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (d *folder) remove(path string) error {
	if err := d.may("remove " + filepath.Base(path)); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *folder) sync(dir string) error {
	if err := d.may("sync " + filepath.Base(dir)); err != nil {
		return err
	}
	if d.fault != nil {
		return nil
	}
	return durable.SyncFolder(dir)
}

// writeTemporary writes the new file of that name beside the old one.
func (d *folder) writeTemporary(name string, data []byte, mode os.FileMode) (string, error) {
	if err := d.may("write " + name); err != nil {
		return "", err
	}
	return durable.Temporary(filepath.Dir(filepath.Join(d.dir, name)), mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// clean removes what crashes have left behind.
func (d *folder) clean() {
	for _, pattern := range []string{durable.TemporaryPrefix + "*", "etcd/" + durable.TemporaryPrefix + "*"} {
		left, err := filepath.Glob(filepath.Join(d.dir, pattern))
		if err != nil {
			continue
		}
		for _, name := range left {
			if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > abandoned {
				os.Remove(name)
			}
		}
	}
}
