package client

import "context"

// subscriber holds the deltas that one Subscribe has not handled yet.
type subscriber struct {
	pending []Delta       // guarded by the mirror's mu
	wake    chan struct{} // has room for one: who wakes takes all that is pending
}

// publish is called with mu held.
func (m *mirror) publish(deltas []Delta) {
	if len(deltas) == 0 {
		return
	}
	for s := range m.subscribers {
		s.add(deltas)
	}
}

func (s *subscriber) add(deltas []Delta) {
	s.pending = append(s.pending, deltas...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (m *mirror) Subscribe(ctx context.Context, f func([]Delta)) {
	select {
	case <-m.synced:
	case <-ctx.Done():
		return
	}
	// What is there is taken under the lock under which it subscribes: no change falls between, and none comes twice.
	s := &subscriber{wake: make(chan struct{}, 1)}
	m.mu.Lock()
	present := make([]Delta, 0, m.length)
	for _, in := range m.byNamespace {
		for _, o := range in {
			present = append(present, Delta{New: o, Revision: Revision(o)})
		}
	}
	m.subscribers[s] = struct{}{}
	m.mu.Unlock()
	f(present) // without the lock: f may read the view
	m.deliver(ctx, s, f)
}

func (m *mirror) deliver(ctx context.Context, s *subscriber, f func([]Delta)) {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			m.mu.Lock()
			delete(m.subscribers, s)
			m.mu.Unlock()
			return
		}
		m.mu.Lock()
		deltas := s.pending
		s.pending = nil
		m.mu.Unlock()
		if len(deltas) > 0 {
			f(deltas)
		}
	}
}
