package encryption

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// recordKey holds the fingerprints of the writers that masters may use. A master whose file writes with another key would
// store what the others cannot read; it must not start.
const recordKey = root + "wheelhouse/encryption"

// secretsPrefix of what the managed configuration encrypts.
const secretsPrefix = root + "secrets/"

type record struct {
	// Keys are fingerprints by name.
	Keys map[string]string `json:"keys"`
	// Last is the highest number that a key ever had: names are never used again.
	Last int `json:"last,omitempty"`

	revision int64 // 0 if there is none yet
}

func readRecord(ctx context.Context, raw store.Store) (record, error) {
	e, _, err := raw.Get(ctx, recordKey, 0)
	if errors.Is(err, store.ErrNotFound) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	r := record{revision: e.Revision}
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return record{}, fmt.Errorf("the record of encryption keys in the cluster store (%s) cannot be read: %w", recordKey, err)
	}
	return r, nil
}

// write stores the record with other keys, if nobody else has changed it.
func (r *record) write(ctx context.Context, raw store.Store, keys map[string]string) error {
	if r.revision != 0 && maps.Equal(r.Keys, keys) {
		return nil
	}
	last := r.Last
	for name := range keys {
		last = max(last, number(name))
	}
	data, err := json.Marshal(record{Keys: keys, Last: last})
	if err != nil {
		return err
	}
	var revision int64
	if r.revision == 0 {
		revision, err = raw.Create(ctx, recordKey, data, 0)
	} else {
		revision, err = raw.Update(ctx, recordKey, r.revision, data, 0)
	}
	var lost *store.Conflict
	if errors.As(err, &lost) {
		return errors.New("another master is changing the encryption keys at the same time: look at wheelhouse encryption status, and try again")
	}
	if err == nil {
		r.Keys, r.Last, r.revision = keys, last, revision
	}
	return err
}

// Ensure makes the managed configuration at a cluster's first start, and checks it at later ones. made tells that it is new.
func Ensure(ctx context.Context, raw store.Store, file string) (made bool, err error) {
	m, err := ReadManaged(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	r, recordErr := readRecord(ctx, raw)
	if recordErr != nil {
		return false, recordErr
	}
	if m == nil {
		if err := mayMake(ctx, raw, file, &r); err != nil {
			return false, err
		}
		if m, err = NewManaged(); err != nil {
			return false, err
		}
		if err := WriteFile(file, m.Bytes()); err != nil {
			return false, err
		}
		made = true
	}
	if r.revision == 0 {
		err = r.write(ctx, raw, m.Prints())
		if err == nil {
			return made, nil
		}
		if r, recordErr = readRecord(ctx, raw); recordErr != nil {
			return false, recordErr
		}
	}
	if r.Keys[m.writes()] == m.Prints()[m.writes()] {
		return made, nil
	}
	if made { // another master was faster: the key has not been used
		_ = durable.Remove(file)
		return false, missing(file)
	}
	return false, fmt.Errorf("the encryption keys in %s are not those of the cluster: they are a former state, or another cluster's; copy the file from a master that runs", file)
}

// mayMake refuses a new key where other keys are in use.
func mayMake(ctx context.Context, raw store.Store, file string, r *record) error {
	if r.revision != 0 {
		return missing(file)
	}
	s := &Store{Store: raw}
	return s.scan(ctx, secretsPrefix, func(e store.Entry) error {
		if bytes.HasPrefix(e.Value, encrypted) {
			return missing(file)
		}
		return nil
	})
}

func missing(file string) error {
	return fmt.Errorf("the secrets in the cluster store are encrypted, and this master has not got the keys: put %s back, from another master or a backup, "+
		"or give the configuration that they were written with as --encryption-provider-config", file)
}

// Keys changes the managed configuration of all masters, step by step. Every step leaves a state in which all masters read
// what any of them writes; a change that was broken off is gone on with when it is asked for again, on any master.
type Keys struct {
	Store *Store
	// Publish returns when all masters use this master's file, or says which do not.
	Publish func(ctx context.Context) error
	// Report is told each step, and the progress of the rewrite.
	Report func(step string, p Progress)

	managed *Managed
	record  record
}

// Rotate brings a new key into use and drops the old: it can be read by all masters; then all write with it; then every
// secret is written anew; then the old key goes.
func (k *Keys) Rotate(ctx context.Context) error {
	if err := k.begin(ctx); err != nil {
		return err
	}
	m := k.managed
	if m.newest() == "" || len(m.keys()) == 1 && m.writes() == m.newest() {
		next := m.clone()
		if err := next.addKey(k.record.Last); err != nil {
			return err
		}
		if err := k.step(ctx, "give all masters the new key "+next.newest(), next); err != nil {
			return err
		}
	}
	return k.moveTo(ctx, k.managed.newest())
}

// Decrypt stores all secrets in plain, and drops the keys.
func (k *Keys) Decrypt(ctx context.Context) error {
	if err := k.begin(ctx); err != nil {
		return err
	}
	return k.moveTo(ctx, identityName)
}

// begin reads where things stand, and brings all masters there.
func (k *Keys) begin(ctx context.Context) (err error) {
	if k.managed, err = ReadManaged(k.Store.o.File); err != nil {
		return err
	}
	if k.record, err = readRecord(ctx, k.Store.Raw()); err != nil {
		return err
	}
	return k.step(ctx, "bring all masters to the present keys", k.managed)
}

// moveTo lets all masters write with a writer that all can read, rewrites everything, and drops the other keys.
func (k *Keys) moveTo(ctx context.Context, name string) error {
	if k.managed.writes() != name {
		next := k.managed.clone()
		next.first(name)
		if err := k.step(ctx, "write with "+name, next); err != nil {
			return err
		}
	}
	step := "rewrite the secrets with " + name
	k.Report(step, Progress{})
	if err := k.Store.Rewrite(ctx, func(p Progress) { k.Report(step, p) }); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	last := k.managed.clone()
	last.only(name)
	if err := k.step(ctx, "drop the former keys", last); err != nil {
		return err
	}
	return k.record.write(ctx, k.Store.Raw(), k.managed.Prints())
}

// step brings a configuration to all masters.
func (k *Keys) step(ctx context.Context, name string, next *Managed) error {
	k.Report(name, Progress{})
	keys := maps.Clone(next.Prints())
	for name, print := range k.record.Keys {
		keys[name] = print
	}
	err := k.record.write(ctx, k.Store.Raw(), keys)
	if err == nil && !bytes.Equal(next.Bytes(), k.managed.Bytes()) {
		err = WriteFile(k.Store.o.File, next.Bytes())
	}
	if err == nil {
		err = k.Store.Reload(ctx)
	}
	if err == nil {
		err = k.Publish(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	k.managed = next
	return nil
}

// Unfinished says what a change that was broken off has left, "" if nothing.
func (m *Managed) Unfinished() string {
	switch keys := m.keys(); {
	case len(keys) == 0:
		return ""
	case m.writes() == identityName:
		return "secrets are being stored in plain: wheelhouse encryption decrypt goes on with that, rotate-key encrypts them again"
	case len(keys) > 1:
		return "the keys are being changed: wheelhouse encryption rotate-key goes on with that"
	}
	return ""
}

// Install makes a file that another master has published this master's own, and its configuration.
func (s *Store) Install(ctx context.Context, data []byte) error {
	if _, err := ParseManaged(data); err != nil {
		return err
	}
	if err := WriteFile(s.o.File, data); err != nil {
		return err
	}
	return s.Reload(ctx)
}
