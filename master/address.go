package master

import (
	"net"

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
