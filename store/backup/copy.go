package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Copy brings a good backup from one vault to another, under the same name, and checks the hashes of the copy.
func Copy(ctx context.Context, m *Manifest, from, to Vault, progress Progress) (err error) {
	if err := to.Check(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, discard(ctx, to, m.Name))
		}
	}()
	for _, file := range slices.Sorted(maps.Keys(m.Files)) {
		if err := copyFile(ctx, m, file, from, to, progress); err != nil {
			return err
		}
	}
	data, err := m.encode()
	if err != nil {
		return err
	}
	return to.Write(ctx, m.Name, ManifestFile, bytes.NewReader(data), int64(len(data)))
}

func copyFile(ctx context.Context, m *Manifest, file string, from, to Vault, progress Progress) error {
	r, size, err := m.open(ctx, from, file)
	if err != nil {
		return err
	}
	err = to.Write(ctx, m.Name, file, &told{r, 0, func(done int64) { progress.tell("copy", done, size) }}, size)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	return m.hash(ctx, to, file, progress)
}

// hash reads a file and compares its hash.
func (m *Manifest) hash(ctx context.Context, v Vault, file string, progress Progress) error {
	r, size, err := m.open(ctx, v, file)
	if err != nil {
		return err
	}
	defer r.Close()
	sum := newChecksummed(&bounded{ctx, r}, func(done int64) { progress.tell("verify", done, size) })
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, sum, make([]byte, copyBuffer)); err != nil {
		return fmt.Errorf("%s of backup %s cannot be read from %s: %w", file, m.Name, v, err)
	}
	return m.compareFile(file, sum.file())
}
