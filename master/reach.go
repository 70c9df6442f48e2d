package master

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

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

// peerURL is where other masters will reach this one's member of the store.
func (m *Master) peerURL() (string, error) {
	address, _, err := m.peerAddress()
	return address, err
}
