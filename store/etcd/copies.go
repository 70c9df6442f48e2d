package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
)

// errDiffers: the copy of a starting member is not the others'.
var errDiffers = errors.New("this master's copy of the data differs from the other masters': remove this master from the cluster by a command to another one, " +
	"delete its data folder and join it anew")

// foundInconsistent is in etcd's error when a starting member's copy differs from its peers'.
const foundInconsistent = "found data inconsistency with peers"

func differs(err error) bool { return err != nil && strings.Contains(err.Error(), foundInconsistent) }

// tellCopies bounds how often the operator is told of copies that differ and cannot be told apart.
const tellCopies = time.Minute

// checkCopies acts on alarms of copies that differ. Nothing can be written while there is one. The leader removes a
// member whose copy is wrong, if the others can go on without it, and clears the alarm.
func (e *Embedded) checkCopies() {
	server := e.gate.member().server
	for _, a := range server.Alarms() {
		if a.Alarm != pb.AlarmType_CORRUPT || server.Leader() != server.MemberID() {
			continue
		}
		if err := e.isolate(a); err != nil && e.closing.Err() == nil && time.Since(e.told[foundInconsistent]) >= tellCopies {
			e.told[foundInconsistent] = time.Now()
			e.o.Warn(fmt.Sprintf("the copies of the data in the masters differ, and nothing can be written: %v", err))
		}
	}
}

// isolate removes the member that the alarm names, and clears the alarm when it is gone.
func (e *Embedded) isolate(a *pb.AlarmMember) error {
	server := e.gate.member().server
	list := server.Cluster().Members()
	named := server.Cluster().Member(types.ID(a.MemberID))
	switch {
	case len(list) == 1: // the only copy left is the right one
	case a.MemberID == 0:
		return errors.New("it cannot be told whose copy is right, because no majority agrees: " +
			"restore a backup, or remove all masters but the one to be trusted")
	case a.MemberID == e.ID():
		e.stepDown(e.closing)
		if server.Leader() == server.MemberID() {
			return errors.New("this master's copy is wrong, and no other can lead: start the others")
		}
		return nil
	case named != nil:
		ctx, cancel := context.WithTimeout(e.closing, changeWait)
		defer cancel()
		name := nameOf(named.Name, named.PeerURLs)
		if err := e.Remove(ctx, a.MemberID); err != nil {
			return fmt.Errorf("%s holds a wrong copy: %w", name, err)
		}
		e.o.Warn(fmt.Sprintf("the copy of the data in %s differed from the others': it was removed from the cluster. Delete its data folder and join it anew", name))
	}
	if err := e.disarm(a); err != nil {
		return fmt.Errorf("the alarm was not cleared: %w", err)
	}
	e.o.Warn("the alarm of differing copies was cleared: writes work")
	return nil
}
