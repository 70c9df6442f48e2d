package placement

// numbers is room for the counts of one decision, which the next one uses again.
type numbers struct {
	room []int64
	used int
}

// reset begins another decision: what was taken before is no longer used.
func (m *numbers) reset() { m.used = 0 }

// take gives room for n numbers, all 0.
func (m *numbers) take(n int) []int64 {
	if m.used+n > len(m.room) {
		m.room, m.used = make([]int64, max(2*len(m.room), n)), 0 // what was taken keeps the old room
	}
	taken := m.room[m.used : m.used+n : m.used+n]
	m.used += n
	clear(taken)
	return taken
}
