package membership

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// IdentityPath is where a master shows its store and members to who joins, below admin.Root.
const IdentityPath = JoinPath + "/identity"

// Belonging is what a master says to who asks whether a folder is part of its cluster.
type Belonging struct {
	Card
	Members []BelongingMember `json:"members"`
}

// BelongingMember is one member of the store.
type BelongingMember struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Answer is what one of the servers of --join said.
type Answer struct {
	Server string
	Belonging
	Err error
}

// askTimeout bounds the question to one server.
const askTimeout = 5 * time.Second

// Ask asks all servers to whose cluster they belong, at the same time. A pair that the authority of the servers has issued is
// better than the token, which may have expired long ago.
func (j *Joiner) Ask(ctx context.Context, pair *tls.Certificate) []Answer {
	if j.Now == nil {
		j.Now = time.Now
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answers := make([]Answer, len(j.Servers))
	var asking sync.WaitGroup
	for i, server := range j.Servers {
		answers[i].Server = server
		asking.Go(func() { answers[i].Belonging, answers[i].Err = j.askIdentity(ctx, server, pair) })
	}
	asking.Wait()
	return answers
}

func (j *Joiner) askIdentity(ctx context.Context, server string, pair *tls.Certificate) (b Belonging, err error) {
	client, err := j.clientWith(server, pair)
	if err != nil {
		return b, err
	}
	return b, client.Get(ctx, IdentityPath, &b)
}

// Judge tells why a folder, whose card is own and whose master has a name, is not part of the cluster that has answered; nil if
// it is.
func (b *Belonging) Judge(own *Card, server string) error {
	switch own.Toward(&b.Card) {
	case Theirs:
		return fmt.Errorf("it holds %s, which the masters at %s have given up for %s when they recovered from a lost quorum", own.Describe(), server, b.Describe())
	case Foreign, Ours:
		return fmt.Errorf("it holds %s, and %s belongs to %s", own.Describe(), server, b.Describe())
	}
	i := slices.IndexFunc(b.Members, func(m BelongingMember) bool { return m.ID == own.Member })
	switch {
	case own.Member == "" || len(b.Members) == 0:
		return nil // with an external etcd, or while the master starts
	case i < 0:
		return fmt.Errorf("its member %s is none of the cluster's at %s: it was removed", own.Member, server)
	case b.Members[i].Name != "" && own.Master != "" && b.Members[i].Name != own.Master:
		return fmt.Errorf("its member %s is %s in the cluster at %s, and the folder is that of %s", own.Member, b.Members[i].Name, server, own.Master)
	}
	return nil
}

// Agree gives the first answer there is. Servers of different stores are an error: which one is meant?
func Agree(answers []Answer) (*Answer, error) {
	var first *Answer
	var failed []error
	for i := range answers {
		a := &answers[i]
		switch {
		case a.Err != nil:
			failed = append(failed, fmt.Errorf("%s: %s", a.Server, brief(a.Err)))
		case first == nil:
			first = a
		case first.Toward(&a.Card) > Same:
			return nil, Disagreement(fmt.Sprintf("the servers of --join belong to different stores: %s to %s, and %s to %s: name those of one, and stop or rejoin the others",
				first.Server, first.Describe(), a.Server, a.Describe()))
		}
	}
	if first == nil {
		return nil, errors.Join(failed...)
	}
	return first, nil
}

// Disagreement is the error of servers that belong to different stores.
type Disagreement string

func (d Disagreement) Error() string { return string(d) }

// brief is an error on one line.
func brief(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
