package master

import (
	"context"
	"errors"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// fence is the fence of one Lease: a key whose every change ends the terms before.
type fence struct {
	store store.Store
	key   string
}

// Read implements election.Fence.
func (f fence) Read(ctx context.Context) (int64, error) {
	e, _, err := f.store.Get(ctx, f.key, 0)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return e.Revision, err
}

// Take implements election.Fence.
func (f fence) Take(ctx context.Context, revision int64, identity string) (int64, error) {
	if revision == 0 {
		return f.store.Create(ctx, f.key, []byte(identity), 0)
	}
	return f.store.Update(ctx, f.key, revision, []byte(identity), 0)
}
