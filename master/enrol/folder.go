package enrol

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
)

// examine refuses a folder that was a master's and whose store is missing, or is another's: what would start on it is a new, empty
// cluster, which takes itself for well.
func (e *Enrolment) examine() error {
	c := &e.Options
	if c.DataDir == "" {
		return nil
	}
	if err := e.startOver(); err != nil {
		return err
	}
	f, err := datafolder.Read(c.DataDir, c.PKIDir)
	if err != nil || f.Unfinished || f.Recovering {
		return err
	}
	if c.External {
		return e.renewNewCluster(c.NewCluster)
	}
	if why := f.Missing(); why != "" {
		if len(c.Join) > 0 && f.Self == nil { // it gets the data of others
			return nil
		}
		if !c.NewCluster || f.BegunAnew {
			return f.Refuse(c.NewCluster, why)
		}
		if err := e.beginAnew(why); err != nil {
			return err
		}
		f.Name, f.Self, f.Kept = "", nil, nil // they are aside
	}
	if f.Kept != nil && f.Kept.Successor != nil && len(c.Join) == 0 && !c.takesBack(f.Kept.Successor) {
		return datafolder.GivenUp(c.DataDir, c.RecoverQuorum, f.Kept)
	}
	// A name may be left of a join that failed: the store is a new one all the same, since nothing was missing.
	if f.Self == nil && len(c.Join) == 0 {
		e.began = true
		if err := datafolder.WriteFile(filepath.Join(c.DataDir, datafolder.FirstStartFile), nil); err != nil {
			return err
		}
	}
	if f.Self != nil && f.Name == "" && f.Self.Name != "" {
		c.Warn("the data folder had lost the file identity: it was made again from the store, for %s", f.Self.Name)
		if err := datafolder.WriteFile(filepath.Join(c.DataDir, datafolder.IdentityFile), []byte(f.Self.Name+"\n")); err != nil {
			return err
		}
	}
	e.began = e.began || f.Self == nil
	return e.renewNewCluster(c.NewCluster)
}

// startOver removes what a first start that was cut off has made of the store: an etcd whose log was cut off before it names its one
// member would wait for others forever.
func (e *Enrolment) startOver() error {
	cut, err := datafolder.CutFirstStart(e.DataDir)
	if err != nil || !cut || !datafolder.HoldsMember(e.DataDir) {
		return err
	}
	e.Log("the first start on this folder was cut off before anything was in its store: making the store anew")
	if err := os.RemoveAll(filepath.Join(e.DataDir, "etcd", "member")); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return nil
}

// renewNewCluster notes whether --new-cluster is given.
func (e *Enrolment) renewNewCluster(given bool) error {
	if !given {
		return datafolder.RemoveFile(e.DataDir, datafolder.NewClusterFile)
	}
	if !e.began {
		e.Log("--new-cluster is left aside: this folder holds a cluster's data; leave the flag out")
	}
	return datafolder.WriteFile(filepath.Join(e.DataDir, datafolder.NewClusterFile), []byte(e.Now().UTC().Format(time.RFC3339)+"\n"))
}

// beginAnew moves what is left of the store and of its identity aside.
func (e *Enrolment) beginAnew(why string) error {
	c := &e.Options
	c.Warn("--new-cluster: beginning a new, empty cluster, though %s", why)
	aside := filepath.Join(c.DataDir, datafolder.MovedPrefix+datafolder.Moment())
	for _, name := range []string{"etcd", datafolder.StoreFile, datafolder.IdentityFile} {
		if err := datafolder.MoveAside(c.DataDir, name, aside); err != nil {
			return err
		}
	}
	return nil
}
