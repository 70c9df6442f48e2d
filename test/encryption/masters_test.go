package encryption

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// group is three masters.
type group struct {
	*testing.T
	*process.Masters
	names []string // of the secrets
}

func (g *group) client(n int) kubernetes.Interface {
	g.Helper()
	config, err := g.All[n].Config()
	if err != nil {
		g.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		g.Fatal(err)
	}
	return client
}

// writeAndRead writes a secret with each living master, and reads all that were ever written with each.
func (g *group) writeAndRead() {
	g.Helper()
	for n, m := range g.All {
		if !m.Lives() {
			continue
		}
		name := fmt.Sprintf("s%d", len(g.names))
		_, err := g.client(n).CoreV1().Secrets("default").Create(g.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"password": words + name},
		}, metav1.CreateOptions{})
		if err != nil {
			g.Fatalf("%s does not write: %v", m.Host.Name, err)
		}
		g.names = append(g.names, name)
	}
	for n, m := range g.All {
		if !m.Lives() {
			continue
		}
		for _, name := range g.names {
			s, err := g.client(n).CoreV1().Secrets("default").Get(g.Context(), name, metav1.GetOptions{})
			if err != nil || string(s.Data["password"]) != words+name {
				g.Fatalf("%s does not read %s: %v", m.Host.Name, name, err)
			}
		}
	}
}

func (g *group) status(n int) *keys.Status {
	g.Helper()
	r, err := g.All[n].Command("encryption", "status", "-o", "json")
	var s keys.Status
	if err == nil && r.Code == 0 {
		err = json.Unmarshal([]byte(r.Stdout), &s)
	}
	if err != nil || r.Code != 0 {
		g.Fatalf("status: %v, %s", err, r.Stderr)
	}
	return &s
}

// allUse: all masters use one configuration, and everything is stored under its key.
func (g *group) allUse(key string) {
	g.Helper()
	for n := range g.All {
		s := g.status(n)
		if s.Unfinished != "" || s.RewriteNeeded || len(s.Masters) != len(g.All) || len(s.Resources[0].Stored) != 1 || s.Resources[0].Stored[key] < len(g.names) {
			g.Errorf("status of %s: %+v", g.All[n].Host.Name, s)
		}
		for _, m := range s.Masters {
			if !m.Same {
				g.Errorf("%s says that %s has another configuration: %s", g.All[n].Host.Name, m.Name, m.Error)
			}
		}
	}
}

// TestMastersRotate: keys change on all masters, from any of them; not while one is away; and a change during which one is
// killed is gone on with.
func TestMastersRotate(t *testing.T) {
	masters, err := process.StartMasters(binary, t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { masters.Close() })
	g := &group{T: t, Masters: masters}
	if err := g.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.writeAndRead()
	g.allUse("secretbox:key1")
	rotate := func(n int) process.Result {
		t.Helper()
		r, err := g.All[n].Command("encryption", "rotate-key")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := rotate(1); r.Code != 0 {
		t.Fatalf("rotate-key: %s", r.Stderr)
	}
	g.writeAndRead()
	g.allUse("secretbox:key2")

	g.All[2].Kill()
	if r := rotate(0); r.Code == 0 || !strings.Contains(r.Stderr, "master") {
		t.Errorf("with a master away: %d, %s", r.Code, r.Stderr)
	}
	g.writeAndRead()
	again := func() {
		t.Helper()
		if err := g.All[2].Restart(); err != nil {
			t.Fatal(err)
		}
		var r process.Result
		for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
			if r = rotate(1); r.Code == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("rotate-key does not go on: %s", r.Stderr)
			}
		}
	}
	again()
	g.writeAndRead()
	s := g.status(0)
	g.allUse(s.Resources[0].Writes.String())

	for _, after := range []time.Duration{10, 60} {
		ended := make(chan struct{})
		go func() { defer close(ended); g.All[0].Command("encryption", "rotate-key") }()
		time.Sleep(after * time.Millisecond)
		g.All[2].Kill()
		g.writeAndRead()
		<-ended
		again()
		g.writeAndRead()
	}
	g.allUse(g.status(0).Resources[0].Writes.String())
}
