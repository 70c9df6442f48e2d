package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// VerifyOptions of Verify.
type VerifyOptions struct {
	// Lock opens the keys; nil checks only their hash, and then encrypted values are counted but not decoded.
	Lock *Lock
	// Trust decides whether the objects are looked at: who wrote a backup decides what a decoder meets. Nil trusts everybody.
	Trust  *Trust
	Reader ReaderFunc
	// Temporary is a folder for the snapshot while it is read, if the vault is not on this machine.
	Temporary string
	Progress  Progress
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Verified is what a verification has looked at.
type Verified struct {
	Manifest *Manifest `json:"manifest"`
	// KeysOpened is false if the keys' hash alone was checked.
	KeysOpened bool `json:"keysOpened"`
	// Untrusted is why only hashes were compared.
	Untrusted error `json:"-"`
}

// damage is the content of DamagedFile.
type damage struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
}

// Verify reads a backup back and compares it with its manifest. One that is damaged is marked so, and a mark is taken away
// when nothing is wrong any more (a disk may have been unreadable for a while). A wrong key, or a vault that cannot be
// reached, says nothing of the backup.
func Verify(ctx context.Context, v Vault, b *Backup, o VerifyOptions) (*Verified, error) {
	if b.State == Unfinished {
		return nil, fmt.Errorf("backup %s is unfinished: %s", b.Name, b.Reason)
	}
	if b.Manifest == nil {
		return nil, fmt.Errorf("backup %s: %w: %s", b.Name, ErrDamaged, b.Reason)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	done, err := b.Manifest.verify(ctx, v, o)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	switch {
	case errors.Is(err, ErrDamaged):
		return nil, errors.Join(fmt.Errorf("backup %s: %w", b.Name, err), mark(ctx, v, b.Name, err, o.Now()))
	case err != nil:
		return nil, fmt.Errorf("backup %s: %w", b.Name, err)
	}
	if b.State == Damaged {
		if err := v.Remove(ctx, b.Name, DamagedFile); err != nil {
			return nil, err
		}
	}
	return done, nil
}

func (m *Manifest) verify(ctx context.Context, v Vault, o VerifyOptions) (*Verified, error) {
	done := &Verified{Manifest: m}
	if o.Trust != nil {
		err := o.Trust.Check(ctx, v, &Backup{Name: m.Name, State: Good, Manifest: m})
		if errors.Is(err, ErrUntrusted) {
			done.Untrusted = err
			return done, m.hashes(ctx, v, o.Progress)
		}
		if err != nil {
			return nil, err
		}
	}
	var keys map[string][]byte
	if m.HasKeys() {
		sealed, err := m.sealed(ctx, v)
		if err != nil {
			return nil, err
		}
		if o.Lock != nil && o.Lock.Opens() {
			if keys, err = o.Lock.open(m, sealed); err != nil {
				return nil, err
			}
			done.KeysOpened = true
		}
	}
	reader, err := o.Reader(m.Prefix, keys)
	if err != nil {
		return nil, err
	}
	content, err := m.content(ctx, v, reader, o.Temporary, o.Progress)
	if err != nil {
		return nil, err
	}
	return done, m.compareContent(content, done.KeysOpened)
}

// compareContent: whether values can be read is compared only when the keys are known, as they were at the creation.
func (m *Manifest) compareContent(c *Content, withKeys bool) error {
	switch {
	case c.Revision != m.Revision:
		return fmt.Errorf("%w: it holds revision %d, its manifest says %d", ErrDamaged, c.Revision, m.Revision)
	case c.Objects != m.Objects || !maps.Equal(c.Kinds, m.Kinds):
		return fmt.Errorf("%w: it holds %d objects, its manifest says %d", ErrDamaged, c.Objects, m.Objects)
	case c.Digest != m.Digest:
		return fmt.Errorf("%w: its objects are others than its manifest says", ErrDamaged)
	case c.Encrypted != m.Encrypted:
		return fmt.Errorf("%w: it holds %d encrypted values, its manifest says %d", ErrDamaged, c.Encrypted, m.Encrypted)
	case withKeys && !maps.Equal(c.Unreadable, m.Unreadable):
		why := "values can be read that could not"
		if len(c.Faults) > 0 {
			why = fmt.Sprintf("values cannot be read, among them %s: %v", c.Faults[0].Key, c.Faults[0].Err)
		}
		return fmt.Errorf("%w: %s", ErrDamaged, why)
	}
	return nil
}

// mark notes beside a backup that it is damaged.
func mark(ctx context.Context, v Vault, name string, why error, now time.Time) error {
	data, err := json.Marshal(damage{Time: now.UTC().Truncate(time.Second), Reason: why.Error()})
	if err != nil {
		return err
	}
	if err := v.Write(ctx, name, DamagedFile, bytes.NewReader(data), int64(len(data))); err != nil {
		return fmt.Errorf("that could not be noted beside the backup: %w", err)
	}
	return nil
}

func readDamage(ctx context.Context, v Vault, name string) string {
	var d damage
	data, err := readAll(ctx, v, name, DamagedFile, manifestMax)
	if err == nil {
		err = json.Unmarshal(data, &d)
	}
	if err != nil {
		return "a verification failed"
	}
	if len(d.Reason) > textMax || !printable.MatchString(d.Reason) { // anybody may have written it
		d.Reason = fmt.Sprintf("%.*q", textMax, d.Reason)
	}
	return fmt.Sprintf("verification failed on %s: %s", d.Time.Format(time.DateTime), d.Reason)
}

// Fetch gives the path of a copy of a backup's snapshot, whose hash has been checked, in a folder on this machine; release removes it.
func Fetch(ctx context.Context, v Vault, b *Backup, temporary string, progress Progress) (file string, release func(), err error) {
	if b.Manifest == nil {
		return "", nil, fmt.Errorf("backup %s is %s: %s", b.Name, b.State, b.Reason)
	}
	return b.Manifest.fetch(ctx, v, temporary, true, progress)
}

// OpenKeys opens a backup's keys.
func OpenKeys(ctx context.Context, v Vault, b *Backup, lock *Lock) (map[string][]byte, error) {
	switch {
	case b.Manifest == nil:
		return nil, fmt.Errorf("backup %s is %s: %s", b.Name, b.State, b.Reason)
	case !b.Manifest.HasKeys():
		return nil, fmt.Errorf("backup %s was made without keys: the authority is not inside", b.Name)
	case lock == nil:
		return nil, fmt.Errorf("the keys of backup %s are sealed: give the --backup-passphrase-file or --backup-key-file with which it was made", b.Name)
	}
	sealed, err := b.Manifest.sealed(ctx, v)
	if err != nil {
		return nil, err
	}
	return lock.open(b.Manifest, sealed)
}
