package etcd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Snapshot reads the whole database of one of the servers that are well, in the form of etcd's snapshot files. It holds what
// else is kept in that etcd, too. It must be closed.
func (r *Remote) Snapshot(ctx context.Context) (io.ReadCloser, int64, error) {
	if r.closing.Err() != nil {
		return nil, 0, store.ErrClosed
	}
	var failed []error
	for _, s := range r.servers.all {
		s.mu.Lock()
		well := s.well != nil
		s.mu.Unlock()
		if !well {
			continue
		}
		reader, size, err := s.snapshot(ctx)
		if err == nil {
			return reader, size, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", s.url, err))
	}
	if len(failed) == 0 {
		failed = append(failed, errUnwell)
	}
	return nil, 0, fmt.Errorf("%w: no etcd server gives a snapshot: %v", store.ErrUnavailable, errors.Join(failed...))
}

// remoteSnapshot is a snapshot on its way from a server.
type remoteSnapshot struct {
	from  pb.Maintenance_SnapshotClient
	rest  []byte // of the last answer
	close context.CancelFunc
}

func (s *remoteServer) snapshot(ctx context.Context) (io.ReadCloser, int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	from, err := s.upkeep.Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		cancel()
		return nil, 0, err
	}
	first, err := from.Recv()
	if err != nil {
		cancel()
		return nil, 0, err
	}
	size := int64(len(first.Blob)) + int64(first.RemainingBytes) + sha256.Size
	return &remoteSnapshot{from: from, rest: first.Blob, close: cancel}, size, nil
}

func (s *remoteSnapshot) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		next, err := s.from.Recv()
		if err != nil {
			return 0, err // io.EOF at the end
		}
		s.rest = next.Blob
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *remoteSnapshot) Close() error {
	s.close()
	return nil
}
