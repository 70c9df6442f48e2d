package etcd

import (
	"context"
	"crypto/sha256"
	"io"
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// snapshots are the snapshots that are being read. Each holds the database open.
type snapshots struct {
	mu   sync.Mutex        // also held while one is begun, and while there must be none
	open map[*reading]bool // guarded by mu
}

// reading is one snapshot on its way.
type reading struct {
	*io.PipeReader
	write *io.PipeWriter
	done  chan struct{} // closed when the database is let go
}

// Close implements io.Closer; afterwards the snapshot holds up nothing.
func (r *reading) Close() error {
	err := r.PipeReader.Close()
	<-r.done
	return err
}

// Snapshot reads the whole database as it is on this member now, in the form of etcd's snapshot files: the database,
// followed by its SHA-256. Size is of both together. Writes go on meanwhile; defragmentation waits. The snapshot ends with an
// error if the context ends or the member is closed or opened again before it was read. It must be closed.
func (e *Embedded) Snapshot(ctx context.Context) (io.ReadCloser, int64, error) {
	r, err := e.gate.enter(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer e.gate.mu.RUnlock()
	if e.closing.Err() != nil {
		return nil, 0, store.ErrClosed
	}
	s := &reading{done: make(chan struct{})}
	s.PipeReader, s.write = io.Pipe()
	e.snapshots.mu.Lock()
	data := r.server.Backend().Snapshot()
	if e.snapshots.open == nil {
		e.snapshots.open = map[*reading]bool{}
	}
	e.snapshots.open[s] = true
	e.snapshots.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { s.write.CloseWithError(ctx.Err()) })
	go func() {
		sum := sha256.New()
		_, err := data.WriteTo(io.MultiWriter(s.write, sum))
		if err == nil {
			_, err = s.write.Write(sum.Sum(nil))
		}
		s.write.CloseWithError(err) // nil: the end of the file
		stop()
		data.Close()
		e.snapshots.mu.Lock()
		delete(e.snapshots.open, s)
		e.snapshots.mu.Unlock()
		close(s.done)
	}()
	return s, data.Size() + sha256.Size, nil
}

// end ends all snapshots and waits until the database is let go.
func (s *snapshots) end(why error) {
	s.mu.Lock()
	var ending []*reading
	for one := range s.open {
		ending = append(ending, one)
	}
	s.mu.Unlock()
	for _, one := range ending {
		one.write.CloseWithError(why)
		<-one.done
	}
}

// without does something while no snapshot is being read, or does not do it.
func (s *snapshots) without(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) > 0 {
		return errReading
	}
	return do()
}
