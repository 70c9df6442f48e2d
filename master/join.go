package master

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// abandonTimeout bounds the attempt of a master that could not start to leave the cluster as it was.
const abandonTimeout = 15 * time.Second

// joining is a join under way.
type joining struct {
	joiner *membership.Joiner
	mark   *membership.Mark
	grant  *membership.Grant
}

// checkJoin finds flags that do not go together.
func (c *Config) checkJoin() error {
	if c.PeerPort < 0 || c.PeerPort > 65535 {
		return fmt.Errorf("--peer-port %d is not a port: use 1 to 65535, or 0 for a free one", c.PeerPort)
	}
	if c.RecoverQuorum && len(c.Join) > 0 {
		return errors.New("--recover-quorum and --join exclude each other: the first goes on with this master's data, the second takes another's")
	}
	if c.Replace && len(c.Join) == 0 {
		return errors.New("--replace says what to do with old data when this master joins others: it goes with --join")
	}
	if c.NewCluster && (len(c.Join) > 0 || c.RecoverQuorum) {
		return errors.New("--new-cluster begins an empty cluster: it goes neither with --join nor with --recover-quorum")
	}
	if c.ForgetOthers && !c.RecoverQuorum {
		return errors.New("--yes-forget-other-masters is only for --recover-quorum")
	}
	if c.ForgetStore != "" && !c.RecoverQuorum {
		return errors.New("--yes-forget-store is only for --recover-quorum")
	}
	if len(c.Join) == 0 {
		if c.Token != "" || len(c.AuthorityHashes) > 0 {
			return errors.New("--token and --discovery-token-ca-cert-hash say how to join: give the masters to join with --join")
		}
		return nil
	}
	switch {
	case c.DataDir == "":
		return errors.New("--join: a master that keeps everything in memory cannot join others")
	case c.Token == "":
		return errors.New("--join needs --token: the command that wheelhouse token create prints has it")
	case len(c.AuthorityHashes) == 0:
		return errors.New("--join needs --discovery-token-ca-cert-hash: the command that wheelhouse token create prints has it")
	}
	if err := membership.CheckServers(c.Join); err != nil {
		return err
	}
	if err := membership.CheckHashes(c.AuthorityHashes); err != nil {
		return fmt.Errorf("--discovery-token-ca-cert-hash: %w", err)
	}
	if _, err := membership.ParseToken(c.Token); err != nil {
		return fmt.Errorf("--token: %w", err)
	}
	return nil
}

// prepareJoin decides whether this start is one that joins. It refuses data that cannot be this cluster's before
// anything is asked or written.
func (m *Master) prepareJoin() error {
	c := &m.config
	if c.DataDir == "" {
		return nil
	}
	mark, err := membership.ReadMark(c.DataDir)
	if err != nil {
		return err
	}
	if len(c.Join) == 0 {
		if mark != nil {
			return datafolder.CutOff(c.DataDir, mark)
		}
		return nil
	}
	folder := membership.Folder{Unfinished: mark != nil, Member: datafolder.HoldsMember(c.DataDir)}
	if folder.Authority, err = os.ReadFile(filepath.Join(c.PKIDir, "ca.crt")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the authority cannot be read: %w", err)
	}
	plan, err := folder.Decide(c.DataDir, c.AuthorityHashes, c.external(), c.Replace)
	if err != nil {
		return err
	}
	switch plan {
	case membership.Start:
		c.Log("--join is left aside: this is a master of that cluster already")
		return nil
	case membership.AskFirst, membership.Replace:
		return m.prepareAsking(plan)
	}
	if mark != nil {
		c.Log("an earlier attempt to join was cut off: beginning anew")
		if err := mark.Clear(); err != nil {
			return err
		}
	}
	m.joining = &joining{mark: mark}
	return nil
}

// join asks to join and puts the files that it gets into place.
func (m *Master) join(ctx context.Context) (err error) {
	c := &m.config
	j := m.joining
	token, err := membership.ParseToken(c.Token)
	if err != nil {
		return fmt.Errorf("--token: %w", err)
	}
	request := membership.Request{
		Name: m.name, Version: health.Version().GitVersion, External: c.external(), Settings: c.sharedSettings(),
	}
	if !request.External {
		if request.PeerURL, _, err = m.peerAddress(); err != nil {
			return err
		}
	}
	j.joiner = &membership.Joiner{Servers: c.Join, Token: token, Hashes: c.AuthorityHashes, Request: request, Log: c.Log,
		KeyFile: filepath.Join(c.DataDir, membership.KeyName)}
	aside := ""
	if j.mark != nil {
		aside = j.mark.Aside
	}
	mark, err := membership.NewMark(c.DataDir, aside, c.PKIDir)
	if err != nil {
		return err
	}
	j.mark = mark
	if j.grant, err = j.joiner.Join(ctx); err != nil {
		return fmt.Errorf("this master did not join: %w", err)
	}
	return m.takeFiles(j.grant.Files)
}

// takeFiles writes the shared files. The folders hold nothing of another cluster.
func (m *Master) takeFiles(files map[string][]byte) error {
	for name, data := range files {
		path := filepath.Join(m.config.DataDir, name)
		rest, isPKI := strings.CutPrefix(name, datafolder.SharedPKI)
		if isPKI {
			path = filepath.Join(m.config.PKIDir, rest)
		}
		if !isPKI && name != datafolder.EncryptionFile || !filepath.IsLocal(rest) {
			return fmt.Errorf("the master sent a file that is not known: %q", name)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("the data folder cannot be written: %w", err)
		}
		mode := os.FileMode(0o600)
		if ext := filepath.Ext(name); ext == ".crt" || ext == ".pub" {
			mode = 0o644
		}
		if err := durable.Replace(path, data, mode); err != nil {
			return fmt.Errorf("the data folder cannot be written: %w", err)
		}
	}
	return nil
}

// undoJoin leaves the cluster and the folder as they were.
func (m *Master) undoJoin(ctx context.Context) error {
	j := m.joining
	var err error
	if j.grant != nil && j.grant.Member != 0 {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
		err = j.joiner.Abandon(leaving, j.grant)
		cancel()
		if apierrors.IsConflict(err) { // it has a vote: the others count on what it has stored
			m.joining = nil
			return errors.Join(fmt.Errorf("this master has joined, and did not come to serve: start it again: %w", err), j.mark.Done())
		}
		if err != nil {
			err = fmt.Errorf("the other masters could not be told that this one did not join; they forget it in two minutes: %w", err)
		}
	}
	if m.store != nil {
		err = errors.Join(err, m.store.Close())
		m.store = nil
	}
	if j.mark != nil {
		err = errors.Join(err, j.mark.Undo())
	}
	return err
}

// joined ends the join: from here on the master is one like any other, and starts without --join.
func (m *Master) joined() error {
	j := m.joining
	m.joining = nil
	if err := errors.Join(j.mark.Done(), os.Remove(filepath.Join(m.config.DataDir, membership.KeyName))); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	m.config.Log("joined the cluster of %s", j.grant.Server)
	return nil
}

// reachable is the host at which other masters reach this one; empty if there is only loopback and nobody asked for it.
func (m *Master) reachable() string {
	c := &m.config
	if c.AdvertiseAddress != "" {
		return c.AdvertiseAddress
	}
	if ip := net.ParseIP(c.BindAddress); ip != nil && !ip.IsUnspecified() {
		return c.BindAddress
	}
	if m.advertise != nil {
		return m.advertise.String()
	}
	return ""
}

// peerAddress is where other masters reach this one's member of the store. A free port is chosen once.
func (m *Master) peerAddress() (address, listen string, err error) {
	c := &m.config
	host := m.reachable()
	if host == "" {
		return "", "", errors.New("other masters cannot reach this machine, which has no address but loopback: give one with --advertise-address or --bind-address")
	}
	port := c.PeerPort
	file := filepath.Join(c.DataDir, datafolder.PeerPortFile)
	if port == 0 {
		if data, err := os.ReadFile(file); err == nil {
			port, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		}
	}
	if port == 0 {
		l, err := net.Listen("tcp", net.JoinHostPort(c.BindAddress, "0"))
		if err != nil {
			return "", "", fmt.Errorf("no free port for other masters on %s: %w", c.BindAddress, err)
		}
		port = l.Addr().(*net.TCPAddr).Port
		l.Close()
		if err := os.WriteFile(file, []byte(strconv.Itoa(port)+"\n"), 0o600); err != nil {
			return "", "", fmt.Errorf("the data folder cannot be written: %w", err)
		}
	}
	at := strconv.Itoa(port)
	u := url.URL{Scheme: "https", Host: net.JoinHostPort(host, at)}
	return u.String(), net.JoinHostPort(c.BindAddress, at), nil
}

// etcdPeer is how other masters reach this one's member of the store, or why they cannot.
func (m *Master) etcdPeer() (*etcd.Peer, error) {
	if err := m.own.Authority.EtcdReady(); err != nil {
		return nil, err
	}
	address, listen, err := m.peerAddress()
	if err != nil {
		return nil, err
	}
	p := &etcd.Peer{URL: address, Listen: listen, ServerTLS: m.own.Authority.PeerTLS(), Extra: http.HandlerFunc(m.identity.AnswerPeer)}
	p.CertFile, p.KeyFile, p.CAFile = m.own.Authority.PeerFiles()
	return p, nil
}

// sharedSettings are the flags that all masters must have alike.
func (c *Config) sharedSettings() map[string]string {
	var ranges []string
	for _, r := range c.ServiceRanges {
		ranges = append(ranges, r.String())
	}
	settings := map[string]string{"service-cluster-ip-range": strings.Join(ranges, ",")}
	if len(c.ServiceAccountIssuers) > 0 {
		settings["service-account-issuer"] = c.ServiceAccountIssuers[0]
	}
	return settings
}
