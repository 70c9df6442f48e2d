package membership

// ServerStatus is how a server of an etcd is that runs by itself.
type ServerStatus struct {
	URL     string `json:"url"`
	Version string `json:"version,omitempty"`
	// Live servers answer; Problem says why another does not.
	Live    bool   `json:"live"`
	Problem string `json:"problem,omitempty"`
	Role    string `json:"role,omitempty"`

	Term     uint64 `json:"term,omitempty"`
	Index    uint64 `json:"index,omitempty"`
	Revision int64  `json:"revision,omitempty"`
	// Size of the database file and the part in use, in bytes.
	Size  int64 `json:"sizeBytes,omitempty"`
	InUse int64 `json:"inUseBytes,omitempty"`

	Alarms []string `json:"alarms,omitempty"`
}

// judgeServers adds the problems of the servers.
func (s *Status) judgeServers() {
	for _, server := range s.Servers {
		if !server.Live {
			s.problem("the etcd server %s does not answer: %s", server.URL, server.Problem)
		}
		for _, alarm := range server.Alarms {
			s.problem("the etcd server %s: %s", server.URL, alarm)
		}
	}
}
