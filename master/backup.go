package master

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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/control"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

// Backups says which backups a master makes by itself.
type Backups struct {
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

// DefaultBackupDir is where backups of a data folder go unless told otherwise.
func DefaultBackupDir(dataDir string) string { return filepath.Join(dataDir, "backups") }

// backupKey holds the record of backups.
const backupKey = wheelhousePrefix + "backup"

// BackupAnswer is what a master says before a backup.
type BackupAnswer struct {
	backup.Origin
	// Size of the store's file, in bytes.
	Size   int64          `json:"size"`
	Record *backup.Record `json:"record,omitempty"`
}

func (m *Master) backupCommands() []control.Command {
	source := (*backupSource)(m)
	return []control.Command{
		{Method: http.MethodGet, Path: "backup", Handler: control.Handle(func(ctx context.Context, _ struct{}) (a BackupAnswer, err error) {
			if a.Origin, err = source.Origin(ctx); err != nil {
				return a, err
			}
			if a.Size, _, err = m.store.Size(ctx); err != nil {
				return a, err
			}
			a.Record, err = m.lastBackup(ctx)
			return a, err
		})},
		// What gives keys and data away is no GET: roles that may read all paths must not get it.
		{Method: http.MethodPost, Path: "backup/keys", Handler: control.HandleRequest(func(r *http.Request, _ struct{}) (map[string][]byte, error) {
			if err := m.demandPrivilege(r, "backup/keys"); err != nil {
				return nil, err
			}
			return source.Keys(r.Context())
		})},
		{Method: http.MethodPost, Path: "backup/sign", Handler: control.HandleRequest(func(r *http.Request, manifest json.RawMessage) (s signature, err error) {
			if err := m.demandPrivilege(r, "backup/sign"); err != nil {
				return s, err
			}
			s.Signature, err = source.Sign(r.Context(), manifest)
			return s, err
		})},
		{Method: http.MethodPost, Path: "backup/count", Handler: control.Handle(source.Count)},
		{Method: http.MethodPost, Path: "backup/snapshot", Long: true, Handler: http.HandlerFunc(m.serveSnapshot)},
		{Method: http.MethodPost, Path: "backup/outcome", Handler: control.Handle(func(ctx context.Context, o backup.Outcome) (struct{}, error) {
			return struct{}{}, m.recordBackup(ctx, func(r *backup.Record) { r.Add(o) })
		})},
	}
}

// signature is a master's of a manifest.
type signature struct {
	Signature string `json:"signature"`
}

// signingPurpose is what the key that signs backups is derived for.
const signingPurpose = "signatures of backups"

// BackupSigner names who signs the backups of a cluster, by the keys of its authority; their names are those in a data folder.
func BackupSigner(keys map[string][]byte) (string, error) {
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

func (s *backupSource) signer() (*backup.Signer, error) {
	secret, err := s.authority.Derive(signingPurpose)
	if err != nil {
		return nil, err
	}
	return backup.NewSigner(secret)
}

// Sign implements backup.Source.
func (s *backupSource) Sign(ctx context.Context, manifest []byte) (string, error) {
	signer, err := s.signer()
	if err != nil {
		return "", err
	}
	o, err := s.Origin(ctx)
	if err != nil {
		return "", err
	}
	return signer.Sign(o.Cluster, manifest)
}

// snapshotter is a store that can be copied as a whole.
type snapshotter interface {
	Snapshot(ctx context.Context) (io.ReadCloser, int64, error)
}

// backupSource is a master as the source of a backup.
type backupSource Master

// Origin implements backup.Source.
func (s *backupSource) Origin(context.Context) (backup.Origin, error) {
	o := backup.Origin{Version: health.Version().GitVersion, Prefix: s.prefix()}
	namespaces, ok := s.registry.Resource(schema.GroupResource{Resource: "namespaces"})
	if !ok {
		return o, errors.New("namespaces are not served")
	}
	item := namespaces.Peek("", metav1.NamespaceSystem)
	if item == nil {
		return o, errors.New("there is no namespace kube-system, whose uid is the cluster's")
	}
	o.Cluster = string(item.Object().GetUID())
	signer, err := s.signer()
	if err != nil {
		return o, err
	}
	o.Signer = signer.Name()
	return o, nil
}

// prefix of the cluster's keys in etcd.
func (s *backupSource) prefix() string {
	if named, ok := s.raw.(interface{ RealKey(key string) string }); ok {
		return named.RealKey(registry.Root)
	}
	return registry.Root
}

// catchUpWait bounds how long a snapshot waits until this master has what the others have acknowledged. Without a majority
// that cannot be known, and what is here is worth keeping all the more.
const catchUpWait = 5 * time.Second

// Snapshot implements backup.Source.
func (s *backupSource) Snapshot(ctx context.Context) (io.ReadCloser, int64, error) {
	from, ok := s.raw.(snapshotter)
	if !ok {
		return nil, 0, control.Refused("this master keeps its data in memory only: there is nothing to back up")
	}
	waiting, cancel := context.WithTimeout(ctx, catchUpWait)
	_, err := s.raw.Revision(waiting)
	cancel()
	if err != nil && ctx.Err() == nil {
		s.config.warn("the backup may lack the newest writes: the store does not say which they are: %v", err)
	}
	return from.Snapshot(ctx)
}

// Keys implements backup.Source.
func (s *backupSource) Keys(context.Context) (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, data := range s.authority.Shared() {
		files["pki/"+name] = data
	}
	file, name := s.config.EncryptionConfig, OperatorEncryptionFile
	if s.config.managesKeys() {
		file, name = filepath.Join(s.config.DataDir, encryptionFile), encryptionFile
	}
	if file == "" {
		return files, nil
	}
	data, err := os.ReadFile(file)
	if err == nil {
		files[name] = data
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return files, nil
}

// censusKeysMax bounds the keys of a census.
const censusKeysMax = 10_000

// Count implements backup.Source.
func (s *backupSource) Count(ctx context.Context, c backup.Census) (backup.Counted, error) {
	var out backup.Counted
	if len(c.Keys) > censusKeysMax {
		return out, control.Refused("too many keys are asked for at once")
	}
	page, err := s.raw.List(ctx, registry.Root, store.ListOptions{Revision: c.Revision, CountOnly: true})
	if errors.Is(err, store.ErrCompacted) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out = backup.Counted{Known: true, Objects: page.Count, Hashes: map[string]string{}}
	for _, key := range c.Keys {
		e, _, err := s.raw.Get(ctx, registry.Root+strings.TrimPrefix(key, s.prefix()), c.Revision)
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
func (m *Master) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	from, _, err := (*backupSource)(m).Snapshot(r.Context())
	if err != nil {
		control.WriteError(w, err)
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
			m.config.warn("a snapshot broke off: %v", err)
			panic(http.ErrAbortHandler)
		}
	}
}

// lastBackup is what the cluster remembers of its backups; empty if there has been none.
func (m *Master) lastBackup(ctx context.Context) (*backup.Record, error) {
	record, _, err := m.readRecord(ctx)
	return record, err
}

func (m *Master) readRecord(ctx context.Context) (record *backup.Record, revision int64, err error) {
	record = &backup.Record{}
	e, _, err := m.store.Get(ctx, backupKey, 0)
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

func (m *Master) recordBackup(ctx context.Context, change func(*backup.Record)) error {
	var err error
	for range recordTries {
		var record *backup.Record
		var revision int64
		if record, revision, err = m.readRecord(ctx); err != nil {
			return err
		}
		change(record)
		data, failed := json.Marshal(record)
		if failed != nil {
			return failed
		}
		if revision == 0 {
			_, err = m.store.Create(ctx, backupKey, data, 0)
		} else {
			_, err = m.store.Update(ctx, backupKey, revision, data, 0)
		}
		var lost *store.Conflict
		if !errors.As(err, &lost) {
			return err
		}
	}
	return err
}
