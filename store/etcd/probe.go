package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

const (
	// While there is no leader the voters are asked every probeEach whether they answer at all, for at most probeWait: etcd needs
	// a quarter of a minute to miss one that froze.
	probeEach, probeWait = time.Second, time.Second
	// probeAge is how long an answer, or that there was none, counts.
	probeAge = 4 * time.Second
)

// probed is what became of the question whether a peer answers.
type probed struct {
	answered  bool
	distrust  bool      // it, or this member, does not take the other's certificate
	since, at time.Time // since when it is so, and when it was found last
}

// probes is what is known of peers while there is no leader.
type probes struct {
	mu sync.Mutex
	of map[uint64]probed // guarded by mu
}

func (p *probes) set(id uint64, answered, distrust bool, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[uint64]probed{}
	}
	was := p.of[id]
	if was.at.IsZero() || was.answered != answered {
		was = probed{answered: answered, since: at}
	}
	was.at, was.distrust = at, distrust
	p.of[id] = was
}

func (p *probes) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.of)
}

func (p *probes) get(id uint64) (probed, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.of[id]
	return one, !one.at.IsZero() && time.Since(one.at) < probeAge
}

// probe asks, while there is no leader, which voters answer, until the member stops.
func (e *Embedded) probe(r *running) {
	again := time.NewTicker(probeEach)
	defer again.Stop()
	for {
		if r.server.Leader() == 0 {
			e.probeAll(r)
		} else {
			e.probes.forget()
		}
		select {
		case <-again.C:
		case <-r.server.StopNotify():
			return
		}
	}
}

func (e *Embedded) probeAll(r *running) {
	tripper, err := transport.NewTransport(peerTLS(r.peer), probeWait)
	if err != nil {
		return // the certificates are being replaced
	}
	defer tripper.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), probeWait)
	defer cancel()
	var asking sync.WaitGroup
	for _, m := range listOf(r.server.Cluster().Members()) {
		if m.Learner || m.ID == uint64(r.server.MemberID()) || m.PeerURL == "" {
			continue
		}
		asking.Go(func() {
			err := knock(ctx, tripper, m.PeerURL)
			e.probes.set(m.ID, err == nil, distrusts(err), time.Now())
		})
	}
	asking.Wait()
}

// knock asks at a member's door. It has no error if that answers, whatever it says.
func knock(ctx context.Context, tripper http.RoundTripper, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/version", nil)
	if err != nil {
		return err
	}
	response, err := tripper.RoundTrip(request)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 4<<10))
	return response.Body.Close()
}

// distrusts tells whether one of two ends has refused the other's certificate.
func distrusts(err error) bool {
	if err == nil {
		return false
	}
	var verification *tls.CertificateVerificationError
	var alert tls.AlertError
	return errors.As(err, &verification) || errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls:")
}

// distrusted tells whether a voter that answers does not take this member's certificate, or the other way round.
func (e *Embedded) distrusted(q *Quorum) bool {
	for _, m := range q.Missing {
		if p, fresh := e.probes.get(m.ID); fresh && p.distrust {
			return true
		}
	}
	return false
}

// connection is whether a peer answers, and since when, as far as this member knows; known is false if it never was heard of.
func (e *Embedded) connection(id uint64) (s peerState, known bool) {
	e.peers.mu.Lock()
	s, known = e.peers.of[id]
	e.peers.mu.Unlock()
	if p, fresh := e.probes.get(id); fresh && p.answered != s.active {
		return peerState{active: p.answered, since: p.since}, true
	}
	return s, known
}
