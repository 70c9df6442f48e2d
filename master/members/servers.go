package members

import (
	"context"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// serverStatuses asks the servers of an external etcd how they are; none with a member in this process.
func (m *Members) serverStatuses(ctx context.Context) []membership.ServerStatus {
	if m.Remote == nil {
		return nil
	}
	var all []membership.ServerStatus
	for _, s := range m.Remote.Servers(ctx) {
		one := membership.ServerStatus{URL: s.URL, Version: s.Version, Live: s.Err == nil}
		if s.Err != nil {
			one.Problem = s.Err.Error()
			all = append(all, one)
			continue
		}
		of := s.Status
		one.Term, one.Index, one.Revision, one.Size, one.InUse, one.Alarms = of.Term, of.Index, of.Revision, of.Size, of.InUse, of.Alarms
		switch {
		case of.Leader == of.ID:
			one.Role = membership.RoleLeader
		case of.Learner:
			one.Role = membership.RoleLearner
		default:
			one.Role = membership.RoleVoter
		}
		all = append(all, one)
	}
	return all
}
