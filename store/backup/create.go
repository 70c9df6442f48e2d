package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// Origin says what is backed up.
type Origin struct {
	// Cluster is the uid of the namespace kube-system.
	Cluster string `json:"cluster"`
	// Version of Kubernetes.
	Version string `json:"version"`
	// Prefix of the cluster's keys.
	Prefix string `json:"prefix"`
	// Signer of the cluster's backups.
	Signer string `json:"signer"`
}

// ReaderFunc makes a Reader of a cluster's keys below a prefix, which knows the encryption keys among keys, nil for none.
type ReaderFunc func(prefix string, keys map[string][]byte) (Reader, error)

// Census asks a source what it holds at a revision, to compare a snapshot with.
type Census struct {
	Revision int64 `json:"revision"`
	// Keys whose values' hashes are wanted.
	Keys []string `json:"keys,omitempty"`
}

// Counted is the answer to a Census.
type Counted struct {
	// Known is false if the revision has been compacted in the meantime: then there is nothing to compare with.
	Known bool `json:"known"`
	// Objects is the number of all keys that are the cluster's.
	Objects int64 `json:"objects"`
	// Hashes are the SHA-256 of the values of the keys asked for, in hexadecimal.
	Hashes map[string]string `json:"hashes,omitempty"`
}

// Source is a cluster that can be backed up.
type Source interface {
	Origin(ctx context.Context) (Origin, error)
	// Snapshot streams the store as etcdctl saves it; the size is 0 if it is not known.
	Snapshot(ctx context.Context) (io.ReadCloser, int64, error)
	// Keys are the authority's files and the encryption configuration, by names relative to a data folder.
	Keys(ctx context.Context) (map[string][]byte, error)
	// Count tells what the cluster holds.
	Count(ctx context.Context, c Census) (Counted, error)
	// Sign signs a manifest as Signer.Sign does.
	Sign(ctx context.Context, manifest []byte) (signature string, err error)
}

// CreateOptions of Create.
type CreateOptions struct {
	// Lock seals the keys; nil leaves them out, which WithoutKeys must confirm.
	Lock        *Lock
	WithoutKeys bool
	Reader      ReaderFunc
	// Temporary is a folder for the snapshot while it is verified, if the vault is not on this machine.
	Temporary string
	Progress  Progress
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// ErrNoLock: the operator has not said how the keys are sealed.
var ErrNoLock = errors.New("a backup holds the authority and keys, which must be sealed: give --backup-passphrase-file or --backup-key-file (wheelhouse backup keygen makes one), or leave the keys out with --without-keys (of a master: --backup-without-keys)")

func (o *CreateOptions) check() error {
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case o.Lock == nil && !o.WithoutKeys:
		return ErrNoLock
	case o.Lock != nil && o.WithoutKeys:
		return errors.New("--without-keys contradicts the passphrase or key file")
	}
	return nil
}

// Create writes a backup and reads it back: it decodes every object, compares hashes, and compares counts with what the
// source says. Only then does the manifest make a backup of it. What a failure leaves in the vault is removed.
func Create(ctx context.Context, from Source, v Vault, o CreateOptions) (*Manifest, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := v.Check(ctx); err != nil {
		return nil, err
	}
	origin, err := from.Origin(ctx)
	if err != nil {
		return nil, fmt.Errorf("the master does not answer: %w", err)
	}
	begun := o.Now()
	m := &Manifest{Format: format, Name: newName(begun), Time: begun.UTC().Truncate(time.Second),
		Cluster: origin.Cluster, Version: origin.Version, Prefix: origin.Prefix, Signer: origin.Signer, Files: map[string]File{}}
	if err := CheckSigner(m.Signer); err != nil {
		return nil, fmt.Errorf("the master cannot sign backups, and is perhaps an older one: %w", err)
	}
	snapshot, err := take(ctx, from, o)
	if err != nil {
		return nil, err
	}
	defer snapshot.data.Close()
	if err := m.create(ctx, from, v, o, snapshot); err != nil {
		return nil, errors.Join(err, discard(ctx, v, m.Name))
	}
	return m, nil
}

// create writes and verifies what the manifest will speak of, and then the manifest.
func (m *Manifest) create(ctx context.Context, from Source, v Vault, o CreateOptions, s *taken) error {
	if err := m.writeSnapshot(ctx, s, v, o.Progress); err != nil {
		return err
	}
	if !o.WithoutKeys {
		if err := m.writeKeys(ctx, v, o.Lock, s.keys); err != nil {
			return err
		}
	}
	content, err := m.readBack(ctx, v, o, s.keys)
	if err != nil {
		return err
	}
	if err := compare(ctx, from, content); err != nil {
		return err
	}
	m.hold(content)
	return m.finish(ctx, from, v, o)
}

// discardWait bounds the tidying after a failure.
const discardWait = 30 * time.Second

// discard removes what a failure left, also when ctx has ended. What cannot be removed has no manifest and is pruned later.
func discard(ctx context.Context, v Vault, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardWait)
	defer cancel()
	if err := v.Clear(ctx, name); err != nil {
		return fmt.Errorf("the unfinished backup %s is left in %s: %w", name, v, err)
	}
	return nil
}

func keysOf(ctx context.Context, from Source, o CreateOptions) (map[string][]byte, error) {
	if o.WithoutKeys {
		return nil, nil
	}
	keys, err := from.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("the master does not give its keys: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("the master has given no keys")
	}
	return keys, nil
}

// taken is a snapshot on its way, and the keys that go with it.
type taken struct {
	data io.ReadCloser
	size int64
	keys map[string][]byte
}

// takeTries bounds the tries to meet a moment at which no key changes.
const takeTries = 5

// take opens a snapshot with the keys of its time: those of before and after are the same.
func take(ctx context.Context, from Source, o CreateOptions) (*taken, error) {
	keys, err := keysOf(ctx, from, o)
	if err != nil {
		return nil, err
	}
	for range takeTries {
		data, size, err := from.Snapshot(ctx)
		if err != nil {
			return nil, fmt.Errorf("the master gives no snapshot: %w", err)
		}
		again, err := keysOf(ctx, from, o)
		if err == nil && maps.EqualFunc(keys, again, bytes.Equal) {
			return &taken{data, size, keys}, nil
		}
		data.Close()
		if err != nil {
			return nil, err
		}
		keys = again
	}
	return nil, errors.New("the cluster's keys are being changed: try again when that is done")
}

func (m *Manifest) writeSnapshot(ctx context.Context, s *taken, v Vault, progress Progress) error {
	sum := newChecksummed(s.data, func(done int64) { progress.tell("write", done, s.size) })
	// The size is not passed on: a stream that ends early must not look complete.
	if err := v.Write(ctx, m.Name, SnapshotFile, &whole{sum}, -1); err != nil {
		return err
	}
	m.Files[SnapshotFile] = sum.file()
	return nil
}

// whole ends a snapshot's stream with an error if it is not complete.
type whole struct{ *checksummed }

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.checksummed.Read(p)
	if errors.Is(err, io.EOF) {
		if wrong := w.checkEnd(); wrong != nil {
			return n, wrong
		}
	}
	return n, err
}

func (m *Manifest) writeKeys(ctx context.Context, v Vault, lock *Lock, keys map[string][]byte) error {
	sealed, err := lock.seal(keys)
	if err != nil {
		return fmt.Errorf("the keys cannot be sealed: %w", err)
	}
	if lock.Opens() { // what cannot be opened again is worth nothing
		again, err := lock.open(m, sealed)
		if err != nil {
			return fmt.Errorf("the sealed keys cannot be opened again: %w", err)
		}
		if !maps.EqualFunc(again, keys, bytes.Equal) {
			return errors.New("the sealed keys are others when they are opened again")
		}
	}
	if err := v.Write(ctx, m.Name, KeysFile, bytes.NewReader(sealed), int64(len(sealed))); err != nil {
		return err
	}
	sum := sha256.Sum256(sealed)
	m.Files[KeysFile] = File{Size: int64(len(sealed)), SHA256: hex.EncodeToString(sum[:])}
	return nil
}

// readBack compares what the vault now holds with what was written, and decodes it.
func (m *Manifest) readBack(ctx context.Context, v Vault, o CreateOptions, keys map[string][]byte) (*Content, error) {
	reader, err := o.Reader(m.Prefix, keys)
	if err != nil {
		return nil, err
	}
	if m.HasKeys() {
		if _, err := m.sealed(ctx, v); err != nil {
			return nil, err
		}
	}
	return m.content(ctx, v, reader, o.Temporary, o.Progress)
}

// content checks the snapshot's hash and decodes it.
func (m *Manifest) content(ctx context.Context, v Vault, r Reader, temporary string, progress Progress) (*Content, error) {
	file, release, err := m.fetch(ctx, v, temporary, false, progress)
	if err != nil {
		return nil, err
	}
	defer release()
	return contentOf(ctx, file, r, progress)
}

// fetch gives a path of the snapshot on this machine, whose hash has been checked: where it lies, or a copy that nobody who may write to
// the vault can change any more.
func (m *Manifest) fetch(ctx context.Context, v Vault, temporary string, own bool, progress Progress) (file string, release func(), err error) {
	r, size, err := m.open(ctx, v, SnapshotFile)
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	sum := newChecksummed(&bounded{ctx, r}, func(done int64) { progress.tell("verify", done, size) })
	release = func() {}
	to := io.Discard
	if file = v.Path(m.Name, SnapshotFile); file == "" || own {
		f, err := os.CreateTemp(temporary, durable.TemporaryPrefix+"wheelhouse-snapshot-*") // in its data folder a master removes at the start what a crash leaves
		if err != nil {
			return "", nil, fmt.Errorf("the snapshot needs a place on this machine while it is read: %w", err)
		}
		defer f.Close()
		file, to = f.Name(), f
		release = func() { os.Remove(f.Name()) }
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{to}, sum, make([]byte, copyBuffer))
	if err == nil {
		err = m.compareFile(SnapshotFile, sum.file())
	} else {
		err = fmt.Errorf("the snapshot of backup %s cannot be read from %s: %w", m.Name, v, err)
	}
	if err != nil {
		release()
		return "", nil, err
	}
	return file, release, nil
}

// open opens a file of the backup, of which no more than its size is read and one byte.
func (m *Manifest) open(ctx context.Context, v Vault, name string) (io.ReadCloser, int64, error) {
	r, size, err := v.Open(ctx, m.Name, name)
	if err != nil {
		return nil, 0, err
	}
	if want := m.Files[name].Size; size != want {
		r.Close()
		return nil, 0, m.compareFile(name, File{Size: size})
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, size+1), r}, size, nil
}

func (m *Manifest) compareFile(name string, got File) error {
	want := m.Files[name]
	if got.Size != want.Size {
		return fmt.Errorf("%w: %s has %d bytes instead of %d", ErrDamaged, name, got.Size, want.Size)
	}
	if got.SHA256 != want.SHA256 {
		return fmt.Errorf("%w: the hash of %s is another than when it was written", ErrDamaged, name)
	}
	return nil
}

// sealed reads the sealed keys and checks their hash.
func (m *Manifest) sealed(ctx context.Context, v Vault) ([]byte, error) {
	data, err := readAll(ctx, v, m.Name, KeysFile, keysMax)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	return data, m.compareFile(KeysFile, File{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
}

// compare asks the source what it holds at the snapshot's revision. A value that cannot be read is accepted only if it
// is the same in the cluster.
func compare(ctx context.Context, from Source, c *Content) error {
	census := Census{Revision: c.Revision}
	for _, f := range c.Faults {
		census.Keys = append(census.Keys, f.Key)
	}
	counted, err := from.Count(ctx, census)
	if err != nil {
		return fmt.Errorf("the backup cannot be compared with the cluster: %w", err)
	}
	var unreadable int64
	for _, n := range c.Unreadable {
		unreadable += n
	}
	if !counted.Known {
		if unreadable > 0 {
			return fmt.Errorf("%d values of the snapshot cannot be read, the first at %s (%v), and the cluster no longer knows revision %d to compare them with", unreadable, c.Faults[0].Key, c.Faults[0].Err, c.Revision)
		}
		return nil
	}
	if have := c.Objects - c.Kinds[Outside]; have != counted.Objects {
		return fmt.Errorf("the snapshot holds %d objects, the cluster at that revision %d", have, counted.Objects)
	}
	if unreadable > int64(len(c.Faults)) {
		return fmt.Errorf("%d values of the snapshot cannot be read, the first at %s: %w", unreadable, c.Faults[0].Key, c.Faults[0].Err)
	}
	for _, f := range c.Faults {
		if counted.Hashes[f.Key] != hex.EncodeToString(f.Hash[:]) {
			return fmt.Errorf("the value at %s cannot be read and is another than in the cluster: %w", f.Key, f.Err)
		}
	}
	return nil
}

// Outside is the kind of keys that are not the cluster's.
const Outside = "(outside)"

func (m *Manifest) hold(c *Content) {
	m.Revision, m.Objects, m.Kinds = c.Revision, c.Objects, c.Kinds
	m.Encrypted, m.Digest = c.Encrypted, c.Digest
	if len(c.Unreadable) > 0 {
		m.Unreadable = c.Unreadable
	}
}

// finish has the manifest signed, writes it and reads it back.
func (m *Manifest) finish(ctx context.Context, from Source, v Vault, o CreateOptions) error {
	m.Verified = o.Now().UTC().Truncate(time.Second)
	if o.Lock != nil {
		m.SealedFor, m.Vouchers = o.Lock.Recipients(), o.Lock.vouch(m.Signer)
	}
	data, err := m.plain()
	if err != nil {
		return err
	}
	if m.Signature, err = from.Sign(ctx, data); err != nil {
		return fmt.Errorf("the master does not sign the backup: %w", err)
	}
	data, err = m.encode()
	if err != nil {
		return err
	}
	if err := v.Write(ctx, m.Name, ManifestFile, bytes.NewReader(data), int64(len(data))); err != nil {
		return err
	}
	again, err := readManifest(ctx, v, m.Name)
	if err != nil {
		return fmt.Errorf("the manifest cannot be read back: %w", err)
	}
	m.Checksum = again.Checksum
	return nil
}

// told counts what passes.
type told struct {
	from io.Reader
	n    int64
	tell func(int64)
}

func (t *told) Read(p []byte) (int, error) {
	n, err := t.from.Read(p)
	t.n += int64(n)
	t.tell(t.n)
	return n, err
}
