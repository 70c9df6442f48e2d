// Package enrol decides what a start does with its data folder: go on with what is in it, begin a cluster, join one, or go on alone after
// a lost quorum. It refuses wrong data before it asks or writes anything. See DESIGN.md.
package enrol

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// abandonTimeout bounds the attempt of a master that could not start to leave the cluster as it was.
const abandonTimeout = 15 * time.Second

// Options are what the operator wants, and what this master is to others.
type Options struct {
	// DataDir is the folder; empty keeps everything in memory. PKIDir holds the authority.
	DataDir, PKIDir string
	// Join are URLs of masters to join, Token lets it, and AuthorityHashes say which authority they must have.
	Join            []string
	Token           string
	AuthorityHashes []string
	// RecoverQuorum makes this the only master, after ForgetOthers has confirmed it. ForgetStore names the store for which this
	// master's data were given up, when it is to go on with them after all.
	RecoverQuorum, ForgetOthers bool
	ForgetStore                 string
	// NewCluster begins a cluster on a folder whose store is lost, Replace moves data aside that are not the cluster's to join.
	NewCluster, Replace bool
	// External tells that the data are in an external etcd.
	External bool
	// Settings are the flags that all masters must have alike, PeerURL is where others will reach this one's member of the store.
	Settings  map[string]string
	PeerURL   func() (string, error)
	Now       func() time.Time
	Log, Warn func(format string, args ...any)
}

// Enrolment is one start on a folder.
type Enrolment struct {
	Options
	// Name of this master among all.
	Name string
	// joining is nil unless this start is one that joins; recovering is true if it makes this the only master.
	joining    *joining
	recovering bool
	// asking is not nil while it is open whether the folder belongs to the cluster that --join names; began tells that the store
	// is made by this start.
	asking *asking
	began  bool
}

// Prepare looks at a folder that this process has locked, and decides what this start is. It asks nobody.
func Prepare(o Options) (*Enrolment, error) {
	e := &Enrolment{Options: o}
	if o.DataDir != "" {
		if err := e.undoReplace(); err != nil {
			return nil, err
		}
	}
	if err := e.examine(); err != nil {
		return nil, err
	}
	var err error
	if e.Name, err = datafolder.Identify(o.DataDir); err != nil {
		return nil, err
	}
	if err := e.prepareJoin(); err != nil {
		return nil, err
	}
	return e, e.prepareRecovery()
}

// Open tells that others must be asked before anything else: the authority is still to come.
func (e *Enrolment) Open() bool { return e.joining != nil || e.asking != nil }

// Decide asks the others, if that is open, and joins them.
func (e *Enrolment) Decide(ctx context.Context) error {
	if e.asking != nil {
		if err := e.askFirst(ctx); err != nil {
			return err
		}
	}
	if e.joining != nil {
		return e.join(ctx)
	}
	return nil
}

// Grant is what the others gave to this master, which joins; nil otherwise.
func (e *Enrolment) Grant() *membership.Grant {
	if e.joining == nil {
		return nil
	}
	return e.joining.grant
}

// Joining tells that a join is under way: it ends with Joined, or is undone with Undo.
func (e *Enrolment) Joining() bool { return e.joining != nil }

// Recovering tells that this start makes this the only master: see Recover.
func (e *Enrolment) Recovering() bool { return e.recovering }

// Began tells that the store is made by this start.
func (e *Enrolment) Began() bool { return e.began }

// joining is a join under way.
type joining struct {
	joiner *membership.Joiner
	mark   *membership.Mark
	grant  *membership.Grant
}

// Check finds flags that do not go together.
func (c *Options) Check() error {
	if c.RecoverQuorum && len(c.Join) > 0 {
		return errors.New("--recover-quorum and --join exclude each other: the first goes on with this master's data, the second takes another's")
	}
	if c.Replace && len(c.Join) == 0 {
		return errors.New("--replace says what to do with old data when this master joins others: it goes with --join")
	}
	if c.NewCluster && (len(c.Join) > 0 || c.RecoverQuorum) {
		return errors.New("--new-cluster begins an empty cluster: it goes neither with --join nor with --recover-quorum")
	}
	if c.ForgetOthers && !c.RecoverQuorum {
		return errors.New("--yes-forget-other-masters is only for --recover-quorum")
	}
	if c.ForgetStore != "" && !c.RecoverQuorum {
		return errors.New("--yes-forget-store is only for --recover-quorum")
	}
	if len(c.Join) == 0 {
		if c.Token != "" || len(c.AuthorityHashes) > 0 {
			return errors.New("--token and --discovery-token-ca-cert-hash say how to join: give the masters to join with --join")
		}
		return nil
	}
	switch {
	case c.DataDir == "":
		return errors.New("--join: a master that keeps everything in memory cannot join others")
	case c.Token == "":
		return errors.New("--join needs --token: the command that wheelhouse token create prints has it")
	case len(c.AuthorityHashes) == 0:
		return errors.New("--join needs --discovery-token-ca-cert-hash: the command that wheelhouse token create prints has it")
	}
	if err := membership.CheckServers(c.Join); err != nil {
		return err
	}
	if err := membership.CheckHashes(c.AuthorityHashes); err != nil {
		return fmt.Errorf("--discovery-token-ca-cert-hash: %w", err)
	}
	if _, err := membership.ParseToken(c.Token); err != nil {
		return fmt.Errorf("--token: %w", err)
	}
	return nil
}

// prepareJoin decides whether this start is one that joins. It refuses data that cannot be this cluster's before
// anything is asked or written.
func (e *Enrolment) prepareJoin() error {
	c := &e.Options
	if c.DataDir == "" {
		return nil
	}
	mark, err := membership.ReadMark(c.DataDir)
	if err != nil {
		return err
	}
	if len(c.Join) == 0 {
		if mark != nil {
			return datafolder.CutOff(c.DataDir, mark)
		}
		return nil
	}
	folder := membership.Folder{Unfinished: mark != nil, Member: datafolder.HoldsMember(c.DataDir)}
	if folder.Authority, err = os.ReadFile(filepath.Join(c.PKIDir, "ca.crt")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the authority cannot be read: %w", err)
	}
	plan, err := folder.Decide(c.DataDir, c.AuthorityHashes, c.External, c.Replace)
	if err != nil {
		return err
	}
	switch plan {
	case membership.Start:
		c.Log("--join is left aside: this is a master of that cluster already")
		return nil
	case membership.AskFirst, membership.Replace:
		return e.prepareAsking(plan)
	}
	if mark != nil {
		c.Log("an earlier attempt to join was cut off: beginning anew")
		if err := mark.Clear(); err != nil {
			return err
		}
	}
	e.joining = &joining{mark: mark}
	return nil
}

// join asks to join and puts the files that it gets into place.
func (e *Enrolment) join(ctx context.Context) (err error) {
	c := &e.Options
	j := e.joining
	token, err := membership.ParseToken(c.Token)
	if err != nil {
		return fmt.Errorf("--token: %w", err)
	}
	request := membership.Request{
		Name: e.Name, Version: health.Version().GitVersion, External: c.External, Settings: c.Settings,
	}
	if !request.External {
		if request.PeerURL, err = c.PeerURL(); err != nil {
			return err
		}
	}
	j.joiner = &membership.Joiner{Servers: c.Join, Token: token, Hashes: c.AuthorityHashes, Request: request, Log: c.Log,
		KeyFile: filepath.Join(c.DataDir, membership.KeyName)}
	aside := ""
	if j.mark != nil {
		aside = j.mark.Aside
	}
	mark, err := membership.NewMark(c.DataDir, aside, c.PKIDir)
	if err != nil {
		return err
	}
	j.mark = mark
	if j.grant, err = j.joiner.Join(ctx); err != nil {
		return fmt.Errorf("this master did not join: %w", err)
	}
	return e.takeFiles(j.grant.Files)
}

// takeFiles writes the shared files. The folders hold nothing of another cluster.
func (e *Enrolment) takeFiles(files map[string][]byte) error {
	for name, data := range files {
		path := filepath.Join(e.DataDir, name)
		rest, isPKI := strings.CutPrefix(name, datafolder.SharedPKI)
		if isPKI {
			path = filepath.Join(e.PKIDir, rest)
		}
		if !isPKI && name != datafolder.EncryptionFile || !filepath.IsLocal(rest) {
			return fmt.Errorf("the master sent a file that is not known: %q", name)
		}
		if err := durable.MakeFolder(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("the data folder cannot be written: %w", err)
		}
		mode := os.FileMode(0o600)
		if ext := filepath.Ext(name); ext == ".crt" || ext == ".pub" {
			mode = 0o644
		}
		if err := durable.Replace(path, data, mode); err != nil {
			return fmt.Errorf("the data folder cannot be written: %w", err)
		}
	}
	return nil
}

// Undo leaves the cluster and the folder as they were. closing closes the store, if it is open.
func (e *Enrolment) Undo(ctx context.Context, closing func() error) error {
	j := e.joining
	var err error
	if j.grant != nil && j.grant.Member != 0 {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
		err = j.joiner.Abandon(leaving, j.grant)
		cancel()
		if apierrors.IsConflict(err) { // it has a vote: the others count on what it has stored
			e.joining = nil
			return errors.Join(fmt.Errorf("this master has joined, and did not come to serve: start it again: %w", err), j.mark.Done())
		}
		if err != nil {
			err = fmt.Errorf("the other masters could not be told that this one did not join; they forget it in two minutes: %w", err)
		}
	}
	err = errors.Join(err, closing())
	if j.mark != nil {
		err = errors.Join(err, j.mark.Undo())
	}
	return err
}

// Joined ends the join: from here on the master is one like any other, and starts without --join.
func (e *Enrolment) Joined() error {
	j := e.joining
	e.joining = nil
	if err := errors.Join(j.mark.Done(), durable.Remove(filepath.Join(e.DataDir, membership.KeyName))); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	e.Log("joined the cluster of %s", j.grant.Server)
	return nil
}
