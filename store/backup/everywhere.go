package backup

import (
	"context"
	"errors"
	"fmt"
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
	for _, v := range vaults {
		var err error
		if m == nil {
			m, err = Create(ctx, from, v, o)
		} else {
			err = Copy(ctx, m, have[0], v, o.Progress)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("backup to %s: %w", v, err))
			continue
		}
		have = append(have, v)
	}
	return m, have, errors.Join(failed...)
}
