package identity

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// askPeers shows this master's card at the doors of other masters' stores, and looks at theirs.
func (id *Identity) askPeers(ctx context.Context, peer *etcd.Peer, addresses []string, wait time.Duration) {
	http, err := peer.Client(wait)
	if err != nil {
		return
	}
	defer http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var asking sync.WaitGroup
	for _, address := range addresses {
		asking.Go(func() {
			if card, err := id.askPeer(ctx, http, address); err == nil {
				id.Meet(card)
			}
		})
	}
	asking.Wait()
}

// peerCardMax bounds what another master shows, in bytes.
const peerCardMax = 16 << 10

func (id *Identity) askPeer(ctx context.Context, with *http.Client, address string) (*membership.Card, error) {
	own := id.Card()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address+peerStorePath, strings.NewReader(own.Encode()))
	if err != nil {
		return nil, err
	}
	response, err := with.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, peerCardMax))
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %w", address, response.Status, err)
	}
	card := membership.ReadCard(string(bytes.TrimSpace(data)))
	if card == nil {
		return nil, fmt.Errorf("%s shows nothing that can be read", address)
	}
	return card, nil
}

// AnswerPeer answers a master of the same authority at the door of the store.
func (id *Identity) AnswerPeer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != peerStorePath || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, peerCardMax))
	if err != nil {
		http.Error(w, "too long", http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, id.Card().Encode()) // the caller has gone
	id.Meet(membership.ReadCard(string(data)))
}

// AskMembers asks, before the store is opened, the other members that the folder knows: one of them may have given this store up.
func (id *Identity) AskMembers(ctx context.Context, o *etcd.Options) error {
	f, err := datafolder.Read(id.DataDir, id.PKIDir)
	if err != nil {
		return err
	}
	card := f.Card()
	id.Show(&card)
	if o.Peer == nil || o.Join != nil {
		return nil
	}
	members, err := etcd.ReadMembers(o.Dir)
	if err != nil {
		return err
	}
	var addresses []string
	for _, one := range members {
		if !strings.HasPrefix(one.PeerURL, "https://") {
			continue
		}
		if membership.FormatID(one.ID) != card.Member {
			addresses = append(addresses, one.PeerURL)
		} else if err := id.askDouble(ctx, o.Peer, &card, one.PeerURL); err != nil {
			return err
		}
	}
	id.askPeers(ctx, o.Peer, addresses, startAskWait)
	return id.Why()
}

// askDouble asks where this member was last, whether it runs there: this folder is then a copy, and two members with one identity
// would both vote.
func (id *Identity) askDouble(ctx context.Context, peer *etcd.Peer, own *membership.Card, address string) error {
	http, err := peer.Client(startAskWait)
	if err != nil {
		return nil // it cannot be asked
	}
	defer http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, startAskWait)
	defer cancel()
	if there, err := id.askPeer(ctx, http, address); err != nil || there.Member != own.Member || there.Cluster != own.Cluster {
		return nil
	}
	return fmt.Errorf("the member %s in the data folder %s runs already, at %s: this folder is a copy of that master's, and both would vote: "+
		"stop that one first to go on here, or join as a new master with an empty data folder", own.Member, id.DataDir, address)
}
