package members

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
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// Door is where other masters reach this one's member of the store.
type Door struct {
	DataDir, BindAddress string
	// Host is where they reach it; empty if there is only loopback and nobody asked for that. Port is 0 if a free one is to be chosen.
	Host string
	Port int
	// Authority proves who comes and who is there.
	Authority func() *pki.Authority
	// Extra answers the paths that are not etcd's.
	Extra http.Handler
}

// Address is where other masters reach this one's member of the store. A free port is chosen once.
func (d *Door) Address() (address, listen string, err error) {
	host := d.Host
	if host == "" {
		return "", "", errors.New("other masters cannot reach this machine, which has no address but loopback: give one with --advertise-address or --bind-address")
	}
	port := d.Port
	file := filepath.Join(d.DataDir, datafolder.PeerPortFile)
	if port == 0 {
		if data, err := os.ReadFile(file); err == nil {
			port, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		}
	}
	if port == 0 {
		l, err := net.Listen("tcp", net.JoinHostPort(d.BindAddress, "0"))
		if err != nil {
			return "", "", fmt.Errorf("no free port for other masters on %s: %w", d.BindAddress, err)
		}
		port = l.Addr().(*net.TCPAddr).Port
		l.Close()
		if err := datafolder.WriteFile(file, []byte(strconv.Itoa(port)+"\n")); err != nil {
			return "", "", err
		}
	}
	at := strconv.Itoa(port)
	u := url.URL{Scheme: "https", Host: net.JoinHostPort(host, at)}
	return u.String(), net.JoinHostPort(d.BindAddress, at), nil
}

// Peer is how other masters reach this one's member of the store, or why they cannot.
func (d *Door) Peer() (*etcd.Peer, error) {
	authority := d.Authority()
	if err := authority.EtcdReady(); err != nil {
		return nil, err
	}
	address, listen, err := d.Address()
	if err != nil {
		return nil, err
	}
	p := &etcd.Peer{URL: address, Listen: listen, ServerTLS: authority.PeerTLS(), Extra: d.Extra}
	p.CertFile, p.KeyFile, p.CAFile = authority.PeerFiles()
	return p, nil
}

// Options adds how others reach this master's member. It opens a door only if there are others, or were.
func (d *Door) Options(o *etcd.Options, join *etcd.Join) error {
	o.Join = join
	members, err := etcd.ReadMembers(o.Dir)
	if err != nil {
		return err
	}
	if o.Join == nil && len(members) < 2 {
		if wasOpen(members) { // after a crash the log may know of others whom the database does not
			if o.Peer, err = d.Peer(); err != nil {
				o.Peer = nil
			}
		}
		return nil // alone: who comes to join is let in by Members.Open
	}
	o.Peer, err = d.Peer()
	return err
}

// wasOpen tells whether a member that seems to be alone has ever been open to others: its address was written then.
func wasOpen(members []etcd.Member) bool {
	return len(members) == 1 && strings.HasPrefix(members[0].PeerURL, "https://")
}

// URL is the address that a newcomer tells the others.
func (d *Door) URL() (string, error) {
	address, _, err := d.Address()
	return address, err
}
