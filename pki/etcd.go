package pki

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// etcdTemplate is that of etcd's members, which are servers and clients of each other.
func etcdTemplate(o Options) template {
	t := template{commonName: o.Hostname, usages: bothUsages}
	t.addName(o.Hostname)
	t.addName("localhost")
	for _, ip := range append(append([]net.IP{}, o.AdvertiseIPs...), net.IPv4(127, 0, 0, 1), net.IPv6loopback) {
		t.addIP(ip)
	}
	return t
}

// EtcdReady tells why this master cannot be a peer of others; nil if it can.
func (a *Authority) EtcdReady() error {
	s := a.now.Load()
	switch {
	case a.folder.dir == "":
		return errors.New("pki: a master in memory has no etcd peers")
	case s.etcd == nil:
		return errors.New("pki: this master's etcd is not its own")
	case s.leaves[leafEtcdPeer] == nil:
		return fmt.Errorf("pki: %s is missing, and the key of etcd's authority (%s) is not here to issue it", a.path(leafEtcdPeer+".crt"), a.path(trustEtcd+".key"))
	}
	return nil
}

// PeerFiles are the files with which etcd reaches its peers: it reads certificate and key anew for each connection, and
// the authorities only when it starts. EtcdReady tells whether they are there.
func (a *Authority) PeerFiles() (cert, key, ca string) {
	return a.path(leafEtcdPeer + ".crt"), a.path(leafEtcdPeer + ".key"), a.path(trustEtcd + ".crt")
}

// PeerTLS is the configuration of the listener for etcd's peers. Each connection is met with the present certificate and
// authorities; peers without a certificate of etcd's authority are refused.
func (a *Authority) PeerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		CipherSuites: CipherSuites(),
		ClientAuth:   tls.RequireAndVerifyClientCert,
		NextProtos:   peerProtocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			s := a.now.Load()
			peer := s.leaves[leafEtcdPeer]
			if s.etcd == nil || peer == nil {
				return nil, a.EtcdReady()
			}
			return &tls.Config{
				MinVersion:   tls.VersionTLS12,
				CipherSuites: CipherSuites(),
				Certificates: []tls.Certificate{*peer.TLS()},
				ClientAuth:   tls.RequireAndVerifyClientCert,
				ClientCAs:    s.etcd.pool,
				NextProtos:   peerProtocols,
				// A resumed session would not be checked against authorities that have changed since.
				SessionTicketsDisabled: true,
			}, nil
		},
	}
}

// peerProtocols: etcd's peers keep long streams over HTTP/1.1.
var peerProtocols = []string{"http/1.1"}
