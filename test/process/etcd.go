package process

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Certificates are files of an authority and of a certificate that it has signed, for servers on this machine and for
// their clients.
type Certificates struct {
	CAFile, CertFile, KeyFile string
}

// NewCertificates makes an authority and a certificate in a folder.
func NewCertificates(dir string) (*Certificates, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	from, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority " + rand.Text()}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	c := &Certificates{CAFile: filepath.Join(dir, "ca.crt"), CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		file, kind string
		der        []byte
	}{{c.CAFile, "CERTIFICATE", caDER}, {c.CertFile, "CERTIFICATE", leafDER}, {c.KeyFile, "EC PRIVATE KEY", keyDER}} {
		if err := os.WriteFile(f.file, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Etcd is a cluster of etcd servers, each a process of its own.
type Etcd struct {
	// Servers are the URLs for clients.
	Servers []string
	// Certificates of servers and clients; nil without encryption.
	Certificates *Certificates

	dir     string
	program string
	peers   []string
	running []*etcdServer
}

type etcdServer struct {
	cmd    *exec.Cmd
	log    Log
	exited chan struct{}
}

// StartEtcd starts a cluster of n servers with mutual TLS, or without encryption, and waits until it serves.
func StartEtcd(dir string, n int, encrypted bool) (*Etcd, error) {
	program, err := Tool("etcd")
	if err != nil {
		return nil, err
	}
	e := &Etcd{dir: dir, program: program, running: make([]*etcdServer, n)}
	scheme := "http"
	if encrypted {
		scheme = "https"
		if e.Certificates, err = NewCertificates(filepath.Join(dir, "certificates")); err != nil {
			return nil, err
		}
	}
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, err
	}
	for i := range n {
		e.Servers = append(e.Servers, fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[2*i]))
		e.peers = append(e.peers, fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[2*i+1]))
	}
	for i := range n {
		if err := e.launch(i); err != nil {
			e.Close()
			return nil, err
		}
	}
	if err := e.whenReady(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// freePorts finds ports that nobody listens on now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once, so that none is found twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func (e *Etcd) launch(i int) error {
	cluster := make([]string, len(e.peers))
	for n, peer := range e.peers {
		cluster[n] = fmt.Sprintf("etcd%d=%s", n, peer)
	}
	args := []string{
		"--name", fmt.Sprintf("etcd%d", i), "--data-dir", filepath.Join(e.dir, fmt.Sprintf("etcd%d", i)),
		"--listen-client-urls", e.Servers[i], "--advertise-client-urls", e.Servers[i],
		"--listen-peer-urls", e.peers[i], "--initial-advertise-peer-urls", e.peers[i],
		"--initial-cluster", strings.Join(cluster, ","), "--log-level", "warn",
	}
	if c := e.Certificates; c != nil {
		args = append(args, "--client-cert-auth", "--trusted-ca-file", c.CAFile, "--cert-file", c.CertFile, "--key-file", c.KeyFile,
			"--peer-client-cert-auth", "--peer-trusted-ca-file", c.CAFile, "--peer-cert-file", c.CertFile, "--peer-key-file", c.KeyFile)
	}
	s := &etcdServer{cmd: exec.Command(e.program, args...), exited: make(chan struct{})}
	s.cmd.Stderr = &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(s.exited)
		s.cmd.Wait()
	}()
	e.running[i] = s
	return nil
}

// whenReady waits until a majority answers.
func (e *Etcd) whenReady() error {
	for deadline := time.Now().Add(startPatience); ; {
		out, err := e.Ctl("get", "ready")
		if err == nil {
			return nil
		}
		for _, s := range e.running {
			select {
			case <-s.exited:
				return fmt.Errorf("an etcd server ended:\n%s", &s.log)
			default:
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("etcd was not ready after %s: %w\n%s", startPatience, err, out)
		}
	}
}

// Ctl runs etcdctl against all servers and returns what it writes to stdout.
func (e *Etcd) Ctl(args ...string) (string, error) {
	program, err := Tool("etcdctl")
	if err != nil {
		return "", err
	}
	global := []string{"--endpoints", strings.Join(e.Servers, ",")}
	if c := e.Certificates; c != nil {
		global = append(global, "--cacert", c.CAFile, "--cert", c.CertFile, "--key", c.KeyFile)
	}
	cmd := exec.Command(program, append(global, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("etcdctl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// Flags are the flags of wheelhouse server that make it use the cluster.
func (e *Etcd) Flags() []string {
	flags := []string{"--etcd-servers", strings.Join(e.Servers, ",")}
	if c := e.Certificates; c != nil {
		flags = append(flags, "--etcd-cafile", c.CAFile, "--etcd-certfile", c.CertFile, "--etcd-keyfile", c.KeyFile)
	}
	return flags
}

// Kill ends a server as a power failure would.
func (e *Etcd) Kill(i int) {
	s := e.running[i]
	s.cmd.Process.Kill()
	<-s.exited
}

// Signal sends a server a signal, such as SIGSTOP.
func (e *Etcd) Signal(i int, signal syscall.Signal) error {
	return e.running[i].cmd.Process.Signal(signal)
}

// Restart starts a server that was killed.
func (e *Etcd) Restart(i int) error { return e.launch(i) }

// Close ends all servers.
func (e *Etcd) Close() {
	for i, s := range e.running {
		if s != nil {
			e.Kill(i)
		}
	}
}
