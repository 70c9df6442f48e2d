package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// CreateIn makes one backup in several vaults: the first that works gets it from the source, the others a copy of that. It
// tells which vaults have it; the error is about those that have not.
func CreateIn(ctx context.Context, from Source, vaults []Vault, o CreateOptions) (m *Manifest, have []Vault, err error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	if len(vaults) == 0 {
		return nil, nil, errors.New("no place for the backup: give --backup-dir or --backup-s3-bucket")
	}
	var failed []error
	for n, v := range vaults {
		m, err := Create(ctx, from, v, o)
		if err == nil {
			have, err = Complete(ctx, m, []Vault{v}, vaults[n+1:], o.Progress)
			return m, have, errors.Join(append(failed, err)...)
		}
		failed = append(failed, fmt.Errorf("backup to %s: %w", v, err))
	}
	return nil, nil, errors.Join(failed...)
}

// Complete brings a backup that some vaults have to those of vaults that have not. It tells which have it then; the error is
// about the others.
func Complete(ctx context.Context, m *Manifest, have, vaults []Vault, progress Progress) ([]Vault, error) {
	have = slices.Clone(have)
	var failed []error
	for _, v := range vaults {
		if slices.Contains(have, v) {
			continue
		}
		if err := Copy(ctx, m, have[0], v, progress); err != nil {
			failed = append(failed, fmt.Errorf("backup to %s: %w", v, err))
			continue
		}
		have = append(have, v)
	}
	return have, errors.Join(failed...)
}
