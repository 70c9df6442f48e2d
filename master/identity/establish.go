package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Establish learns which store this master has opened, or gives it an identity if it has none: a new one, or one that was made
// before stores had any. began tells that the store was made by this start. The data folder remembers it. Nothing of the store has been used yet.
func (id *Identity) Establish(ctx context.Context, began bool) error {
	if id.DataDir == "" {
		return nil
	}
	present, err := datafolder.ReadKept(id.DataDir)
	if err != nil {
		return err
	}
	kept := &datafolder.Kept{}
	if id.member != nil {
		of := id.member.Status()
		kept.Cluster, kept.Member = membership.FormatID(of.Cluster), membership.FormatID(of.ID)
	}
	id.Show(&membership.Card{Store: kept.Store, Cluster: kept.Cluster, Member: kept.Member})
	if kept.Store, err = id.agree(ctx, present, began); err != nil {
		return err
	}
	id.former, kept.Former = kept.Former, nil // the store has them
	if err := id.keep(kept); err != nil {
		return err
	}
	id.Show(&membership.Card{Store: kept.Store, Cluster: kept.Cluster, Member: kept.Member})
	if s := kept.Successor; s != nil {
		return datafolder.GivenUp(id.DataDir, id.Recovering, kept)
	}
	return datafolder.RemoveFile(id.DataDir, datafolder.FirstStartFile)
}

// keep writes what the folder remembers, unless it does already.
func (id *Identity) keep(kept *datafolder.Kept) error {
	id.file.Lock()
	defer id.file.Unlock()
	if why := id.Why(); why != nil {
		return why
	}
	before, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	have, err := os.ReadFile(filepath.Join(id.DataDir, datafolder.StoreFile))
	if err == nil && strings.TrimSpace(string(have)) == string(before) {
		return nil
	}
	return kept.Write(id.DataDir)
}

// agree makes what the store says of itself and what the folder remembers one.
func (id *Identity) agree(ctx context.Context, present *datafolder.Kept, made bool) (membership.Store, error) {
	for {
		said, revision, err := id.readStore(ctx)
		switch {
		case err != nil:
			return said, err
		case revision != 0 && (present == nil || !present.Pending || present.ID == said.ID):
			if present != nil && present.ID != said.ID {
				id.Warn("the data folder was that of %s, and what it has opened is %s", present.Describe(), said.Describe())
			}
			return said, nil
		}
		began := made
		if id.Servers != "" {
			if began, err = id.emptyStore(ctx); err != nil {
				return said, err
			}
			if began && present != nil && !id.NewCluster {
				return said, fmt.Errorf("the etcd at %s is empty, and the data folder %s is that of a master of %s, whose data were there: see that --etcd-servers and --etcd-prefix are right, "+
					"restore a snapshot of that etcd, or begin a new, empty cluster with --new-cluster", id.Servers, id.DataDir, present.Describe())
			}
			if began {
				present = nil
			}
		}
		next := membership.NewStore(membership.OriginAdopted, id.Now())
		switch {
		case present != nil:
			next = present.Store
		case began:
			next.Origin = membership.OriginNew
		}
		if err := id.writeStore(ctx, next, revision); !isConflict(err) {
			return next, err
		}
	}
}

// emptyStore tells whether an external etcd holds nothing of a cluster yet.
func (id *Identity) emptyStore(ctx context.Context) (bool, error) {
	page, err := id.store().List(ctx, registry.Root, store.ListOptions{Limit: 1})
	return len(page.Entries) == 0, err
}

// readStore reads the store's identity; revision is 0 if it has none.
func (id *Identity) readStore(ctx context.Context) (s membership.Store, revision int64, err error) {
	e, _, err := id.store().Get(ctx, notes.Store, 0)
	if errors.Is(err, store.ErrNotFound) {
		return s, 0, nil
	}
	if err != nil {
		return s, 0, err
	}
	if err := json.Unmarshal(e.Value, &s); err != nil {
		return s, 0, fmt.Errorf("the identity of the store cannot be read: %w", err)
	}
	return s, e.Revision, nil
}

func (id *Identity) writeStore(ctx context.Context, s membership.Store, revision int64) error {
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if revision == 0 {
		_, err = id.store().Create(ctx, notes.Store, value, 0)
	} else {
		_, err = id.store().Update(ctx, notes.Store, revision, value, 0)
	}
	return err
}

func isConflict(err error) bool {
	var lost *store.Conflict
	return errors.As(err, &lost)
}
