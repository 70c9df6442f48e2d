package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// DefaultQuota is the size of the database, in bytes, from which on only reads and deletions work.
	DefaultQuota = 8 << 30
	// readyWait bounds the start: a single member elects itself in a fraction of a second, but replaying a long log takes time.
	readyWait = 5 * time.Minute
	// nobody is the peer address of a member without peers: it is written into the membership and never dialled.
	nobody = "http://localhost:2380"
	// A member without peers has nobody to wait for: it elects itself after one to six ticks, in milliseconds. Etcd's
	// usual ticks would add up to a second to every start.
	loneTick, loneElection = 50, 250
	// walFilesMax and snapshotsMax bound what is kept of the log.
	walFilesMax, snapshotsMax = 5, 3
)

// Options of an embedded member.
type Options struct {
	// Dir holds the member's data; it is made when missing.
	Dir string
	// Name of the member; empty means "master".
	Name string
	// Quota in bytes; 0 means DefaultQuota.
	Quota int64
	// CompactionInterval is how long history is kept; 0 means five minutes, negative never compacts.
	CompactionInterval time.Duration
	// Log takes etcd's own messages; nil drops them.
	Log *zap.Logger
	// Warn is told what the operator should know (space, alarms); nil ignores it.
	Warn func(message string)
}

// Embedded is a store whose etcd member runs in this process.
type Embedded struct {
	*keyspace
	etcd *embed.Etcd
	o    Options
	done chan struct{} // closed when maintenance has ended
}

// Open starts the member and waits until it can serve.
func Open(ctx context.Context, o Options) (*Embedded, error) {
	if o.Quota == 0 {
		o.Quota = DefaultQuota
	}
	if o.CompactionInterval == 0 {
		o.CompactionInterval = 5 * time.Minute
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if err := prepare(o.Dir); err != nil {
		return nil, err
	}
	member, err := start(o)
	if err != nil {
		return nil, fmt.Errorf("etcd does not start in %s: %w", o.Dir, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	select {
	case <-member.Server.ReadyNotify():
	case err := <-member.Err():
		member.Close()
		return nil, fmt.Errorf("etcd stopped during its start in %s: %w", o.Dir, err)
	case <-ctx.Done():
		member.Close()
		return nil, fmt.Errorf("etcd in %s was not ready in time: %w", o.Dir, ctx.Err())
	}
	client := v3client.New(member.Server)
	e := &Embedded{keyspace: newKeyspace(member.Server, client.Watcher), etcd: member, o: o, done: make(chan struct{})}
	go e.maintain()
	return e, nil
}

func (o Options) config() *embed.Config {
	c := embed.NewConfig()
	c.Dir = o.Dir
	c.Name = o.Name
	if c.Name == "" {
		c.Name = "master"
	}
	peer, _ := url.Parse(nobody)
	c.ListenPeerUrls, c.ListenClientUrls = nil, nil // no socket at all
	c.AdvertisePeerUrls, c.AdvertiseClientUrls = []url.URL{*peer}, []url.URL{}
	c.InitialCluster = c.Name + "=" + nobody
	c.TickMs, c.ElectionMs = loneTick, loneElection
	c.QuotaBackendBytes = o.Quota
	c.MaxRequestBytes = 8 << 20 // the API server bounds its requests itself
	c.MaxWalFiles, c.MaxSnapFiles = walFilesMax, snapshotsMax
	log := o.Log
	if log == nil {
		log = zap.NewNop()
	}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	return c
}

// probeName is the file that tries whether the folder can be written; a crash may leave it behind.
const probeName = ".writable"

// prepare makes the folder, or checks that what is in it is a member's data.
func prepare(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("the data folder cannot be made: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("the data folder cannot be read: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "member" && e.Name() != probeName {
			return fmt.Errorf("%s holds %s, which etcd did not write: choose an empty folder or one of an etcd member",
				dir, e.Name())
		}
	}
	probe := filepath.Join(dir, probeName)
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return os.Remove(probe)
}

// Size implements store.Store.
func (e *Embedded) Size(context.Context) (total, inUse int64, err error) {
	b := e.etcd.Server.Backend()
	return b.Size(), b.SizeInUse(), nil
}

// Close implements store.Store.
func (e *Embedded) Close() error {
	if e.closing.Err() != nil {
		return nil
	}
	e.close()
	<-e.done
	e.etcd.Close()
	return nil
}

var _ store.Store = (*Embedded)(nil)
