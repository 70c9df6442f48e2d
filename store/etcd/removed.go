package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// RemovedName is the file that marks the folder of a member that its group has removed. It holds when and why.
const RemovedName = "removed"

// errRemoved: etcd stopped because the group removed this member.
var errRemoved = errors.New("this master was removed from its cluster")

// wasRemoved is the error for a folder with a mark.
func wasRemoved(dir string) error {
	text, _ := os.ReadFile(filepath.Join(dir, RemovedName))
	return fmt.Errorf("%w: %s", errRemoved, strings.TrimSpace(string(text)))
}

// markRemoved marks the folder, and returns what wasRemoved would.
func (e *Embedded) markRemoved(why string) error {
	text := fmt.Sprintf("%s (%s). Its data in %s are out of date for good: to use this machine as a master again, "+
		"delete its data folder and join it anew", why, time.Now().UTC().Format(time.RFC3339), e.o.Dir)
	if err := durable.Replace(filepath.Join(e.o.Dir, RemovedName), []byte(text+"\n"), 0o600); err != nil {
		e.o.Warn(fmt.Sprintf("the data folder of a removed master could not be marked: %v", err))
	}
	return fmt.Errorf("%w: %s", errRemoved, text)
}

// Removed is closed when the member's group has removed it. All requests fail then, with the reason.
func (e *Embedded) Removed() <-chan struct{} { return e.gate.removed }

// attend waits for the end of a member that nobody here has asked to end.
func (e *Embedded) attend(r *running) {
	<-r.server.StopNotify()
	if r.leaving.Load() {
		return
	}
	err := e.explain(r, errors.New("etcd stopped"))
	if e.gate.end(fmt.Errorf("%w: %w", store.ErrClosed, err)) && errors.Is(err, errRemoved) {
		e.o.Warn(err.Error())
		close(e.gate.removed)
	}
}

// explain finds out why etcd stopped by itself or did not start.
func (e *Embedded) explain(r *running, err error) error {
	said := r.log.serverError()
	switch {
	case r.server != nil && r.server.IsIDRemoved(uint64(r.server.MemberID())), strings.Contains(said, "permanently removed"):
		return e.markRemoved(e.removalReason(r))
	case said != "":
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

func (e *Embedded) removalReason(r *running) string {
	if r.server != nil && isCorrupt(r.server.Alarms(), uint64(r.server.MemberID())) {
		return "its copy of the data differed from the other masters'"
	}
	return "another master did so"
}
