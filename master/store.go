package master

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// opened is the store, once it is open.
type opened struct {
	store  store.Store    // with all that is wrapped around it
	raw    store.Store    // without: values as they are kept
	member *etcd.Embedded // nil unless the store is a member in this process
	remote *etcd.Remote   // nil unless the store is an external etcd
}

// outage tells why the store cannot answer, as far as this master knows by itself.
func (o *opened) outage() error {
	if o.member == nil || !o.member.Grouped() {
		return nil
	}
	if q := o.member.Quorum(); q.Lost() {
		return &store.NoQuorum{Why: q.String()}
	}
	return nil
}

// alone tells whether nobody else can use this master's store.
func (o *opened) alone(c *Config) bool {
	return c.DataDir == "" && c.store == nil && !c.external() || o.member != nil && !o.member.Grouped()
}

// close closes the store, if it is open.
func (o *opened) close() error {
	if o.store == nil {
		return nil
	}
	defer func() { o.store = nil }()
	return o.store.Close()
}

// check is the check of the store behind a health endpoint: it must be readable, by a majority, in time.
func (o *opened) check(ctx context.Context, c *Config, endpoint string) error {
	timeout := cmp.Or(c.HealthTimeout, checkTimeout)
	if endpoint == "readyz" {
		timeout = cmp.Or(c.ReadyTimeout, checkTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := o.store.Revision(ctx); err != nil {
		return fmt.Errorf("etcd does not answer within %s: %w", timeout, err)
	}
	return nil
}

// dial connects to the etcd, and remembers that the data are there.
func (o *opened) dial(ctx context.Context, c *Config) error {
	options := c.externalOptions()
	told := strings.Join(c.External.Servers, ",") + " " + c.External.prefix() + "\n"
	if c.DataDir != "" {
		before, err := os.ReadFile(filepath.Join(c.DataDir, datafolder.ExternalFile))
		options.Known = err == nil && string(before) == told
	}
	remote, err := etcd.Dial(ctx, options)
	if err != nil {
		return fmt.Errorf("--etcd-servers: %w", err)
	}
	o.store, o.remote = remote, remote
	if c.DataDir == "" || options.Known {
		return nil
	}
	if err := datafolder.WriteFile(filepath.Join(c.DataDir, datafolder.ExternalFile), []byte(told)); err != nil {
		remote.Close()
		return err
	}
	return nil
}
