package failures

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// noAgents keeps the Node that no agent renews in service.
const noAgents = "--node-monitor-grace-period=24h"

// masters starts a group of masters for a test.
func masters(t *testing.T, count int, args ...string) *process.Masters {
	t.Helper()
	m, err := process.StartMasters(binary, t.TempDir(), count, append([]string{noAgents}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// isolated tells whether there are namespaces for the hosts of a group, and says so if not: a master does not join another
// at an address of the loopback interface.
func isolated(t *testing.T) bool {
	t.Helper()
	if !process.Isolated() {
		t.Log("left out: there are no namespaces for hosts")
	}
	return process.Isolated()
}

// awaitReady waits until all living masters are ready.
func awaitReady(t *testing.T, m *process.Masters) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

func connectTo(t *testing.T, m *process.Master) *kubernetes.Clientset {
	t.Helper()
	config, err := m.Config()
	if err != nil {
		t.Fatal(err)
	}
	return connect(t, config)
}

// connectAll gives clients of every living master.
func connectAll(t *testing.T, m *process.Masters) []*kubernetes.Clientset {
	t.Helper()
	var out []*kubernetes.Clientset
	for _, one := range m.Living() {
		out = append(out, connectTo(t, one))
	}
	return out
}

// TestOne kills the only master under load: the base of comparison for groups.
func TestOne(t *testing.T) {
	t.Parallel()
	m := masters(t, 1)
	l := startLoad(t, m)
	for range 2 {
		l.progress(200)
		m.All[0].Kill()
		if err := m.All[0].Restart(); err != nil {
			t.Fatal(err)
		}
	}
	l.progress(200)
	l.verify()
}

// harm is what can happen to a group of three. It has been undone when do returns.
type harm struct {
	name string
	do   func(t *testing.T, m *process.Masters, l *load)
}

// harms are tried one by one in TestGroup and at random in TestSoak.
var harms = []harm{
	{"each is killed", func(t *testing.T, m *process.Masters, l *load) {
		for _, one := range m.All {
			one.Kill()
			l.progress(50)
			if err := one.Restart(); err != nil {
				t.Fatal(err)
			}
			l.progress(50)
		}
	}},
	{"the leader and another are frozen, one after the other", func(t *testing.T, m *process.Masters, l *load) {
		leads, others := leader(t, m)
		for _, one := range []*process.Master{leads, others[0]} {
			if err := one.Freeze(); err != nil {
				t.Fatal(err)
			}
			l.progress(30)
			if err := one.Thaw(); err != nil {
				t.Fatal(err)
			}
			l.progress(50)
		}
	}},
	{"the leader and another are cut off, one after the other", func(t *testing.T, m *process.Masters, l *load) {
		leads, others := leader(t, m)
		for _, one := range []*process.Master{leads, others[0]} {
			if err := m.Network.Part(one.Host); err != nil {
				t.Fatal(err)
			}
			l.progress(30)
			heal(t, m)
			l.progress(50)
		}
	}},
	{"all are apart", func(t *testing.T, m *process.Masters, l *load) {
		for i, one := range m.All {
			for _, other := range m.All[:i] {
				cut(t, m, one, other)
				cut(t, m, other, one)
			}
		}
		refuses(t, m.All[0])
		heal(t, m)
		l.progress(50)
	}},
	{"the leader and another are heard and hear nothing", func(t *testing.T, m *process.Masters, l *load) {
		leads, others := leader(t, m)
		for _, one := range []*process.Master{leads, others[0]} {
			for _, other := range m.All {
				if other != one {
					cut(t, m, other, one)
				}
			}
			l.progress(30)
			heal(t, m)
			l.progress(50)
		}
	}},
	{"each link is dead in one direction", func(t *testing.T, m *process.Masters, l *load) {
		for i, one := range m.All {
			cut(t, m, one, m.All[(i+1)%len(m.All)])
			l.progress(30)
			heal(t, m)
			l.progress(30)
		}
	}},
	{"each is restarted", func(t *testing.T, m *process.Masters, l *load) {
		for _, one := range m.All {
			if code, err := one.Stop(patience); err != nil || code != 0 {
				t.Fatalf("exit code %d: %v\n%s", code, err, one.Log)
			}
			l.progress(30)
			if err := one.Restart(); err != nil {
				t.Fatal(err)
			}
			l.progress(30)
		}
	}},
	{"all are killed", func(t *testing.T, m *process.Masters, l *load) {
		for _, one := range m.All {
			one.Kill()
		}
		for _, one := range m.All {
			if err := one.Begin(); err != nil {
				t.Fatal(err)
			}
		}
		for _, one := range m.All {
			if err := one.AwaitReady(); err != nil {
				t.Fatal(err)
			}
		}
		l.progress(50)
	}},
}

// TestGroup does to a group of three what it can suffer, under load.
func TestGroup(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	const groups = 2 // which share the harms, side by side
	for i := range groups {
		t.Run(fmt.Sprintf("group %d", i+1), func(t *testing.T) {
			t.Parallel()
			m := masters(t, 3)
			for j := i; j < len(harms) && !t.Failed(); j += groups {
				t.Run(harms[j].name, func(t *testing.T) { suffer(t, m, harms[j]) })
			}
		})
	}
}

// suffer does one harm under load and judges what clients saw.
func suffer(t *testing.T, m *process.Masters, h harm) {
	l := startLoad(t, m)
	l.progress(30)
	begun := time.Now()
	h.do(t, m, l)
	t.Logf("after %s", time.Since(begun).Round(time.Millisecond))
	l.verify()
	awaitReady(t, m)
}

func cut(t *testing.T, m *process.Masters, from, to *process.Master) {
	t.Helper()
	if err := m.Network.Cut(from.Host, to.Host); err != nil {
		t.Fatal(err)
	}
}

func heal(t *testing.T, m *process.Masters) {
	t.Helper()
	if err := m.Network.Heal(); err != nil {
		t.Fatal(err)
	}
}

// refuses checks that a master without a majority acknowledges no write.
func refuses(t *testing.T, m *process.Master) {
	t.Helper()
	config, err := m.Config()
	if err != nil {
		t.Fatal(err)
	}
	config.Timeout = 2 * time.Second
	clients := connect(t, config)
	for i := range 3 { // what was under way when the majority was lost has ended by the second
		_, err = configMaps(clients).create(context.Background(), fmt.Sprintf("lonely-%d-%d", time.Now().UnixNano(), i), "")
	}
	if err == nil {
		t.Error("a master without a majority has acknowledged a write")
	}
}
