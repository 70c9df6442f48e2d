package datafolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// Folder is what a data folder shows before anything of it is used.
type Folder struct {
	Dir string
	// Name in the file identity, and what the folder remembers of its store; empty and nil without.
	Name string
	Kept *Kept
	// Self is whose data is in etcd/; nil if nobody's.
	Self *etcd.Self
	// proof is a file that only a store that was there can have brought about; empty without one.
	proof string
	// Unfinished tells of a join, Recovering of a recovery that was cut off, and BegunAnew that --new-cluster was given before.
	Unfinished, Recovering, BegunAnew bool
}

// Read reads a data folder and changes nothing. pkiDir is empty if it is pki in the data folder.
func Read(dir, pkiDir string) (*Folder, error) {
	has := func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}
	f := &Folder{Dir: dir, Unfinished: has(membership.MarkName), Recovering: has(RecoveringFile), BegunAnew: has(NewClusterFile)}
	data, err := os.ReadFile(filepath.Join(dir, IdentityFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	f.Name = strings.TrimSpace(string(data))
	if f.Kept, err = ReadKept(dir); err != nil {
		return nil, err
	}
	if f.Self, err = etcd.ReadSelf(filepath.Join(dir, "etcd")); err != nil && !errors.Is(err, etcd.ErrNoMember) {
		return nil, err
	}
	switch {
	case f.Kept != nil:
		f.proof = StoreFile
	case has(FirstStartFile):
	case has(EncryptionFile):
		f.proof = EncryptionFile
	case f.Name != "" && hasAuthority(dir, pkiDir):
		f.proof = IdentityFile + " and pki"
	default: // a join with --replace that was cut off has left nothing else
		f.proof = movedAway(dir)
	}
	return f, nil
}

func hasAuthority(dir, pkiDir string) bool {
	if pkiDir == "" {
		pkiDir = filepath.Join(dir, "pki")
	}
	_, err := os.Lstat(filepath.Join(pkiDir, "ca.crt"))
	return err == nil
}

// movedAway is a folder with data that were moved aside; empty without one.
func movedAway(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), MovedPrefix) {
			return "the old data are in " + e.Name()
		}
	}
	return ""
}

// HoldsMember tells whether there is data of a member of the store.
func HoldsMember(dataDir string) bool {
	entries, err := os.ReadDir(filepath.Join(dataDir, "etcd", "member"))
	return err == nil && len(entries) > 0
}

// Missing tells why what is in etcd/ cannot be what goes with the rest; empty if it can.
func (f *Folder) Missing() string {
	dir := filepath.Join(f.Dir, "etcd")
	switch {
	case f.Self == nil && f.proof != "" && HoldsMember(f.Dir):
		return fmt.Sprintf("its store in %s is incomplete: it has no log", dir)
	case f.Self == nil && f.proof != "":
		return fmt.Sprintf("its store in %s is missing (%s)", dir, f.proof)
	case f.Self == nil:
		return ""
	case f.Kept != nil && f.Kept.Member != "" &&
		(f.Kept.Member != membership.FormatID(f.Self.Member) || f.Kept.Cluster != membership.FormatID(f.Self.Cluster)):
		return fmt.Sprintf("the store in %s is not its own: it is that of member %s of the cluster %s, and %s names member %s of %s", dir,
			membership.FormatID(f.Self.Member), membership.FormatID(f.Self.Cluster), StoreFile, f.Kept.Member, f.Kept.Cluster)
	case f.Name != "" && f.Self.Name != "" && f.Self.Name != f.Name:
		return fmt.Sprintf("the store in %s is not its own: it is that of %s, and %s names %s", dir, f.Self.Name, IdentityFile, f.Name)
	}
	return ""
}

// Refuse is the error of a folder of which something is missing. newCluster tells that --new-cluster is given.
func (f *Folder) Refuse(newCluster bool, why string) error {
	once := ""
	if newCluster {
		once = ", which works once, and again only after a start without it"
	}
	return fmt.Errorf("the data folder %s is that of a master, but %s: see that its disk is mounted; if it is lost, restore a backup (wheelhouse backup restore --replace), "+
		"let this master join others anew (wheelhouse server --join …), or begin a new, empty cluster with --new-cluster%s", f.Dir, why, once)
}

// Card is what others would see of the folder's store.
func (f *Folder) Card() membership.Card {
	c := membership.Card{Master: f.Name}
	if f.Kept != nil {
		c.Store, c.Cluster, c.Member = f.Kept.Store, f.Kept.Cluster, f.Kept.Member
	}
	if f.Self != nil {
		c.Cluster, c.Member = membership.FormatID(f.Self.Cluster), membership.FormatID(f.Self.Member)
	}
	return c
}

// Dead tells why a folder's data can never be served again; nil if they can.
func (f *Folder) Dead(recovering bool) error {
	if f.Kept != nil && f.Kept.Successor != nil {
		return GivenUp(f.Dir, recovering, f.Kept)
	}
	if text, err := os.ReadFile(filepath.Join(f.Dir, "etcd", "removed")); err == nil {
		return fmt.Errorf("this master was removed from its cluster: %s (or add --replace to --join)", strings.TrimSpace(string(text)))
	}
	return nil
}

// CardOf is what a master's data folder says of its store; nil if it says nothing.
func CardOf(dir string) *membership.Card {
	kept, err := ReadKept(dir)
	if err != nil || kept == nil {
		return nil
	}
	return &membership.Card{Store: kept.Store, Cluster: kept.Cluster}
}

// CutFirstStart tells whether a folder is what a first start has left that was cut off. Nothing was acknowledged by it: the store serves
// when the folder has its identity, and holds nothing else until then. An etcd that holds more was put there by someone.
func CutFirstStart(dir string) (bool, error) {
	for name, expected := range map[string]bool{FirstStartFile: true, StoreFile: false, membership.MarkName: false, RecoveringFile: false} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("the data folder cannot be read: %w", err)
		}
		if (err == nil) != expected {
			return false, nil
		}
	}
	return etcd.HoldsOnly(filepath.Join(dir, "etcd"), notes.Store)
}

// CutOff is the error of a start that does not go on with the join that an earlier one had begun.
func CutOff(dir string, mark *membership.Mark) error {
	old := ""
	if mark.Aside != "" {
		old = fmt.Sprintf("; its former data are in %s, and are put back if the join is refused", mark.Aside)
	}
	return fmt.Errorf("the data folder %s belongs to a master whose joining was cut off: start it with --join again%s", dir, old)
}
