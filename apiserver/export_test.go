package apiserver

// Seats are the seats in use, by what they are for.
func (s *Server) Seats() map[string]int {
	l := &s.limits
	return map[string]int{"reads": l.reads.Taken(), "writes": l.writes.Taken(), "bodies": l.bodies.Taken(), "large": l.large.Taken(), "long": l.long.Taken()}
}
