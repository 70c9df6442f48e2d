package master

import "github.com/wheelhouse-k8s/wheelhouse/membership"

// unreadableValues are those of the store that all masters share, as this one sees them.
func (m *Master) unreadableValues() membership.Unreadable {
	some, count := m.registry.Unreadable(membership.UnreadableMax)
	told := membership.Unreadable{Count: count}
	for _, u := range some {
		told.Values = append(told.Values, membership.UnreadableValue{Key: u.Key, Reason: u.Err.Error()})
	}
	return told
}
