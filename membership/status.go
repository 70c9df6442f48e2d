package membership

import (
	"cmp"
	"fmt"
	"time"
)

// Roles of a master's member of the store.
const (
	RoleLeader  = "leader"
	RoleVoter   = "voter"
	RoleLearner = "learner"
)

// Certificate is when a certificate of a master ends.
type Certificate struct {
	Name    string    `json:"name"`
	Expires time.Time `json:"expires"`
	Days    int       `json:"days"`
}

// MasterStatus is what a master says of itself, or what is known of one that does not answer.
type MasterStatus struct {
	Name    string `json:"name"`
	ID      string `json:"id,omitempty"`
	URL     string `json:"url,omitempty"`
	PeerURL string `json:"peerURL,omitempty"`
	Version string `json:"version,omitempty"`
	// Live masters answer; Problem says why another does not.
	Live    bool   `json:"live"`
	Problem string `json:"problem,omitempty"`
	// Role of its member: leader, voter or learner; empty with an external etcd.
	Role string `json:"role,omitempty"`

	Term     uint64 `json:"term,omitempty"`
	Index    uint64 `json:"index,omitempty"`
	Applied  uint64 `json:"applied,omitempty"`
	Revision int64  `json:"revision,omitempty"`
	// Size of the database file and the part in use, in bytes.
	Size  int64 `json:"sizeBytes,omitempty"`
	InUse int64 `json:"inUseBytes,omitempty"`

	Alarms       []string      `json:"alarms,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`
	// StoreID is the identity of its store, and System the uid of kube-system there.
	StoreID string `json:"storeID,omitempty"`
	System  string `json:"kubeSystemUID,omitempty"`
	// Generation of the shared files that it uses.
	Generation int64 `json:"sharedGeneration"`
}

// Fragmented is the part of the database file that a defragmentation would give back, from 0 to 1.
func (m *MasterStatus) Fragmented() float64 {
	if m.Size == 0 {
		return 0
	}
	return 1 - float64(m.InUse)/float64(m.Size)
}

// Backup is the last one.
type Backup struct {
	Name string    `json:"name,omitempty"`
	At   time.Time `json:"at"`
	// Problem of the last attempt, if it failed.
	Problem string `json:"problem,omitempty"`
}

// Status of the whole cluster.
type Status struct {
	Healthy  bool     `json:"healthy"`
	Problems []string `json:"problems,omitempty"`
	// Store is embedded, external or memory.
	Store   string `json:"store"`
	Cluster string `json:"cluster,omitempty"`
	// Quorum of the embedded store as the master that was asked sees it; nil if there is but one member.
	Quorum *Quorum `json:"quorum,omitempty"`
	// Identity of the store, and System, the uid of kube-system.
	Identity *Store         `json:"identity,omitempty"`
	System   string         `json:"kubeSystemUID,omitempty"`
	Masters  []MasterStatus `json:"masters"`
	// Foreign are masters of the same authority that were met lately and belong to other stores.
	Foreign []Met `json:"foreign,omitempty"`
	// Servers of an external etcd.
	Servers []ServerStatus `json:"servers,omitempty"`
	// Leaders of controllers and scheduler, by Lease.
	Leaders map[string]string `json:"leaders"`
	// Encryption at rest in a word or two; empty if nothing is known of it.
	Encryption string  `json:"encryption,omitempty"`
	LastBackup *Backup `json:"lastBackup,omitempty"`
	// Unreadable are stored values that cannot be decrypted or decoded.
	Unreadable Unreadable `json:"unreadable,omitzero"`
}

// Quorum tells whether most of the voting masters can be reached.
type Quorum struct {
	Voters    int `json:"voters"`
	Answering int `json:"answering"`
	Needed    int `json:"needed"`
	// Lost tells that nobody leads: nothing can be written.
	Lost bool `json:"lost"`
}

// certificateDaysMin is how many days a certificate must last: a master that runs renews it long before.
const certificateDaysMin = 7

// Judge fills in Problems and Healthy.
func (s *Status) Judge() {
	leaders, voters := 0, 0
	for _, m := range s.Masters {
		if !m.Live {
			s.problem("%s does not answer: %s", cmp.Or(m.Name, m.ID), m.Problem)
		}
		switch m.Role {
		case RoleLeader:
			leaders++
			voters++
		case RoleVoter:
			voters++
		}
		for _, alarm := range m.Alarms {
			s.problem("%s: the store raises the alarm %s", m.Name, alarm)
		}
		for _, c := range m.Certificates {
			if c.Days < certificateDaysMin {
				s.problem("%s: the certificate %s ends on %s", m.Name, c.Name, c.Expires.UTC().Format(time.DateOnly))
			}
		}
		if m.Live && m.Generation != s.newest() {
			s.problem("%s uses an old generation of the shared authority and keys", m.Name)
		}
	}
	for i := range s.Foreign {
		if met := &s.Foreign[i]; !met.Superseded {
			s.problem("%s", met.Problem())
		}
	}
	s.judgeServers()
	if s.Store == "embedded" {
		switch q := s.Quorum; {
		case q != nil && q.Lost && q.Answering < q.Needed:
			s.problem("there is no quorum: %d of %d voting masters answer, and %d are needed. Writes and consistent reads fail until then; start the missing masters", q.Answering, q.Voters, q.Needed)
		case leaders == 0 || q != nil && q.Lost:
			s.problem("the masters have no leader")
		}
		if voters > 0 && voters%2 == 0 {
			s.problem("%d masters vote, which survive no more failures than %d: let another join", voters, voters-1)
		}
	}
	for lease, holder := range s.Leaders {
		if holder == "" {
			s.problem("nobody leads as %s", lease)
		}
	}
	if s.LastBackup != nil && s.LastBackup.Problem != "" {
		s.problem("the last backup failed: %s", s.LastBackup.Problem)
	}
	s.judgeUnreadable()
	s.Healthy = len(s.Problems) == 0
}

func (s *Status) newest() int64 {
	var newest int64
	for _, m := range s.Masters {
		newest = max(newest, m.Generation)
	}
	return newest
}

func (s *Status) problem(format string, args ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

// List is what is known of all masters without asking them: members first, in the order of the state, then, with an
// external etcd, those that live.
func List(s State) []MasterStatus {
	var all []MasterStatus
	live := map[string]Master{}
	for _, m := range s.Masters {
		live[m.Name] = m
	}
	for _, m := range s.Members {
		one := MasterStatus{Name: m.Name, ID: FormatID(m.ID), PeerURL: m.PeerURL, Live: m.Active, Role: RoleVoter}
		switch {
		case m.Learner:
			one.Role = RoleLearner
		case m.ID == s.Leader && m.Active:
			one.Role = RoleLeader
		}
		if master, ok := live[m.Name]; ok {
			one.URL, one.Version = master.URL, master.Version
		}
		all = append(all, one)
	}
	if len(s.Members) == 0 {
		for _, m := range s.Masters {
			all = append(all, MasterStatus{Name: m.Name, URL: m.URL, Version: m.Version, Live: true})
		}
	}
	return all
}
