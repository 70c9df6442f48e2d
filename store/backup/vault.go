package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Vault is where backups are kept. A file appears in it whole or not at all.
type Vault interface {
	// String says where the vault is, for people.
	String() string
	// Check tells whether the vault can be reached and read.
	Check(ctx context.Context) error
	// List gives what there is, by name, complete or not, in the order of names. An empty vault is no error.
	List(ctx context.Context) ([]Entry, error)
	// Open reads a file; a missing one is ErrNotFound.
	Open(ctx context.Context, name, file string) (io.ReadCloser, int64, error)
	// Write writes a file; size is -1 if it is not known. If it fails, nothing is left of the file.
	Write(ctx context.Context, name, file string, from io.Reader, size int64) error
	// Remove removes a file; a missing one is no error.
	Remove(ctx context.Context, name, file string) error
	// Clear removes all that is left under a name, the manifest first, also parts of interrupted writes.
	Clear(ctx context.Context, name string) error
	// Path of a file on this machine, empty if the vault is elsewhere.
	Path(name, file string) string
}

// Entry is what a vault holds under one name.
type Entry struct {
	Name string
	// Files are the sizes of the complete files, in bytes.
	Files map[string]int64
	// Changed is when something last changed.
	Changed time.Time
}

// State of a backup.
type State string

// A backup is good if it was complete and verified when it was written and nothing has been found wrong since.
const (
	Good       State = "good"
	Damaged    State = "damaged"
	Unfinished State = "unfinished"
)

// Backup is one backup in a vault.
type Backup struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Reason why it is not good.
	Reason string `json:"reason,omitempty"`
	// Time when it was begun.
	Time time.Time `json:"time"`
	// Manifest is nil if there is none that can be read.
	Manifest *Manifest `json:"manifest,omitempty"`
	changed  time.Time
}

// List gives the backups of a vault, oldest first.
func List(ctx context.Context, v Vault) ([]Backup, error) {
	entries, err := v.List(ctx)
	if err != nil {
		return nil, err
	}
	var all []Backup
	for _, e := range entries {
		at, ok := timeOf(e.Name)
		if !ok {
			continue // not ours
		}
		b := Backup{Name: e.Name, Time: at, changed: e.Changed}
		if err := b.judge(ctx, v, e); err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Backup) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// judge finds the state by what can be seen without reading the snapshot.
func (b *Backup) judge(ctx context.Context, v Vault, e Entry) error {
	if _, ok := e.Files[ManifestFile]; !ok {
		b.State, b.Reason = Unfinished, "it was not completed"
		return nil
	}
	m, err := readManifest(ctx, v, e.Name)
	switch {
	case errors.Is(err, ErrNotFound): // removed in between
		b.State, b.Reason = Unfinished, "it was not completed"
		return nil
	case errors.Is(err, ErrDamaged):
		b.State, b.Reason = Damaged, strings.TrimPrefix(err.Error(), ErrDamaged.Error()+": ")
		return nil
	case err != nil:
		return err
	}
	b.Manifest, b.Time, b.State = m, m.Time, Good
	for file, f := range m.Files {
		switch size, ok := e.Files[file]; {
		case !ok:
			b.State, b.Reason = Damaged, file+" is missing"
		case size != f.Size:
			b.State, b.Reason = Damaged, fmt.Sprintf("%s has %d bytes instead of %d", file, size, f.Size)
		}
	}
	if _, ok := e.Files[DamagedFile]; ok && b.State == Good {
		b.State, b.Reason = Damaged, readDamage(ctx, v, e.Name)
	}
	return nil
}

// Latest is the newest good backup.
func Latest(all []Backup) (*Backup, error) {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].State == Good {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("no good backup: %w", ErrNotFound)
}

// Find gives a backup by its name, by the beginning of its name if there is but one of them, or the latest good one for "latest".
func Find(ctx context.Context, v Vault, name string) (*Backup, error) {
	all, err := List(ctx, v)
	if err != nil {
		return nil, err
	}
	if name == "latest" {
		clusters := map[string]bool{}
		for _, b := range all {
			if b.State == Good {
				clusters[b.Manifest.Cluster] = true
			}
		}
		if len(clusters) > 1 {
			return nil, fmt.Errorf("%s holds backups of %d clusters: choose one by its name", v, len(clusters))
		}
		b, err := Latest(all)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v, err)
		}
		return b, nil
	}
	var found []*Backup
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
		if strings.HasPrefix(all[i].Name, name) {
			found = append(found, &all[i])
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("backup %q: %w %s: see wheelhouse backup list", name, ErrNotFound, v)
	}
	return nil, fmt.Errorf("backup %q: %d backups in %s begin so: give more of the name", name, len(found), v)
}

func readManifest(ctx context.Context, v Vault, name string) (*Manifest, error) {
	data, err := readAll(ctx, v, name, ManifestFile, manifestMax)
	if err != nil {
		return nil, err
	}
	return decodeManifest(name, data)
}

func readAll(ctx context.Context, v Vault, name, file string, most int64) ([]byte, error) {
	r, _, err := v.Open(ctx, name, file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("%s of backup %s cannot be read: %w", file, name, err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrDamaged, file, most)
	}
	return data, nil
}
