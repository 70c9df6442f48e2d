package enrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// prepareRecovery decides whether this start makes this master the only one. Without the confirmation it is refused, with
// what it would do.
func (e *Enrolment) prepareRecovery() error {
	c := &e.Options
	if c.DataDir == "" {
		return nil
	}
	if begun, err := e.goesOn(); begun || err != nil {
		return err
	}
	if !c.RecoverQuorum {
		return datafolder.RemoveFile(c.DataDir, datafolder.RecoveredFile)
	}
	kept, err := datafolder.ReadKept(c.DataDir)
	if err != nil {
		return err
	}
	back := kept != nil && kept.Successor != nil // examine has let only those through whose operator goes on with them after all
	if at, err := os.ReadFile(filepath.Join(c.DataDir, datafolder.RecoveredFile)); err == nil && !back {
		c.Log("--recover-quorum is left aside: this master has recovered already, at %s; leave the flag out from now on", strings.TrimSpace(string(at)))
		return nil
	}
	if !datafolder.HoldsMember(c.DataDir) {
		return fmt.Errorf("--recover-quorum: the data folder %s holds no master to go on with", c.DataDir)
	}
	members, err := etcd.ReadMembers(filepath.Join(c.DataDir, "etcd"))
	if err != nil {
		return err
	}
	var others []string
	for _, one := range members {
		if one.Name != e.Name {
			others = append(others, fmt.Sprintf("%s (%s)", one.Name, one.PeerURL))
		}
	}
	if len(others) == 0 && !back {
		c.Log("--recover-quorum is left aside: this is the only master, and needs nobody else")
		return nil
	}
	if back {
		others = append(others, "the masters of store "+kept.Successor.ID)
	}
	if !c.ForgetOthers {
		return fmt.Errorf("--recover-quorum would make this the only master, with the data in %s, and forget %s. "+
			"They must be stopped now and never be started again with their data: empty their data folders, and let them join anew. "+
			"Writes that they had acknowledged and this master had not received yet would be lost: choose, with wheelhouse status or by the newest files, the master that is most current. "+
			"A copy of the store as it is now would be kept beside it. If most masters can be started again, do that instead. "+
			"To go on, add --yes-forget-other-masters", c.DataDir, strings.Join(others, ", "))
	}
	if living := answering(members, e.Name); len(living) > 0 {
		return fmt.Errorf("--recover-quorum: %s can be reached, so that there would be two clusters with the same name and different data: "+
			"stop what runs there first, or, if most masters run, start this one without --recover-quorum", strings.Join(living, ", "))
	}
	e.recovering = true
	return nil
}

// goesOn tells whether a recovery was cut off, which this start then goes on with.
func (e *Enrolment) goesOn() (bool, error) {
	note := filepath.Join(e.DataDir, datafolder.RecoveringFile)
	if _, err := os.Lstat(note); err != nil {
		return false, nil
	}
	if !datafolder.HoldsMember(e.DataDir) {
		return false, fmt.Errorf("a recovery from a lost quorum was cut off in the data folder %s, and its store is missing: see that its disk is mounted; "+
			"if it is lost, remove the file %s", e.DataDir, note)
	}
	e.Log("a recovery from a lost quorum was cut off: going on with it")
	e.recovering = true
	return true, nil
}

// answerWait is how long another master's store may take to accept a connection.
const answerWait = 2 * time.Second

// answering are the other members that something listens for.
func answering(members []etcd.Member, self string) []string {
	found := make([]string, len(members))
	var wait sync.WaitGroup
	for n, one := range members {
		at, err := url.Parse(one.PeerURL)
		if err != nil || one.Name == self {
			continue
		}
		wait.Go(func() {
			if c, err := net.DialTimeout("tcp", at.Host, answerWait); err == nil {
				c.Close()
				found[n] = fmt.Sprintf("%s (%s)", one.Name, one.PeerURL)
			}
		})
	}
	wait.Wait()
	return slices.DeleteFunc(found, func(s string) bool { return s == "" })
}

// recovery is a recovery under way.
type recovery struct {
	// Aside is the copy of the store as it was, and Former are the members that are forgotten.
	Aside  string              `json:"aside"`
	Former []membership.Former `json:"former"`
	// Cluster is the identity that etcd had.
	Cluster string `json:"cluster"`
	// Successor is the store for which this one had been given up, and which is given up in turn.
	Successor *membership.Successor `json:"successor,omitempty"`
}

// Recover makes this master's store one of its own: etcd's own way of going on alone first, then a member of new identity from
// what it gave, as at a restore. So the others' messages are not taken for those of members, and what clients saw of writes that are
// lost is of the past.
func (e *Enrolment) Recover(ctx context.Context, o etcd.Options) error {
	r, err := e.beginRecovery()
	if err != nil {
		return err
	}
	dir := o.Dir
	self, err := etcd.ReadSelf(dir)
	if err != nil {
		return err
	}
	kept, err := datafolder.ReadKept(e.DataDir)
	if err != nil {
		return err
	}
	if kept == nil || !kept.Pending || kept.Member != membership.FormatID(self.Member) { // else all but the last step was done
		if err := e.renewStore(ctx, o, r, kept); err != nil {
			return fmt.Errorf("--recover-quorum: %w: the store as it was is in %s; the next start tries again", err, r.Aside)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, renewedName)); err != nil { // the old member, if the exchange was the last that was done
		return err
	}
	text := time.Now().UTC().Format(time.RFC3339) + "\n"
	if err := datafolder.WriteFile(filepath.Join(e.DataDir, datafolder.RecoveredFile), []byte(text)); err != nil {
		return err
	}
	if err := datafolder.RemoveFile(e.DataDir, datafolder.RecoveringFile); err != nil {
		return err
	}
	e.recovering = false
	e.Log("recovered: this is the only master now; let others join with --replace, or with empty data folders, and leave --recover-quorum out")
	return nil
}

// beginRecovery keeps a copy of the store as it is, and notes what was decided, unless an earlier start has.
func (e *Enrolment) beginRecovery() (*recovery, error) {
	c := &e.Options
	file := filepath.Join(c.DataDir, datafolder.RecoveringFile)
	data, err := os.ReadFile(file)
	if err == nil {
		r := &recovery{}
		if err := json.Unmarshal(data, r); err != nil {
			return nil, fmt.Errorf("%s cannot be read: %w", file, err)
		}
		return r, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	self, err := etcd.ReadSelf(filepath.Join(c.DataDir, "etcd"))
	if err != nil {
		return nil, err
	}
	r := &recovery{Aside: filepath.Join(c.DataDir, datafolder.RecoveryPrefix+datafolder.Moment()), Cluster: membership.FormatID(self.Cluster)}
	r.Former = datafolder.FormerOf(self.Members, self.Member)
	kept, err := datafolder.ReadKept(c.DataDir)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		r.Successor = kept.Successor
	}
	if err := copyAside(c.DataDir, r.Aside); err != nil {
		return nil, fmt.Errorf("--recover-quorum: the store cannot be copied aside, and nothing was changed: %w", err)
	}
	if data, err = json.Marshal(r); err != nil {
		return nil, err
	}
	if err := datafolder.WriteFile(file, append(data, '\n')); err != nil {
		return nil, err
	}
	c.Log("recovering: a copy of the store is in %s; remove it when all is well", r.Aside)
	return r, nil
}

// renewStore makes a member of new identity from the one that is there, and puts it into its place.
func (e *Enrolment) renewStore(ctx context.Context, o etcd.Options, r *recovery, kept *datafolder.Kept) error {
	alone := o
	alone.ForceNew, alone.Peer, alone.Running = true, nil, nil
	opened, err := etcd.Open(ctx, alone)
	if err != nil {
		return err
	}
	_, err = opened.Revision(ctx) // all that is in the log is in the database now
	if err := errors.Join(err, opened.Close()); err != nil {
		return err
	}
	var before membership.Store
	if kept != nil {
		before = kept.Store
	}
	next := filepath.Join(o.Dir, renewedName)
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	_, err = etcd.Restore(etcd.RestoreOptions{
		Snapshot: filepath.Join(o.Dir, "member", "snap", "db"), Checked: true, Dir: next, Name: e.Name, Token: string(uuid.NewUUID()),
		Bump: datafolder.RevisionBump, Drop: func(key, value []byte) bool {
			if string(key) == notes.Store {
				datafolder.NoteStore(&before, value)
				return true
			}
			return strings.HasPrefix(string(key), notes.Masters) || strings.HasPrefix(string(key), notes.Invitations)
		},
	})
	if err != nil {
		return err
	}
	fresh, err := datafolder.KeptFor(next, before.Next(membership.OriginRecovered, r.Cluster, r.Former, e.Now()).Over(r.Successor))
	if err != nil {
		return err
	}
	if err := durable.SyncTree(next); err != nil {
		return err
	}
	if err := fresh.Write(e.DataDir); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(next, "member"), unix.AT_FDCWD, filepath.Join(o.Dir, "member"), unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("the new store cannot take the place of the old one: %w", err)
	}
	return errors.Join(durable.SyncFolder(o.Dir), os.RemoveAll(next))
}

// renewedName is where a member of new identity is made, beside the old one: the folder may be a file system of its own.
const renewedName = ".renewed"

// copyingSuffix ends the name of a copy that is not whole yet.
const copyingSuffix = ".copying"

// copyAside keeps a copy of the store, which has its name when it is whole. What earlier tries have left is removed.
func copyAside(dataDir, aside string) error {
	left, err := filepath.Glob(filepath.Join(datafolder.Escape(dataDir), datafolder.RecoveryPrefix+"*"+copyingSuffix))
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	copying := aside + copyingSuffix
	err = copyFolder(filepath.Join(dataDir, "etcd"), copying)
	if err == nil {
		err = durable.SyncTree(copying)
	}
	if err == nil {
		err = durable.Rename(copying, aside)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(copying))
	}
	return nil
}

// copyFolder copies files and folders; file systems that can share the blocks of both copies do.
func copyFolder(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, rest), 0o700)
		}
		return copyFile(path, filepath.Join(to, rest))
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}
