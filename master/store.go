package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// establish learns which store this master has opened, or gives it an identity if it has none: a new one, or one that was made
// before stores had any. The data folder remembers it. Nothing of the store has been used yet.
func (m *Master) establish(ctx context.Context) error {
	if m.config.DataDir == "" {
		return nil
	}
	present, err := datafolder.ReadKept(m.config.DataDir)
	if err != nil {
		return err
	}
	kept := &datafolder.Kept{}
	if m.member != nil {
		of := m.member.Status()
		kept.Cluster, kept.Member = membership.FormatID(of.Cluster), membership.FormatID(of.ID)
	}
	m.showCard(&membership.Card{Store: kept.Store, Cluster: kept.Cluster, Member: kept.Member})
	if kept.Store, err = m.settle(ctx, present); err != nil {
		return err
	}
	m.ids.former, kept.Former = kept.Former, nil // the store has them
	if err := m.keep(kept); err != nil {
		return err
	}
	m.showCard(&membership.Card{Store: kept.Store, Cluster: kept.Cluster, Member: kept.Member})
	if s := kept.Successor; s != nil {
		return m.superseded(kept)
	}
	return datafolder.RemoveFile(m.config.DataDir, datafolder.FirstStartFile)
}

// keep writes what the folder remembers, unless it does already.
func (m *Master) keep(kept *datafolder.Kept) error {
	m.ids.file.Lock()
	defer m.ids.file.Unlock()
	if why := m.whyOver(); why != nil {
		return why
	}
	before, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	have, err := os.ReadFile(filepath.Join(m.config.DataDir, datafolder.StoreFile))
	if err == nil && strings.TrimSpace(string(have)) == string(before) {
		return nil
	}
	return kept.Write(m.config.DataDir)
}

// settle makes what the store says of itself and what the folder remembers one.
func (m *Master) settle(ctx context.Context, present *datafolder.Kept) (membership.Store, error) {
	for {
		said, revision, err := m.readStore(ctx)
		switch {
		case err != nil:
			return said, err
		case revision != 0 && (present == nil || !present.Pending || present.ID == said.ID):
			if present != nil && present.ID != said.ID {
				m.config.warn("the data folder was that of %s, and what it has opened is %s", present.Describe(), said.Describe())
			}
			return said, nil
		}
		began := m.began
		if m.remote != nil {
			if began, err = m.emptyStore(ctx); err != nil {
				return said, err
			}
			if began && present != nil && !m.config.NewCluster {
				return said, fmt.Errorf("the etcd at %s is empty, and the data folder %s is that of a master of %s, whose data were there: see that --etcd-servers and --etcd-prefix are right, "+
					"restore a snapshot of that etcd, or begin a new, empty cluster with --new-cluster", strings.Join(m.config.External.Servers, ","), m.config.DataDir, present.Describe())
			}
			if began {
				present = nil
			}
		}
		next := membership.NewStore(membership.OriginAdopted, m.config.Now())
		switch {
		case present != nil:
			next = present.Store
		case began:
			next.Origin = membership.OriginNew
		}
		if err := m.writeStore(ctx, next, revision); !isConflict(err) {
			return next, err
		}
	}
}

// emptyStore tells whether an etcd of its own holds nothing of a cluster yet.
func (m *Master) emptyStore(ctx context.Context) (bool, error) {
	page, err := m.store.List(ctx, registry.Root, store.ListOptions{Limit: 1})
	return len(page.Entries) == 0, err
}

// readStore reads the store's identity; revision is 0 if it has none.
func (m *Master) readStore(ctx context.Context) (s membership.Store, revision int64, err error) {
	e, _, err := m.store.Get(ctx, notes.Store, 0)
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

func (m *Master) writeStore(ctx context.Context, s membership.Store, revision int64) error {
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if revision == 0 {
		_, err = m.store.Create(ctx, notes.Store, value, 0)
	} else {
		_, err = m.store.Update(ctx, notes.Store, revision, value, 0)
	}
	return err
}

func isConflict(err error) bool {
	var lost *store.Conflict
	return errors.As(err, &lost)
}

// examine refuses a folder that was a master's and whose store is missing, or is another's: what would start on it is a new, empty
// cluster, which takes itself for well.
func (m *Master) examine() error {
	c := &m.config
	if c.DataDir == "" {
		return nil
	}
	if err := m.startOver(); err != nil {
		return err
	}
	f, err := datafolder.Read(c.DataDir, c.PKIDir)
	if err != nil || f.Unfinished || f.Recovering {
		return err
	}
	if c.external() {
		return m.renewNewCluster(c.NewCluster)
	}
	if why := f.Missing(); why != "" {
		if len(c.Join) > 0 && f.Self == nil { // it gets the data of others
			return nil
		}
		if !c.NewCluster || f.BegunAnew {
			return f.Refuse(c.NewCluster, why)
		}
		if err := m.beginAnew(why); err != nil {
			return err
		}
		f.Name, f.Self = "", nil
	}
	if f.Kept != nil && f.Kept.Successor != nil && len(c.Join) == 0 && !c.takesBack(f.Kept.Successor) {
		return datafolder.GivenUp(c.DataDir, c.RecoverQuorum, f.Kept)
	}
	if f.Self == nil && f.Name == "" && len(c.Join) == 0 {
		m.began = true
		if err := datafolder.WriteFile(filepath.Join(c.DataDir, datafolder.FirstStartFile), nil); err != nil {
			return err
		}
	}
	if f.Self != nil && f.Name == "" && f.Self.Name != "" {
		c.warn("the data folder had lost the file identity: it was made again from the store, for %s", f.Self.Name)
		if err := datafolder.WriteFile(filepath.Join(c.DataDir, datafolder.IdentityFile), []byte(f.Self.Name+"\n")); err != nil {
			return err
		}
	}
	m.began = m.began || f.Self == nil
	return m.renewNewCluster(c.NewCluster)
}

// startOver removes what a first start that was cut off has made of the store: an etcd whose log was cut off before it names its one
// member would wait for others forever.
func (m *Master) startOver() error {
	cut, err := datafolder.CutFirstStart(m.config.DataDir)
	if err != nil || !cut || !datafolder.HoldsMember(m.config.DataDir) {
		return err
	}
	m.config.Log("the first start on this folder was cut off before anything was in its store: making the store anew")
	if err := os.RemoveAll(filepath.Join(m.config.DataDir, "etcd", "member")); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return nil
}

// renewNewCluster notes whether --new-cluster is given.
func (m *Master) renewNewCluster(given bool) error {
	if !given {
		return datafolder.RemoveFile(m.config.DataDir, datafolder.NewClusterFile)
	}
	if !m.began {
		m.config.Log("--new-cluster is left aside: this folder holds a cluster's data; leave the flag out")
	}
	return datafolder.WriteFile(filepath.Join(m.config.DataDir, datafolder.NewClusterFile), []byte(m.config.Now().UTC().Format(time.RFC3339)+"\n"))
}

// beginAnew moves what is left of the store and of its identity aside.
func (m *Master) beginAnew(why string) error {
	c := &m.config
	c.warn("--new-cluster: beginning a new, empty cluster, though %s", why)
	aside := filepath.Join(c.DataDir, datafolder.MovedPrefix+datafolder.Moment())
	for _, name := range []string{"etcd", datafolder.StoreFile, datafolder.IdentityFile} {
		if err := datafolder.MoveAside(c.DataDir, name, aside); err != nil {
			return err
		}
	}
	return nil
}
