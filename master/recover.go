package master

import (
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

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

const (
	// recoveredFile is there from a recovery on until a start without --recover-quorum: the flag works once, though it
	// be left in a service's file.
	recoveredFile = "recovered"
	// asidePrefix begins the name of the copy of the store that a recovery leaves; the time follows.
	asidePrefix = "etcd.before-recovery-"
)

// prepareRecovery decides whether this start makes this master the only one. Without the confirmation it is refused, with
// what it would do.
func (m *Master) prepareRecovery() error {
	c := &m.config
	if c.DataDir == "" {
		return nil
	}
	file := filepath.Join(c.DataDir, recoveredFile)
	if !c.RecoverQuorum {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the data folder cannot be written: %w", err)
		}
		return nil
	}
	if at, err := os.ReadFile(file); err == nil {
		c.Log("--recover-quorum is left aside: this master has recovered already, at %s; leave the flag out from now on", strings.TrimSpace(string(at)))
		return nil
	}
	if !holdsMember(c.DataDir) {
		return fmt.Errorf("--recover-quorum: the data folder %s holds no master to go on with", c.DataDir)
	}
	members, err := etcd.ReadMembers(filepath.Join(c.DataDir, "etcd"))
	if err != nil {
		return err
	}
	var others []string
	for _, one := range members {
		if one.Name != m.identity {
			others = append(others, fmt.Sprintf("%s (%s)", one.Name, one.PeerURL))
		}
	}
	if len(others) == 0 {
		c.Log("--recover-quorum is left aside: this is the only master, and needs nobody else")
		return nil
	}
	if !c.ForgetOthers {
		return fmt.Errorf("--recover-quorum would make this the only master, with the data in %s, and forget %s. "+
			"They must be stopped now and never be started again with their data: empty their data folders, and let them join anew. "+
			"Writes that they had acknowledged and this master had not received yet would be lost: choose, with wheelhouse status or by the newest files, the master that is most current. "+
			"A copy of the store as it is now would be kept beside it. If most masters can be started again, do that instead. "+
			"To go on, add --yes-forget-other-masters", c.DataDir, strings.Join(others, ", "))
	}
	if living := answering(members, m.identity); len(living) > 0 {
		return fmt.Errorf("--recover-quorum: %s can be reached, so that there would be two clusters with the same name and different data: "+
			"stop what runs there first, or, if most masters run, start this one without --recover-quorum", strings.Join(living, ", "))
	}
	m.recovering = true
	return nil
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

// beginRecovery keeps a copy of the store as it is.
func (m *Master) beginRecovery() error {
	c := &m.config
	aside := filepath.Join(c.DataDir, asidePrefix+time.Now().UTC().Format("20060102T150405Z"))
	if err := copyFolder(filepath.Join(c.DataDir, "etcd"), aside); err != nil {
		return errors.Join(fmt.Errorf("--recover-quorum: the store cannot be copied aside, and nothing was changed: %w", err), os.RemoveAll(aside))
	}
	c.Log("recovering: a copy of the store is in %s; remove it when all is well", aside)
	return nil
}

// endRecovery notes that it has happened.
func (m *Master) endRecovery() error {
	m.recovering = false
	text := time.Now().UTC().Format(time.RFC3339) + "\n"
	if err := os.WriteFile(filepath.Join(m.config.DataDir, recoveredFile), []byte(text), 0o600); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	m.config.Log("recovered: this is the only master now; let others join with empty data folders, and leave --recover-quorum out")
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
