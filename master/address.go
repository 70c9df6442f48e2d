package master

import (
	"net"
	"os"
	"strconv"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// advertised is the address at which the cluster reaches this master. It is nil on a machine whose only address is
// loopback, which nobody else could reach: then the service default/kubernetes gets no endpoints.
func advertised(c *Config) net.IP {
	if c.AdvertiseAddress != "" {
		return net.ParseIP(c.AdvertiseAddress)
	}
	ip, err := utilnet.ResolveBindAddress(net.ParseIP(c.BindAddress))
	if err != nil || ip.IsLoopback() {
		return nil
	}
	return ip
}

// taken is what other processes could hold, and this one does from New on.
type taken struct {
	lock     *os.File // of the data folder; nil without one
	listener net.Listener
	// advertise is the address at which the cluster reaches this master; nil if nobody else can.
	advertise net.IP
}

func (t *taken) close() {
	if t.listener != nil {
		t.listener.Close()
	}
	if t.lock != nil {
		t.lock.Close()
	}
}

func (t *taken) port() int { return t.listener.Addr().(*net.TCPAddr).Port }

// address is the host and port that discovery names.
func (t *taken) address() string {
	if t.advertise == nil {
		return t.listener.Addr().String()
	}
	return net.JoinHostPort(t.advertise.String(), strconv.Itoa(t.port()))
}

// reachable is the host at which other masters reach this one; empty if there is only loopback and nobody asked for it.
func (t *taken) reachable(c *Config) string {
	if c.AdvertiseAddress != "" {
		return c.AdvertiseAddress
	}
	if ip := net.ParseIP(c.BindAddress); ip != nil && !ip.IsUnspecified() {
		return c.BindAddress
	}
	if t.advertise != nil {
		return t.advertise.String()
	}
	return ""
}
