package datafolder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// Kept is what a data folder remembers of its store.
type Kept struct {
	membership.Store
	// Cluster and Member are the identities of etcd that go with it; empty with an external etcd.
	Cluster string `json:"cluster,omitempty"`
	Member  string `json:"member,omitempty"`
	// Pending tells that the store itself is still to be told: it was just made from another.
	Pending bool `json:"pending,omitempty"`
}

// ReadKept reads what a data folder remembers; nil if it remembers nothing.
func ReadKept(dir string) (*Kept, error) {
	data, err := os.ReadFile(filepath.Join(dir, StoreFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	k := &Kept{}
	if err = json.Unmarshal(data, k); err == nil && k.ID == "" {
		err = errors.New("it names no store")
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w: it says to which store the data beside it belong; restore it from a copy of the folder, or move it away if you are sure that they belong to this master",
			filepath.Join(dir, StoreFile), err)
	}
	return k, nil
}

// Write has the data folder remember it, durably.
func (k *Kept) Write(dir string) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, StoreFile), append(data, '\n'))
}

// KeptFor is what a data folder is to remember of a store that was just made in an etcd folder.
func KeptFor(etcdDir string, s membership.Store) (*Kept, error) {
	self, err := etcd.ReadSelf(etcdDir)
	if err != nil {
		return nil, err
	}
	return &Kept{Store: s, Cluster: membership.FormatID(self.Cluster), Member: membership.FormatID(self.Member), Pending: true}, nil
}

// FormerOf are the members but one that others can reach.
func FormerOf(members []etcd.Member, self uint64) []membership.Former {
	var all []membership.Former
	for _, one := range members {
		if one.ID != self && strings.HasPrefix(one.PeerURL, "https://") {
			all = append(all, membership.Former{Name: one.Name, PeerURL: one.PeerURL})
		}
	}
	return all
}

// GivenUp is the error of a master whose store was superseded. recovering tells that it was started with --recover-quorum.
func GivenUp(dir string, recovering bool, kept *Kept) error {
	s := kept.Successor
	how := "let this master join anew with wheelhouse server --join … --replace, which keeps them aside"
	if recovering {
		how = fmt.Sprintf("if they are those that count after all, stop the masters of store %s, whose newer writes are lost then, and add --yes-forget-store %s", s.ID, s.ID)
	}
	return fmt.Errorf("the data in %s are those of %s, which was given up for store %s when %s went on from a lost quorum: they are not served again; %s",
		dir, kept.Describe(), s.ID, s.Master, how)
}

// NoteStore takes the identity that a store had. The last that is shown is the one.
func NoteStore(s *membership.Store, value []byte) {
	var had membership.Store
	if json.Unmarshal(value, &had) == nil && had.ID != "" {
		*s = had
	}
}

// RevisionBump is by how much the revision grows at a restore or a recovery: by more than a cluster can have written since the snapshot
// (a year at thirty writes a second), as etcd's documentation advises.
const RevisionBump = 1_000_000_000
