package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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
	// List gives what there is under names of backups, complete or not, in the order of names. An empty vault is no error; a folder
	// that is not there is ErrNoFolder.
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

// ErrNoFolder: the folder that is to hold backups does not exist.
var ErrNoFolder = errors.New("it does not exist")

// entriesMax bounds the backups of a vault: more have been put there by somebody who wants to do harm.
const entriesMax = 10_000

func tooMany(v Vault) error {
	return fmt.Errorf("%s holds more than %d backups: remove what is none of yours, or name another place", v, entriesMax)
}

// ofBackup are the files that a backup can have.
var ofBackup = map[string]bool{ManifestFile: true, SnapshotFile: true, KeysFile: true, DamagedFile: true}

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
	// snapshotSize tells that the snapshot is there with its size.
	snapshotSize bool
	// later tells that it was made by a later version.
	later bool
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
	case errors.Is(err, errLater): // anybody may have put it there: the others can be used all the same
		b.State, b.Reason, b.later = Damaged, err.Error(), true
		return nil
	case errors.Is(err, ErrDamaged):
		b.State, b.Reason = Damaged, strings.TrimPrefix(err.Error(), ErrDamaged.Error()+": ")
		return nil
	case err != nil:
		return err
	}
	b.Manifest, b.Time, b.State = m, m.Time, Good
	size, ok := e.Files[SnapshotFile]
	b.snapshotSize = ok && size == m.Files[SnapshotFile].Size
	for _, file := range slices.Sorted(maps.Keys(m.Files)) {
		f := m.Files[file]
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

// keysOnly tells that nothing but the sealed keys is known to be wrong with a backup: without them it can be restored.
func (b *Backup) keysOnly() bool { return b.State == Damaged && b.Manifest != nil && b.snapshotSize }

// Restorable tells why a backup cannot be restored; nil if it can, as far as can be seen without reading it.
func (b *Backup) Restorable(withoutKeys bool) error {
	if b.State == Good || withoutKeys && b.keysOnly() {
		return nil
	}
	return fmt.Errorf("backup %s is %s: %s", b.Name, b.State, b.Reason)
}

// Passed is a backup that was not chosen, and why.
type Passed struct {
	Backup *Backup
	Why    error
}

// Latest chooses the newest backup that is usable, and tells which newer ones are not. A wrong key says nothing of a backup: if those
// who signed the one that would be chosen have signed a newer one too, that is the latest, and the key is the wrong one. What nobody who is
// known has signed stands in nobody's way.
func Latest(all []Backup, usable func(*Backup) error) (b *Backup, passed []Passed, err error) {
	closed := map[string]error{} // by signer, the newest that the key does not open
	var wrong error
	for i := len(all) - 1; i >= 0; i-- {
		b, why := &all[i], usable(&all[i])
		var unknown *unknownError
		switch {
		case why == nil && closed[b.signer()] != nil:
			return nil, passed, closed[b.signer()]
		case why == nil:
			return b, passed, nil
		case errors.As(why, &unknown): // it may well be the latest
			return nil, passed, why
		case errors.Is(why, ErrWrongKey) && closed[b.signer()] == nil:
			closed[b.signer()] = why
			if wrong == nil {
				wrong = why
			}
		}
		passed = append(passed, Passed{b, why})
	}
	if wrong != nil {
		return nil, nil, wrong
	}
	return nil, passed, fmt.Errorf("no good backup: %w", ErrNotFound)
}

// signer of a backup, empty if nobody has signed it.
func (b *Backup) signer() string {
	if b.Manifest == nil {
		return ""
	}
	return b.Manifest.Signer
}

// unknownError is that of a vault which does not say what is to be known of a backup.
type unknownError struct{ error }

func (e *unknownError) Unwrap() error { return e.error }

// good is what is usable for those who take what the vault says.
func (b *Backup) good() error { return b.Restorable(false) }

// Find gives a backup by its name, by the beginning of its name if there is but one of them, or the latest good one for "latest".
func Find(ctx context.Context, v Vault, name string) (*Backup, error) {
	b, _, err := FindUsable(ctx, v, name, (*Backup).good)
	return b, err
}

// FindUsable is Find where latest is the latest usable one; passed are those that are newer and are not.
func FindUsable(ctx context.Context, v Vault, name string, usable func(*Backup) error) (b *Backup, passed []Passed, err error) {
	all, err := List(ctx, v)
	if err != nil {
		return nil, nil, err
	}
	if name == "latest" {
		b, passed, err := Latest(all, usable)
		if err != nil {
			return nil, passed, fmt.Errorf("%s: %w", v, err)
		}
		clusters := map[string]bool{}
		for i := range all {
			if m := all[i].Manifest; m != nil && all[i].State == Good && (m.Cluster == b.Manifest.Cluster || usable(&all[i]) == nil) {
				clusters[m.Cluster] = true
			}
		}
		if len(clusters) > 1 {
			return nil, passed, fmt.Errorf("%s holds backups of %d clusters: choose one by its name", v, len(clusters))
		}
		return b, passed, nil
	}
	var found []*Backup
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil, nil
		}
		if strings.HasPrefix(all[i].Name, name) {
			found = append(found, &all[i])
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil, nil
	case 0:
		return nil, nil, fmt.Errorf("backup %q: %w %s: see wheelhouse backup list", name, ErrNotFound, v)
	}
	return nil, nil, fmt.Errorf("backup %q: %d backups in %s begin so: give more of the name", name, len(found), v)
}

// NewestGood tells of the newest good backup, for messages about one that is not.
func NewestGood(ctx context.Context, v Vault) string {
	all, err := List(ctx, v)
	if err == nil {
		if b, _, err := Latest(all, (*Backup).good); err == nil {
			return fmt.Sprintf("the newest good one is %s, of %s", b.Name, b.Time.Format(time.DateTime))
		}
	}
	return "there is no good one"
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
