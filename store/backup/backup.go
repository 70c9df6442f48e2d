// Package backup keeps copies of a cluster: the whole store and, sealed, the authority and keys without which the copy
// would be of no use.
//
// A backup is a folder (or the objects below one prefix) of a vault:
//
//	NAME/snapshot.db    the store, as etcdctl saves it
//	NAME/keys.sealed    authority and keys, sealed in the format of age
//	NAME/manifest.json  what the backup holds, written last and signed by a master: without it there is no backup
//	NAME/damaged.json   why a later verification failed, if one did
//
// The package knows keys and bytes; what an object is, it is told by a Reader.
package backup

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The files of a backup.
const (
	ManifestFile = "manifest.json"
	SnapshotFile = "snapshot.db"
	KeysFile     = "keys.sealed"
	DamagedFile  = "damaged.json"
)

// format is the version of the manifest that is written; later ones are refused, and that before had no signature.
const (
	format         = 2
	unsignedFormat = 1
)

// Bounds of what anybody who may write to a vault can put there: the size of a manifest and of the sealed keys, in bytes, and the
// number of files among the keys.
const (
	manifestMax = 1 << 20
	keysMax     = 64 << 20
	keyFilesMax = 1000
)

// Errors that callers tell apart.
var (
	// ErrNotFound: the vault holds no backup, or no file, of that name.
	ErrNotFound = errors.New("not found in the vault")
	// ErrDamaged: what is in the vault is not what was written.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrWrongKey: the passphrase or key does not open the sealed keys.
	ErrWrongKey = errors.New("the backup's keys cannot be opened")
)

// errLater: a manifest is that of a later version.
var errLater = errors.New("format")

// File is one file of a backup.
type File struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Manifest says what a backup holds. Its fields stand in the file in this order.
type Manifest struct {
	Format int       `json:"format"`
	Name   string    `json:"name"`
	Time   time.Time `json:"time"`
	// Cluster is the uid of the namespace kube-system: it stays the same over backup and restore.
	Cluster string `json:"cluster"`
	// Version of Kubernetes that the master served.
	Version string `json:"version"`
	// Prefix of the cluster's keys; others are of other users of a shared etcd.
	Prefix string `json:"prefix"`
	// Revision of the store that the snapshot holds.
	Revision int64 `json:"revision"`
	// Objects is the number of live keys, and Kinds how many there are of each resource.
	Objects int64            `json:"objects"`
	Kinds   map[string]int64 `json:"kinds"`
	// Encrypted values need the encryption keys to be read.
	Encrypted int64 `json:"encrypted"`
	// Unreadable values were so in the cluster already, by resource.
	Unreadable map[string]int64 `json:"unreadable,omitempty"`
	// Digest over all live keys and values, whatever the order and history in which the snapshot holds them.
	Digest string          `json:"digest"`
	Files  map[string]File `json:"files"`
	// Verified is when the backup was read back and found complete, for the first time.
	Verified time.Time `json:"verified"`
	// SealedFor are the recipients (age1…) of the sealed keys, or "passphrase".
	SealedFor []string `json:"sealedFor,omitempty"`
	// Signer is who signed the manifest: ed25519:… with the public key of the cluster's masters. Vouchers are what the holders of the
	// keys that open the backup's say of it.
	Signer   string   `json:"signer,omitempty"`
	Vouchers []string `json:"vouchers,omitempty"`
	// Signature over the manifest without this field and the next.
	Signature string `json:"signature,omitempty"`
	// Checksum over the manifest without this field.
	Checksum string `json:"checksum"`
}

// Size of all files but the manifest, in bytes.
func (m *Manifest) Size() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// HasKeys tells whether the authority and keys are inside.
func (m *Manifest) HasKeys() bool { _, ok := m.Files[KeysFile]; return ok }

// plain is the manifest as it is.
func (m *Manifest) plain() ([]byte, error) { return json.MarshalIndent(m, "", "  ") }

// encode writes the manifest with its checksum.
func (m *Manifest) encode() ([]byte, error) {
	c := *m
	c.Checksum = ""
	data, err := c.plain()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	c.Checksum = hex.EncodeToString(sum[:])
	data, err = c.plain()
	return append(data, '\n'), err
}

// parseManifest reads a manifest and checks its form.
func parseManifest(data []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%w: its manifest cannot be read: %v", ErrDamaged, err)
	}
	if m.Format > format {
		return &m, nil // it may have any other form
	}
	if err := m.checkForm(); err != nil {
		return nil, fmt.Errorf("%w: its manifest %v", ErrDamaged, err)
	}
	return &m, nil
}

// textMax bounds the names in a manifest.
const textMax = 400

// printable names do nothing to a terminal on which they are shown.
var printable = regexp.MustCompile(`^[\x20-\x7e]*$`)

var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkForm: a manifest names the files of a backup and no others, wherever they lie.
func (m *Manifest) checkForm() error {
	for _, text := range append([]string{m.Name, m.Cluster, m.Version, m.Prefix, m.Digest, m.Signer, m.Signature}, m.SealedFor...) {
		if len(text) > textMax && !strings.HasPrefix(text, "age1") || !printable.MatchString(text) {
			return errors.New("holds a name that is none")
		}
	}
	for name, f := range m.Files {
		if name != SnapshotFile && name != KeysFile {
			return fmt.Errorf("names a file %.40q, which no backup has", name)
		}
		if f.Size < 0 || !hashPattern.MatchString(f.SHA256) || name == KeysFile && f.Size > keysMax {
			return fmt.Errorf("gives no size and hash of %s", name)
		}
	}
	for kind := range m.Kinds {
		if !printable.MatchString(kind) {
			return errors.New("holds a name that is none")
		}
	}
	return nil
}

// decodeManifest reads a manifest; one with a single changed byte is refused.
func decodeManifest(name string, data []byte) (*Manifest, error) {
	m, err := parseManifest(data)
	if err != nil {
		return nil, err
	}
	if m.Format > format {
		return nil, fmt.Errorf("it has %w %d, this version reads formats up to %d: use a newer wheelhouse", errLater, m.Format, format)
	}
	again, err := m.encode()
	if err != nil || !bytes.Equal(again, data) {
		return nil, fmt.Errorf("%w: its manifest was changed after it was written", ErrDamaged)
	}
	if m.Name != name {
		return nil, fmt.Errorf("%w: its manifest is that of %s", ErrDamaged, m.Name)
	}
	if _, ok := m.Files[SnapshotFile]; !ok || m.Format < 1 {
		return nil, fmt.Errorf("%w: its manifest names no snapshot", ErrDamaged)
	}
	if err := m.checkSignature(); err != nil {
		return nil, fmt.Errorf("%w: no master has signed its manifest: %v", ErrDamaged, err)
	}
	if at, ok := timeOf(name); ok && m.Format > unsignedFormat && !at.Equal(m.Time) {
		return nil, fmt.Errorf("%w: its manifest is of another time than its name", ErrDamaged)
	}
	return m, nil
}

// nameTime begins every name, so that names sort by time.
const nameTime = "20060102T150405Z"

var namePattern = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$`)

// newName makes the name of a backup begun at a time. Its end keeps two of one second apart.
func newName(at time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return at.UTC().Format(nameTime) + "-" + hex.EncodeToString(b[:])
}

// timeOf is when the backup of that name was begun.
func timeOf(name string) (time.Time, bool) {
	if !namePattern.MatchString(name) {
		return time.Time{}, false
	}
	at, err := time.Parse(nameTime, name[:len(nameTime)])
	return at, err == nil
}

// Progress is told how far a phase has come, in bytes; total is 0 when it is not known. It must not block.
type Progress func(phase string, done, total int64)

func (p Progress) tell(phase string, done, total int64) {
	if p != nil {
		p(phase, done, total)
	}
}
