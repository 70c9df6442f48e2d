package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// masterPort is the port on which every master of a group serves.
const masterPort = 6443

// Masters is a group of masters, each on a host of its own.
type Masters struct {
	Network *Network
	// All masters that were ever started, in the order of their hosts.
	All []*Master

	binary, dir string
	args        []string
}

// Master is one of them; it may have been killed.
type Master struct {
	*Server
	Host *Host
	Dir  string // data folder
	// Binary, Env and Args are used at the next Restart.
	Binary    string
	Env, Args []string
}

// NewMasters makes hosts for at most some masters, with data folders under dir, and starts none. args are for every
// master.
func NewMasters(binary, dir string, hosts int, args ...string) (*Masters, error) {
	network, err := NewNetwork(hosts)
	if err != nil {
		return nil, err
	}
	return &Masters{Network: network, binary: binary, dir: dir, args: args}, nil
}

// NewLocalMasters is NewMasters for masters that share a store which serves on this machine's loopback interface: their
// addresses are on it too.
func NewLocalMasters(binary, dir string, hosts int, args ...string) (*Masters, error) {
	network, err := newLocalNetwork(hosts)
	if err != nil {
		return nil, err
	}
	return &Masters{Network: network, binary: binary, dir: dir, args: args}, nil
}

// StartMasters starts the first master and lets others join it until there are count.
func StartMasters(binary, dir string, count int, args ...string) (*Masters, error) {
	m, err := NewMasters(binary, dir, count, args...)
	if err != nil {
		return nil, err
	}
	for range count {
		if _, err := m.Add(); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	if count > 2 { // until then the second stands by
		if err := m.AwaitVotes(); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// AwaitVotes waits until every master has a vote: before that a group survives no more than its first master does.
func (m *Masters) AwaitVotes() error {
	for deadline := time.Now().Add(startPatience); ; time.Sleep(50 * time.Millisecond) {
		r, err := m.Command("member", "list", "-o", "json")
		if err != nil {
			return err
		}
		var list struct {
			Members []struct{ Role string }
		}
		if r.Code == 0 {
			if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
				return fmt.Errorf("member list: %w", err)
			}
		}
		votes := 0
		for _, one := range list.Members {
			if one.Role == "leader" || one.Role == "voter" {
				votes++
			}
		}
		if votes == len(m.Living()) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s %d of %d masters have a vote: %s%s", startPatience, votes, len(m.Living()), r.Stdout, r.Stderr)
		}
	}
}

// Next is the master that Add would start, not yet started, for a test to change.
func (m *Masters) Next() (*Master, error) {
	if len(m.All) == len(m.Network.Hosts) {
		return nil, errors.New("every host has a master")
	}
	host := m.Network.Hosts[len(m.All)]
	return &Master{Host: host, Dir: filepath.Join(m.dir, host.Name, "data"), Binary: m.binary, Args: m.args}, nil
}

// Add starts a master on the next host; all but the first join the group.
func (m *Masters) Add() (*Master, error) {
	next, err := m.Next()
	if err != nil {
		return nil, err
	}
	return next, m.Start(next)
}

// Start starts a master that Next has given.
func (m *Masters) Start(next *Master) error {
	var join []string
	if len(m.All) > 0 {
		var err error
		if join, err = m.JoinArgs(); err != nil {
			return err
		}
	}
	if err := next.start(join...); err != nil {
		return err
	}
	m.All = append(m.All, next)
	return nil
}

// JoinArgs asks a living master for a token and returns the flags with which another joins.
func (m *Masters) JoinArgs() ([]string, error) {
	r, err := m.Command("token", "create", "--role", "master")
	if err != nil {
		return nil, err
	}
	if r.Code != 0 {
		return nil, fmt.Errorf("token create: %s", r.Stderr)
	}
	for line := range strings.Lines(r.Stdout) {
		if _, flags, ok := strings.Cut(strings.TrimSpace(line), "wheelhouse server "); ok {
			return strings.Fields(flags), nil
		}
	}
	return nil, fmt.Errorf("token create printed no join line:\n%s", r.Stdout)
}

// Command runs a wheelhouse command against the first master that lives.
func (m *Masters) Command(args ...string) (Result, error) {
	living := m.Living()
	if len(living) == 0 {
		return Result{}, errors.New("no master lives")
	}
	return living[0].Command(args...)
}

// Living are the masters whose processes run.
func (m *Masters) Living() []*Master {
	var out []*Master
	for _, one := range m.All {
		if one.Lives() {
			out = append(out, one)
		}
	}
	return out
}

// AwaitReady waits until every living master says at /readyz that it is.
func (m *Masters) AwaitReady(ctx context.Context) error {
	for _, one := range m.Living() {
		for {
			err := one.readyz(ctx)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s: %w\n%s", one.Host.Name, err, one.Log)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// Close kills all masters and takes their hosts away.
func (m *Masters) Close() error {
	for _, one := range m.Living() {
		one.Kill()
	}
	return m.Network.Close()
}

// start starts the process and waits until it is ready.
func (m *Master) start(further ...string) error {
	if err := os.MkdirAll(filepath.Dir(m.Dir), 0o755); err != nil {
		return err
	}
	if err := m.Begin(further...); err != nil {
		return err
	}
	return m.AwaitReady()
}

// Begin starts the process and does not wait for it.
func (m *Master) Begin(further ...string) error {
	var err error
	m.Server, err = Launch{Binary: m.Binary, Dir: m.Dir, Host: m.Host, Port: masterPort, Env: m.Env, Args: append(append([]string(nil), m.Args...), further...)}.Begin()
	return err
}

// Restart starts a master again that has ended.
func (m *Master) Restart() error { return m.start() }

// Lives tells whether the process runs.
func (m *Master) Lives() bool {
	if m.Server == nil {
		return false
	}
	select {
	case <-m.Exited():
		return false
	default:
		return true
	}
}

// URL of the master.
func (m *Master) URL() string { return fmt.Sprintf("https://%s:%d", m.Host.Address, masterPort) }

// Config is a client configuration for this master and no other.
func (m *Master) Config() (*rest.Config, error) {
	config, err := m.Server.Config()
	if err != nil {
		return nil, err
	}
	config.Host, config.QPS = m.URL(), -1
	return config, nil
}

// Command runs a wheelhouse command against this master.
func (m *Master) Command(args ...string) (Result, error) {
	args = append(append([]string(nil), args...), "--kubeconfig", filepath.Join(m.Dir, "admin.kubeconfig"), "--server", m.URL())
	return Run(m.Binary, startPatience, args...)
}

func (m *Master) readyz(ctx context.Context) error {
	config, err := m.Config()
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	response, err := client.Get(config.Host + "/readyz")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		return fmt.Errorf("/readyz: %s", response.Status)
	}
	return ctx.Err()
}
