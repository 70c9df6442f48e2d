package membership

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
)

// Below admin.Root, the path of joining, and that at which a member gets the files that were changed while it was away.
const (
	JoinPath  = "join"
	FilesPath = JoinPath + "/files"
)

const (
	// dialTimeout bounds how long one of the servers of --join may take to accept a connection.
	dialTimeout = 5 * time.Second
	// answerTimeout bounds how long it may take to answer: it may have to turn its own store into one of a group first.
	answerTimeout = time.Minute
	// busyWait is how long a joiner waits for others that join before it, and busyPause the time between its tries.
	busyWait  = 3 * time.Minute
	busyPause = time.Second
)

// Request to join.
type Request struct {
	// Name of the newcomer, and the Version of Kubernetes that it serves.
	Name, Version string
	// PeerURL is where its member of the store is reached; empty if the data is in an External etcd.
	PeerURL  string
	External bool
	// Member is the ID of its member, for one that belongs to the cluster and asks at FilesPath.
	Member string `json:",omitempty"`
	// Settings that all masters share, by flag.
	Settings map[string]string
	// Time is what its clock says.
	Time time.Time
	// Key of the exchange that seals the answer.
	Key []byte
	// Token that a master made.
	Token string
}

// Grant is the answer to a Request.
type Grant struct {
	// Master that answered.
	Master string
	// Member is the newcomer's ID, and Cluster the members' addresses by name, the newcomer's included.
	Member  uint64
	Cluster map[string]string
	// Card of the master's store.
	Card Card
	// Key of the exchange, and the Files sealed with it.
	Key, Sealed []byte

	// Files that all masters share, relative to the data folder. They travel in Sealed only.
	Files map[string][]byte `json:"-"`
	// Server that answered.
	Server string `json:"-"`
}

// Leave is the request of a newcomer that could not start.
type Leave struct {
	// Token with which it has joined.
	Token string
}

// Joiner asks to join.
type Joiner struct {
	// Path that is asked at; empty means JoinPath.
	Path string
	// Servers of --join, tried in order, the Token, and the authority's Hashes.
	Servers []string
	Token   Token
	Hashes  []string
	// Request, but for its Time, Key and Token.
	Request Request
	// KeyFile keeps the key for which the answer is sealed until the master has joined, also over attempts that fail: a token is good
	// for one key. Empty keeps it in memory.
	KeyFile string
	// Log takes lines for the operator.
	Log func(format string, args ...any)
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	own *keyExchange
}

// CheckServers of --join.
func CheckServers(servers []string) error {
	for _, server := range servers {
		u, err := url.Parse(server)
		switch {
		case err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "":
			return fmt.Errorf("--join %q is no URL of a master: it must be https://host:port", server)
		case u.Scheme != "https":
			return fmt.Errorf("--join %s: a master is reached by https only", server)
		}
	}
	return nil
}

// Join asks the servers in turn until one answers. Nothing has changed anywhere when it fails.
func (j *Joiner) Join(ctx context.Context) (*Grant, error) {
	if j.Now == nil {
		j.Now = time.Now
	}
	var said string
	for deadline := time.Now().Add(busyWait); ; {
		grant, err := j.try(ctx)
		if !apierrors.IsTooManyRequests(err) || time.Now().After(deadline) {
			return grant, err
		}
		if text := err.Error(); text != said {
			j.Log("waiting to join: %s", text)
			said = text
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(busyPause):
		}
	}
}

func (j *Joiner) try(ctx context.Context) (*Grant, error) {
	var failed []error
	for _, server := range j.Servers {
		grant, err := j.ask(ctx, server)
		if err == nil {
			return grant, nil
		}
		var final refusal
		if errors.As(err, &final) || apierrors.IsConflict(err) || apierrors.IsTooManyRequests(err) || ctx.Err() != nil {
			return nil, err
		}
		failed = append(failed, fmt.Errorf("%s: %w", server, err))
	}
	return nil, errors.Join(failed...)
}

func (j *Joiner) ask(ctx context.Context, server string) (*Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	client, err := j.client(server)
	if err != nil {
		return nil, err
	}
	if j.own == nil {
		if j.own, err = keptKeyExchange(j.KeyFile); err != nil {
			return nil, refusal{err.Error()}
		}
	}
	request := j.Request
	request.Time, request.Key, request.Token = j.Now(), j.own.public(), j.Token.String()
	grant := &Grant{Server: server}
	if err := client.Post(ctx, cmp.Or(j.Path, JoinPath), request, grant); err != nil {
		return nil, explain(server, err)
	}
	data, err := j.own.open(grant.Key, j.Token, grant.Sealed)
	if err != nil {
		return nil, refusal{server + ": " + err.Error()}
	}
	if err := json.Unmarshal(data, &grant.Files); err != nil {
		return nil, refusal{server + " sent files that cannot be read: " + err.Error()}
	}
	if len(grant.Files) == 0 {
		return nil, refusal{server + " sent none of the files that all masters share"}
	}
	return grant, nil
}

// Abandon takes back what Join has brought about, for a newcomer that could not start.
func (j *Joiner) Abandon(ctx context.Context, grant *Grant) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	client, err := j.client(grant.Server)
	if err != nil {
		return err
	}
	return client.Do(ctx, http.MethodDelete, JoinPath+"/"+FormatID(grant.Member), Leave{Token: j.Token.String()}, nil)
}

// client verifies the server by the authority's hash before it sends the token.
func (j *Joiner) client(server string) (*admin.Client, error) { return j.clientWith(server, nil) }

// clientWith is client with a certificate instead of the token, if there is one.
func (j *Joiner) clientWith(server string, pair *tls.Certificate) (*admin.Client, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, refusal{err.Error()}
	}
	token, config := j.Token.String(), pinnedTLS(u.Hostname(), j.Hashes, j.Now)
	if pair != nil {
		token, config.Certificates = "", []tls.Certificate{*pair}
	}
	return admin.NewClient(&rest.Config{
		Host: server, BearerToken: token,
		Transport: &http.Transport{
			TLSClientConfig: config,
			DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
			// The line may name a master that was at this very address until now: who has taken the port, and does not serve yet,
			// is the newcomer itself.
			TLSHandshakeTimeout: dialTimeout,
			DisableKeepAlives:   true,
		},
	})
}

// explain says of an answer what it means for the operator.
func explain(server string, err error) error {
	var final refusal
	switch {
	case errors.As(err, &final):
		return final
	case apierrors.IsUnauthorized(err):
		return refusal{"the token is wrong or has expired: make another with wheelhouse token create"}
	case apierrors.IsForbidden(err): // also by who never looked at the token
		return refusal{"the token is not one for masters: make one with wheelhouse token create --role master"}
	case apierrors.IsNotFound(err):
		return refusal{server + " is not a Wheelhouse master, or one that others cannot join"}
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"), strings.Contains(err.Error(), "first record does not look like a TLS handshake"):
		return refusal{server + " does not speak TLS: it is not a Wheelhouse master"}
	}
	var status apierrors.APIStatus
	var network net.Error // of the call, or while the answer was read
	cutOff := errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
	if !errors.As(err, &status) && !cutOff {
		return refusal{server + " is not a Wheelhouse master: " + err.Error()}
	}
	return err
}
