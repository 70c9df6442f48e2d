package membership

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Origins of a store.
const (
	OriginNew       = "new"
	OriginAdopted   = "adopted" // it was there before stores had identities
	OriginRestored  = "restored"
	OriginRecovered = "recovered"
)

// Store is the identity of a cluster's data: of one history of writes. The cluster's authority, and kube-system's uid, survive
// a restored backup and a recovered majority, after which the same cluster can have two histories; this does not.
type Store struct {
	ID string `json:"id"`
	// Incarnation counts the stores that the cluster's data have had, this one included.
	Incarnation int       `json:"incarnation"`
	Origin      string    `json:"origin"`
	Made        time.Time `json:"made"`
	// Succeeds is the store that it was made from.
	Succeeds string `json:"succeeds,omitempty"`
	// Supersedes are stores that an operator has given up for this one, by their own identity and by that of their etcd: a master
	// of one of them must not go on. A restored backup supersedes nothing: it may be an exercise.
	Supersedes []string `json:"supersedes,omitempty"`
	// Former are the members of the store that it succeeds, which may come back.
	Former []Former `json:"former,omitempty"`
	// Successor has superseded this store.
	Successor *Successor `json:"successor,omitempty"`
}

// Former is a member that this store was made without.
type Former struct {
	Name    string `json:"name,omitempty"`
	PeerURL string `json:"peerURL"`
}

// Successor is the store that supersedes another.
type Successor struct {
	ID          string    `json:"id"`
	Incarnation int       `json:"incarnation"`
	Master      string    `json:"master"`
	At          time.Time `json:"at"`
}

// supersedesMax bounds what a store remembers of those before it.
const supersedesMax = 64

// NewStore makes the identity of a store that succeeds none.
func NewStore(origin string, now time.Time) Store {
	return Store{ID: newStoreID(), Incarnation: 1, Origin: origin, Made: now.UTC().Truncate(time.Second)}
}

func newStoreID() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}

// Next makes the identity of a store whose data are those of s, whose etcd had the identity cluster. A zero s had none yet.
func (s Store) Next(origin, cluster string, former []Former, now time.Time) Store {
	next := NewStore(origin, now)
	next.Incarnation, next.Succeeds = max(s.Incarnation, 1)+1, s.ID
	next.Supersedes = slices.Clone(s.Supersedes)
	next.Former = former
	if origin == OriginRecovered {
		if s.ID != "" {
			next.Supersedes = append(next.Supersedes, s.ID)
		}
		if cluster != "" {
			next.Supersedes = append(next.Supersedes, etcdPrefix+cluster)
		}
	}
	if n := len(next.Supersedes); n > supersedesMax {
		next.Supersedes = next.Supersedes[n-supersedesMax:]
	}
	return next
}

// Over makes s supersede the store by, too: the data of s had been given up for it, and their operator has come back to them.
func (s Store) Over(by *Successor) Store {
	if by != nil {
		s.Supersedes = append(slices.Clone(s.Supersedes), by.ID)
		s.Incarnation = max(s.Incarnation, by.Incarnation+1)
	}
	return s
}

// etcdPrefix begins the identity of an etcd among those of stores.
const etcdPrefix = "etcd:"

// Card is what a master shows of its store.
type Card struct {
	Store Store `json:"store"`
	// Cluster and Member are the identities of etcd; empty with an external etcd, or without one.
	Cluster string `json:"cluster,omitempty"`
	Member  string `json:"member,omitempty"`
	Master  string `json:"master,omitempty"`
	URL     string `json:"url,omitempty"`
	// System is the uid of the namespace kube-system.
	System string `json:"system,omitempty"`
}

// CardHeader is the header in which masters show their cards to each other, with every command.
const CardHeader = "Wheelhouse-Store"

// cardMax bounds a card that is read, in bytes.
const cardMax = 8 << 10

// Encode for CardHeader.
func (c Card) Encode() string {
	c.Store.Former = nil // of no use to others
	data, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// ReadCard of a header; nil if there is none that can be read.
func ReadCard(text string) *Card {
	if text == "" || len(text) > cardMax {
		return nil
	}
	data, err := base64.RawURLEncoding.DecodeString(text)
	c := &Card{}
	if err != nil || json.Unmarshal(data, c) != nil || c.Store.ID == "" && c.Cluster == "" {
		return nil
	}
	return c
}

// Relation of another's store to one's own.
type Relation int

// Relations. Unknown is that of stores of which one has no identity yet.
const (
	Unknown Relation = iota
	Same
	Foreign
	// Ours supersedes the other's, or the other's ours.
	Ours
	Theirs
)

// Toward tells the relation of another's store to one's own.
func (c *Card) Toward(other *Card) Relation {
	switch {
	case other.supersedes(c):
		return Theirs
	case c.supersedes(other):
		return Ours
	case c.Store.ID != "" && other.Store.ID != "":
		if c.Store.ID == other.Store.ID {
			return Same
		}
		return Foreign
	case c.Cluster != "" && other.Cluster != "":
		if c.Cluster == other.Cluster {
			return Same
		}
		return Foreign
	}
	return Unknown
}

func (c *Card) supersedes(other *Card) bool {
	return slices.ContainsFunc(c.Store.Supersedes, func(id string) bool {
		return id != "" && id == other.Store.ID || other.Cluster != "" && id == etcdPrefix+other.Cluster
	})
}

// Describe the store and whose card it is, for an operator.
func (c *Card) Describe() string {
	text := c.Store.Describe()
	if c.Store.ID == "" && c.Cluster != "" {
		text += fmt.Sprintf(" (cluster %s)", c.Cluster)
	}
	if c.Member != "" {
		text += ", member " + c.Member
	}
	if c.System != "" {
		text += ", kube-system " + c.System
	}
	return text
}

// Describe the identity for an operator.
func (s *Store) Describe() string {
	if s.ID == "" {
		return "a store without an identity"
	}
	text := fmt.Sprintf("store %s (%s, incarnation %d", s.ID, s.Origin, s.Incarnation)
	if s.Succeeds != "" {
		text += ", made from " + s.Succeeds
	}
	return text + ")"
}

// Met is a master of another store that was met.
type Met struct {
	Card
	// Superseded tells that its store was given up for the one that met it, so that it stops.
	Superseded bool      `json:"superseded,omitempty"`
	Last       time.Time `json:"lastMet"`
}

// Problem in words.
func (m *Met) Problem() string {
	who := m.Master
	if who == "" {
		who = "a client"
	}
	if m.URL != "" {
		who += " (" + m.URL + ")"
	}
	if m.Superseded {
		return fmt.Sprintf("%s was met with %s, which was given up for this one: it was told to stop", who, m.Describe())
	}
	return fmt.Sprintf("split brain: %s has the same authority and belongs to %s: stop one of the two, and let its masters join the other (wheelhouse server --join … --replace)", who, m.Describe())
}
