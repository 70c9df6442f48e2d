package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Network is some hosts that reach each other, and the program, by their addresses. In a program that Isolate has
// started each host is a network namespace, and the program is the router between them; else each is an address of the
// loopback interface, with the same ports free on each.
type Network struct {
	Hosts []*Host
}

// Host is one machine of a Network as far as its network goes. It shares the file system with all others.
type Host struct {
	// Name is unique in the program.
	Name string
	// Address is the host's only one.
	Address string

	namespace string // file of the network namespace; empty for an address of the loopback interface
}

// networks counts those that the program has made, each with a range of its own.
var networks atomic.Int32

// NewNetwork makes a network of some hosts.
func NewNetwork(hosts int) (*Network, error) {
	if !Isolated() {
		return newLocalNetwork(hosts)
	}
	number := networks.Add(1)
	n := &Network{}
	for i := range hosts {
		name := fmt.Sprintf("n%dh%d", number, i+1)
		h := &Host{Name: name, Address: fmt.Sprintf("10.213.%d.%d", number, i+1), namespace: "/run/netns/" + name}
		n.Hosts = append(n.Hosts, h)
		if err := h.attach(fmt.Sprintf("10.213.%d.254", number)); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// newLocalNetwork gives each host an address of the loopback interface: in a program of its own network one that does not
// look like it, since masters do not advertise 127.0.0.1 and its like.
func newLocalNetwork(hosts int) (*Network, error) {
	number := networks.Add(1)
	n := &Network{}
	for i := range hosts {
		h := &Host{Name: fmt.Sprintf("n%dh%d", number, i+1), Address: fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()%250, number, i+1)}
		if Isolated() {
			h.Address = fmt.Sprintf("10.214.%d.%d", number, i+1)
			if err := ip("addr", "add", h.Address+"/32", "dev", "lo"); err != nil {
				return nil, err
			}
		}
		n.Hosts = append(n.Hosts, h)
	}
	return n, nil
}

// attach makes the host's namespace with one interface, behind which the program is the gateway.
func (h *Host) attach(gateway string) error {
	if err := ip("netns", "add", h.Name); err != nil {
		return err
	}
	if err := ip("link", "add", h.Name, "type", "veth", "peer", "name", "eth0", "netns", h.Name); err != nil {
		return err
	}
	inside := fmt.Sprintf("link set lo up\naddr add %s/32 dev eth0\nlink set eth0 up\nroute add %s dev eth0\nroute add default via %s\n", h.Address, gateway, gateway)
	if err := batch(inside, "-n", h.Name); err != nil {
		return err
	}
	return batch(fmt.Sprintf("addr add %s/32 dev %s\nlink set %s up\nroute add %s dev %s src %s\n", gateway, h.Name, h.Name, h.Address, h.Name, gateway))
}

// Close takes the hosts away. Processes that still run on them lose their network.
func (n *Network) Close() error {
	err := n.Heal()
	for _, h := range n.Hosts {
		if h.namespace == "" {
			continue
		}
		if e := ip("link", "del", h.Name); e != nil {
			err = errors.Join(err, e)
		}
		err = errors.Join(err, ip("netns", "del", h.Name))
	}
	return err
}

// Cut loses every packet from one host to another without a word; the other direction stays as it is.
func (n *Network) Cut(from, to *Host) error {
	if from.namespace == "" {
		return errors.New("hosts on the loopback interface cannot be parted")
	}
	return ip("rule", "add", "pref", cutPreference, "from", from.Address, "to", to.Address, "blackhole")
}

// cutPreference is the rank of the rules that lose packets, which tells them from the system's.
const cutPreference = "100"

// Part cuts one host off all others, in both directions; the program still reaches it.
func (n *Network) Part(host *Host) error {
	for _, other := range n.Hosts {
		if other == host {
			continue
		}
		if err := errors.Join(n.Cut(host, other), n.Cut(other, host)); err != nil {
			return err
		}
	}
	return nil
}

// Heal undoes all cuts between hosts of this network.
func (n *Network) Heal() error {
	if len(n.Hosts) == 0 || n.Hosts[0].namespace == "" {
		return nil
	}
	rules, err := exec.Command("ip", "rule", "show", "pref", cutPreference).Output()
	if err != nil {
		return fmt.Errorf("ip rule: %w", err)
	}
	for line := range strings.Lines(string(rules)) {
		// 100:	from 10.213.1.1 to 10.213.1.2 blackhole
		fields := strings.Fields(line)
		if len(fields) < 5 || !n.has(fields[2]) {
			continue
		}
		if err := ip("rule", "del", "pref", cutPreference, "from", fields[2], "to", fields[4], "blackhole"); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) has(address string) bool {
	for _, h := range n.Hosts {
		if h.Address == address {
			return true
		}
	}
	return false
}

// Namespace is the file of the host's network namespace, empty if it has none.
func (h *Host) Namespace() string { return h.namespace }

// Start starts a command on the host. On a nil Host it starts where the program is.
func (h *Host) Start(cmd *exec.Cmd) error {
	if h == nil {
		return cmd.Start()
	}
	return h.inside(cmd.Start)
}

// inside calls a function on a thread that is in the host's network: sockets and processes that it makes are there.
func (h *Host) inside(do func() error) error {
	if h.namespace == "" {
		return do()
	}
	runtime.LockOSThread()
	there, err := os.Open(h.namespace)
	if err != nil {
		return err
	}
	defer there.Close()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network of %s: %w", h.Name, err)
	}
	err = do()
	if e := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); e != nil {
		return fmt.Errorf("leave the network of %s: %w", h.Name, e) // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

func ip(args ...string) error { return batch("", args...) }

// batch runs ip with commands on its input, if there are any.
func batch(commands string, args ...string) error {
	if commands != "" {
		args = append(args, "-batch", "-")
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(commands)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
