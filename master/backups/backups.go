// Package backups makes a master's backups by a schedule, serves those who make one themselves, and restores. See DESIGN.md.
package backups

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/metrics"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

// Plan says which backups a master makes by itself.
type Plan struct {
	// Schedule in the form of cron, with five fields or "@daily" and the like; empty makes none.
	Schedule string
	// Retention of the backups in each vault.
	Retention backup.Retention
	// Vaults that each get every backup.
	Vaults []backup.Vault
	// Lock seals the keys; nil with WithoutKeys leaves them out.
	Lock        *backup.Lock
	WithoutKeys bool
}

// Options are what backups need of the master.
type Options struct {
	Plan
	// DataDir has room for what is made on the way; Self is the master's name.
	DataDir, Self string
	// Store holds the record of backups, Raw is the same store as it is copied: values as they are kept.
	Store, Raw store.Store
	Authority  *pki.Authority
	// KeysFile is the encryption configuration, and KeysName its name in a data folder; empty if nothing is encrypted.
	KeysFile, KeysName string
	// System is the uid of kube-system, which is the cluster's.
	System    func() (string, error)
	Privilege admin.Privilege
	Metrics   *metrics.Backups
	Log, Warn func(format string, args ...any)
}

// Backups are those of a master, which is their source.
type Backups struct{ Options }

// New makes backups of a master whose store is open.
func New(o Options) *Backups { return &Backups{o} }

// DefaultDir is where backups of a data folder go unless told otherwise.
func DefaultDir(dataDir string) string { return filepath.Join(dataDir, "backups") }

// Answer is what a master says before a backup.
type Answer struct {
	backup.Origin
	// Size of the store's file, in bytes.
	Size   int64          `json:"size"`
	Record *backup.Record `json:"record,omitempty"`
}

// Commands are how clients make backups.
func (b *Backups) Commands() []admin.Command {
	return []admin.Command{
		{Method: http.MethodGet, Path: "backup", Handler: admin.Handle(func(ctx context.Context, _ struct{}) (a Answer, err error) {
			if a.Origin, err = b.Origin(ctx); err != nil {
				return a, err
			}
			if a.Size, _, err = b.Store.Size(ctx); err != nil {
				return a, err
			}
			a.Record, _, err = b.readRecord(ctx)
			return a, err
		})},
		// What gives keys and data away is no GET: roles that may read all paths must not get it.
		{Method: http.MethodPost, Path: "backup/keys", Handler: admin.HandleRequest(func(r *http.Request, _ struct{}) (map[string][]byte, error) {
			if err := b.Privilege.Demand(r, "backup/keys"); err != nil {
				return nil, err
			}
			return b.Keys(r.Context())
		})},
		{Method: http.MethodPost, Path: "backup/sign", Handler: admin.HandleRequest(func(r *http.Request, manifest json.RawMessage) (s signature, err error) {
			if err := b.Privilege.Demand(r, "backup/sign"); err != nil {
				return s, err
			}
			s.Signature, err = b.Sign(r.Context(), manifest)
			return s, err
		})},
		{Method: http.MethodPost, Path: "backup/count", Handler: admin.Handle(b.Count)},
		{Method: http.MethodPost, Path: "backup/snapshot", Long: true, Handler: http.HandlerFunc(b.serveSnapshot)},
		{Method: http.MethodPost, Path: "backup/outcome", Handler: admin.Handle(func(ctx context.Context, o backup.Outcome) (struct{}, error) {
			return struct{}{}, b.record(ctx, func(r *backup.Record) { r.Add(o) })
		})},
	}
}

// signature is a master's of a manifest.
type signature struct {
	Signature string `json:"signature"`
}

// signingPurpose is what the key that signs backups is derived for.
const signingPurpose = "signatures of backups"

// SignerOf names who signs the backups of a cluster, by the keys of its authority; their names are those in a data folder.
func SignerOf(keys map[string][]byte) (string, error) {
	secret, err := pki.DeriveFrom(keys["pki/sa.key"], signingPurpose)
	if err != nil {
		return "", err
	}
	s, err := backup.NewSigner(secret)
	if err != nil {
		return "", err
	}
	return s.Name(), nil
}

func (b *Backups) signer() (*backup.Signer, error) {
	secret, err := b.Authority.Derive(signingPurpose)
	if err != nil {
		return nil, err
	}
	return backup.NewSigner(secret)
}

// Sign implements backup.Source.
func (b *Backups) Sign(ctx context.Context, manifest []byte) (string, error) {
	signer, err := b.signer()
	if err != nil {
		return "", err
	}
	o, err := b.Origin(ctx)
	if err != nil {
		return "", err
	}
	return signer.Sign(o.Cluster, manifest)
}

// snapshotter is a store that can be copied as a whole.
type snapshotter interface {
	Snapshot(ctx context.Context) (io.ReadCloser, int64, error)
}

// Origin implements backup.Source.
func (b *Backups) Origin(context.Context) (backup.Origin, error) {
	o := backup.Origin{Version: health.Version().GitVersion, Prefix: b.prefix()}
	var err error
	if o.Cluster, err = b.System(); err != nil {
		return o, err
	}
	signer, err := b.signer()
	if err != nil {
		return o, err
	}
	o.Signer = signer.Name()
	return o, nil
}

// prefix of the cluster's keys in etcd.
func (b *Backups) prefix() string {
	if named, ok := b.Raw.(interface{ RealKey(key string) string }); ok {
		return named.RealKey(registry.Root)
	}
	return registry.Root
}

// catchUpWait bounds how long a snapshot waits until this master has what the others have acknowledged. Without a majority
// that cannot be known, and what is here is worth keeping all the more.
const catchUpWait = 5 * time.Second

// Snapshot implements backup.Source.
func (b *Backups) Snapshot(ctx context.Context) (io.ReadCloser, int64, error) {
	from, ok := b.Raw.(snapshotter)
	if !ok {
		return nil, 0, admin.Refused("this master keeps its data in memory only: there is nothing to back up")
	}
	waiting, cancel := context.WithTimeout(ctx, catchUpWait)
	_, err := b.Raw.Revision(waiting)
	cancel()
	if err != nil && ctx.Err() == nil {
		b.Warn("the backup may lack the newest writes: the store does not say which they are: %v", err)
	}
	return from.Snapshot(ctx)
}

// Keys implements backup.Source.
func (b *Backups) Keys(context.Context) (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, data := range b.Authority.Shared() {
		files["pki/"+name] = data
	}
	if b.KeysFile == "" {
		return files, nil
	}
	data, err := os.ReadFile(b.KeysFile)
	if err == nil {
		files[b.KeysName] = data
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return files, nil
}

// censusKeysMax bounds the keys of a census.
const censusKeysMax = 10_000

// Count implements backup.Source.
func (b *Backups) Count(ctx context.Context, c backup.Census) (backup.Counted, error) {
	var out backup.Counted
	if len(c.Keys) > censusKeysMax {
		return out, admin.Refused("too many keys are asked for at once")
	}
	page, err := b.Raw.List(ctx, registry.Root, store.ListOptions{Revision: c.Revision, CountOnly: true})
	if errors.Is(err, store.ErrCompacted) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out = backup.Counted{Known: true, Objects: page.Count, Hashes: map[string]string{}}
	for _, key := range c.Keys {
		e, _, err := b.Raw.Get(ctx, registry.Root+strings.TrimPrefix(key, b.prefix()), c.Revision)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue
		case errors.Is(err, store.ErrCompacted):
			return backup.Counted{}, nil
		case err != nil:
			return backup.Counted{}, err
		}
		sum := sha256.Sum256(e.Value)
		out.Hashes[key] = hex.EncodeToString(sum[:])
	}
	return out, nil
}

const (
	// snapshotChunk is what is sent at once, in bytes; a caller that does not take it within snapshotStall is cut off, since the
	// database cannot reuse space while it is read.
	snapshotChunk = 1 << 20
	snapshotStall = time.Minute
)

// serveSnapshot streams the store. An error on the way breaks the connection, so that nobody takes a part for the whole.
func (b *Backups) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	from, _, err := b.Snapshot(r.Context())
	if err != nil {
		admin.WriteError(w, err)
		return
	}
	defer from.Close()
	connection := http.NewResponseController(w)
	defer func() { _ = connection.SetWriteDeadline(time.Time{}) }()
	w.Header().Set("Content-Type", "application/octet-stream")
	chunk := make([]byte, snapshotChunk)
	for {
		n, err := io.ReadFull(from, chunk)
		if n > 0 {
			_ = connection.SetWriteDeadline(time.Now().Add(snapshotStall))
			if _, err := w.Write(chunk[:n]); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return
		case err != nil:
			b.Warn("a snapshot broke off: %v", err)
			panic(http.ErrAbortHandler)
		}
	}
}

// readRecord reads what the cluster remembers of its backups; it is empty, and its revision 0, if there has been none.
func (b *Backups) readRecord(ctx context.Context) (record *backup.Record, revision int64, err error) {
	record = &backup.Record{}
	e, _, err := b.Store.Get(ctx, notes.Backup, 0)
	if errors.Is(err, store.ErrNotFound) {
		return record, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if err := json.Unmarshal(e.Value, record); err != nil {
		*record = backup.Record{} // it is written anew
	}
	return record, e.Revision, nil
}

// recordTries bounds the tries to change the record against others who change it.
const recordTries = 10

func (b *Backups) record(ctx context.Context, change func(*backup.Record)) error {
	var err error
	for range recordTries {
		var record *backup.Record
		var revision int64
		if record, revision, err = b.readRecord(ctx); err != nil {
			return err
		}
		change(record)
		data, failed := json.Marshal(record)
		if failed != nil {
			return failed
		}
		if revision == 0 {
			_, err = b.Store.Create(ctx, notes.Backup, data, 0)
		} else {
			_, err = b.Store.Update(ctx, notes.Backup, revision, data, 0)
		}
		var lost *store.Conflict
		if !errors.As(err, &lost) {
			return err
		}
	}
	return err
}
