package master

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// tellStop is how often the operator is told what a stop waits for.
const tellStop = time.Second

// tasks are what a master does at the moment, in the operator's words: what a stop may have to wait for.
type tasks struct {
	mu    sync.Mutex
	names []string // guarded by mu
}

// run does a task.
func (t *tasks) run(name string, do func() error) func() error {
	return func() error {
		t.mu.Lock()
		t.names = append(t.names, name)
		t.mu.Unlock()
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if n := slices.Index(t.names, name); n >= 0 {
				t.names = slices.Delete(t.names, n, n+1)
			}
		}()
		return do()
	}
}

func (t *tasks) present() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(t.names)))
}

// announceStop tells that the master stops, and what that waits for, until the returned function is called.
func announceStop(c *Config, member *etcd.Embedded, waitsFor func() string) (end func()) {
	c.Log("stopping: leases are given back, and requests at work are answered")
	if member != nil {
		member.Hurry()
	}
	begun, done := time.Now(), make(chan struct{})
	go func() {
		again := time.NewTicker(tellStop)
		defer again.Stop()
		for {
			select {
			case <-done:
				return
			case <-again.C:
				c.warn("still stopping after %v; it waits for %s", time.Since(begun).Round(time.Second), waitsFor())
			}
		}
	}()
	return func() { close(done) }
}

// waitsFor is what a stop waits for.
func (m *Master) waitsFor() string {
	all := m.life.tasks.present()
	if reads, writes := m.server.api.InFlight(); reads+writes > 0 {
		all = append(all, fmt.Sprintf("%d requests at work", reads+writes))
	}
	if err := m.opened.outage(); err != nil {
		all = append(all, "the store: "+err.Error())
	}
	if len(all) == 0 {
		return "the store to close"
	}
	return strings.Join(all, ", ")
}
