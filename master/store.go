package master

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// storeKey is where a cluster's data say which store they are.
const storeKey = wheelhousePrefix + "store"

// Files of a data folder that say whose data it holds.
const (
	storeFile = "store-identity"
	// firstStartFile is there from the first start until the store has its identity: what else is there then proves nothing.
	firstStartFile = "first-start"
	// newClusterFile is there from a start with --new-cluster until one without: the flag works once, though it be left in a
	// service's file.
	newClusterFile = "new-cluster"
)

// kept is what a data folder remembers of its store.
type keptStore struct {
	membership.Store
	// Cluster and Member are the identities of etcd that go with it; empty with an etcd of its own.
	Cluster string `json:"cluster,omitempty"`
	Member  string `json:"member,omitempty"`
	// Pending tells that the store itself is still to be told: it was just made from another.
	Pending bool `json:"pending,omitempty"`
}

// readStoreFile reads what a data folder remembers; nil if it remembers nothing.
func readStoreFile(dir string) (*keptStore, error) {
	data, err := os.ReadFile(filepath.Join(dir, storeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	k := &keptStore{}
	if err := json.Unmarshal(data, k); err != nil || k.ID == "" {
		return nil, fmt.Errorf("%s cannot be read: %w: it says to which store the data beside it belong; restore it from a copy of the folder, or move it away if you are sure that they belong to this master",
			filepath.Join(dir, storeFile), errors.Join(err, errors.New("it names no store")))
	}
	return k, nil
}

func (k *keptStore) write(dir string) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, storeFile), append(data, '\n'))
}

// replaceFile writes a file that is there whole or as it was before, whenever a power cut comes.
func replaceFile(path string, data []byte) error {
	if err := durable.Replace(path, data, 0o600); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return nil
}

// establish learns which store this master has opened, or gives it an identity if it has none: a new one, or one that was made
// before stores had any. The data folder remembers it. Nothing of the store has been used yet.
func (m *Master) establish(ctx context.Context) error {
	if m.config.DataDir == "" {
		return nil
	}
	present, err := readStoreFile(m.config.DataDir)
	if err != nil {
		return err
	}
	kept := &keptStore{}
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
	return removeFile(m.config.DataDir, firstStartFile)
}

// keep writes what the folder remembers, unless it does already.
func (m *Master) keep(kept *keptStore) error {
	m.ids.file.Lock()
	defer m.ids.file.Unlock()
	if why := m.whyOver(); why != nil {
		return why
	}
	before, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	have, err := os.ReadFile(filepath.Join(m.config.DataDir, storeFile))
	if err == nil && strings.TrimSpace(string(have)) == string(before) {
		return nil
	}
	return kept.write(m.config.DataDir)
}

func removeFile(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return nil
}

// settle makes what the store says of itself and what the folder remembers one.
func (m *Master) settle(ctx context.Context, present *keptStore) (membership.Store, error) {
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
		next := membership.NewStore(membership.OriginAdopted, m.now())
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
	e, _, err := m.store.Get(ctx, storeKey, 0)
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
		_, err = m.store.Create(ctx, storeKey, value, 0)
	} else {
		_, err = m.store.Update(ctx, storeKey, revision, value, 0)
	}
	return err
}

func isConflict(err error) bool {
	var lost *store.Conflict
	return errors.As(err, &lost)
}

func (m *Master) now() time.Time {
	if m.config.Now != nil {
		return m.config.Now()
	}
	return time.Now()
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
	f, err := readFolder(c)
	if err != nil || f.unfinished || f.recovering {
		return err
	}
	if c.external() {
		return m.renewNewCluster(c.NewCluster)
	}
	if why := f.missing(c); why != "" {
		if len(c.Join) > 0 && f.self == nil { // it gets the data of others
			return nil
		}
		if !c.NewCluster || f.begunAnew {
			return f.refuse(c, why)
		}
		if err := m.beginAnew(why); err != nil {
			return err
		}
		f.name, f.self = "", nil
	}
	if f.kept != nil && f.kept.Successor != nil && len(c.Join) == 0 && !c.takesBack(f.kept.Successor) {
		return givenUp(c, f.kept)
	}
	if f.self == nil && f.name == "" && len(c.Join) == 0 {
		m.began = true
		if err := replaceFile(filepath.Join(c.DataDir, firstStartFile), nil); err != nil {
			return err
		}
	}
	if f.self != nil && f.name == "" && f.self.Name != "" {
		c.warn("the data folder had lost the file identity: it was made again from the store, for %s", f.self.Name)
		if err := replaceFile(filepath.Join(c.DataDir, identityFile), []byte(f.self.Name+"\n")); err != nil {
			return err
		}
	}
	m.began = m.began || f.self == nil
	return m.renewNewCluster(c.NewCluster)
}

// startOver removes what a first start that was cut off has made of the store: an etcd whose log was cut off before it names its one
// member would wait for others forever.
func (m *Master) startOver() error {
	cut, err := cutFirstStart(m.config.DataDir)
	if err != nil || !cut || !holdsMember(m.config.DataDir) {
		return err
	}
	m.config.Log("the first start on this folder was cut off before anything was in its store: making the store anew")
	if err := os.RemoveAll(filepath.Join(m.config.DataDir, "etcd", "member")); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return nil
}

// cutFirstStart tells whether a folder is what a first start has left that was cut off. Nothing was acknowledged by it: the store serves
// when the folder has its identity, and holds nothing else until then. An etcd that holds more was put there by someone.
func cutFirstStart(dir string) (bool, error) {
	for name, expected := range map[string]bool{firstStartFile: true, storeFile: false, membership.MarkName: false, recoveringFile: false} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("the data folder cannot be read: %w", err)
		}
		if (err == nil) != expected {
			return false, nil
		}
	}
	return etcd.HoldsOnly(filepath.Join(dir, "etcd"), storeKey)
}

// renewNewCluster notes whether --new-cluster is given.
func (m *Master) renewNewCluster(given bool) error {
	if !given {
		return removeFile(m.config.DataDir, newClusterFile)
	}
	if !m.began {
		m.config.Log("--new-cluster is left aside: this folder holds a cluster's data; leave the flag out")
	}
	return replaceFile(filepath.Join(m.config.DataDir, newClusterFile), []byte(m.now().UTC().Format(time.RFC3339)+"\n"))
}

// beginAnew moves what is left of the store and of its identity aside.
func (m *Master) beginAnew(why string) error {
	c := &m.config
	c.warn("--new-cluster: beginning a new, empty cluster, though %s", why)
	aside := filepath.Join(c.DataDir, movedSuffix+moment())
	for _, name := range []string{"etcd", storeFile, identityFile} {
		if err := moveAside(c.DataDir, name, aside); err != nil {
			return err
		}
	}
	return nil
}

func moment() string { return time.Now().UTC().Format("20060102T150405.000Z") }

// moveAside moves an entry of a folder, if it is there, into another. An empty folder, which may be where a disk was, stays.
func moveAside(dir, name, aside string) error {
	path := filepath.Join(dir, name)
	if entries, err := os.ReadDir(path); err == nil && len(entries) == 0 {
		return nil
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	if err := os.Rename(path, filepath.Join(aside, name)); err != nil {
		return fmt.Errorf("%s cannot be moved aside, perhaps because it is a file system of its own: move what is in it away by hand: %w", path, err)
	}
	return nil
}

// folder is what a data folder shows before anything of it is used.
type folder struct {
	// name in the file identity, and what the folder remembers of its store.
	name string
	kept *keptStore
	// self is whose data is in etcd/; nil if nobody's.
	self *etcd.Self
	// proof is a file that only a store that was there can have brought about; empty without one.
	proof string
	// unfinished tells of a join, recovering of a recovery that was cut off, and begunAnew that --new-cluster was given before.
	unfinished, recovering, begunAnew bool
}

func readFolder(c *Config) (*folder, error) {
	has := func(name string) bool {
		_, err := os.Lstat(filepath.Join(c.DataDir, name))
		return err == nil
	}
	f := &folder{unfinished: has(membership.MarkName), recovering: has(recoveringFile), begunAnew: has(newClusterFile)}
	data, err := os.ReadFile(filepath.Join(c.DataDir, identityFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	f.name = strings.TrimSpace(string(data))
	if f.kept, err = readStoreFile(c.DataDir); err != nil {
		return nil, err
	}
	if f.self, err = etcd.ReadSelf(filepath.Join(c.DataDir, "etcd")); err != nil && !errors.Is(err, etcd.ErrNoMember) {
		return nil, err
	}
	switch {
	case f.kept != nil:
		f.proof = storeFile
	case has(firstStartFile):
	case has(encryptionFile):
		f.proof = encryptionFile
	case f.name != "" && hasAuthority(c):
		f.proof = identityFile + " and pki"
	default: // a join with --replace that was cut off has left nothing else
		f.proof = movedAway(c.DataDir)
	}
	return f, nil
}

func hasAuthority(c *Config) bool {
	dir := c.PKIDir
	if dir == "" {
		dir = filepath.Join(c.DataDir, "pki")
	}
	_, err := os.Lstat(filepath.Join(dir, "ca.crt"))
	return err == nil
}

// movedAway is a folder with data that were moved aside; empty without one.
func movedAway(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), movedSuffix) {
			return "the old data are in " + e.Name()
		}
	}
	return ""
}

// FolderCard is what a master's data folder says of its store; nil if it says nothing.
func FolderCard(dir string) *membership.Card {
	kept, err := readStoreFile(dir)
	if err != nil || kept == nil {
		return nil
	}
	return &membership.Card{Store: kept.Store, Cluster: kept.Cluster}
}

// missing tells why what is in etcd/ cannot be what goes with the rest; empty if it can.
func (f *folder) missing(c *Config) string {
	dir := filepath.Join(c.DataDir, "etcd")
	switch {
	case f.self == nil && f.proof != "" && holdsMember(c.DataDir):
		return fmt.Sprintf("its store in %s is incomplete: it has no log", dir)
	case f.self == nil && f.proof != "":
		return fmt.Sprintf("its store in %s is missing (%s)", dir, f.proof)
	case f.self == nil:
		return ""
	case f.kept != nil && f.kept.Member != "" &&
		(f.kept.Member != membership.FormatID(f.self.Member) || f.kept.Cluster != membership.FormatID(f.self.Cluster)):
		return fmt.Sprintf("the store in %s is not its own: it is that of member %s of the cluster %s, and %s names member %s of %s", dir,
			membership.FormatID(f.self.Member), membership.FormatID(f.self.Cluster), storeFile, f.kept.Member, f.kept.Cluster)
	case f.name != "" && f.self.Name != "" && f.self.Name != f.name:
		return fmt.Sprintf("the store in %s is not its own: it is that of %s, and %s names %s", dir, f.self.Name, identityFile, f.name)
	}
	return ""
}

func (f *folder) refuse(c *Config, why string) error {
	once := ""
	if c.NewCluster {
		once = ", which works once, and again only after a start without it"
	}
	return fmt.Errorf("the data folder %s is that of a master, but %s: see that its disk is mounted; if it is lost, restore a backup (wheelhouse backup restore --replace), "+
		"let this master join others anew (wheelhouse server --join …), or begin a new, empty cluster with --new-cluster%s", c.DataDir, why, once)
}
