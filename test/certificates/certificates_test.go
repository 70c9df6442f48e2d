// Package certificates rotates the authorities of several masters under load, with the command as users run it.
package certificates

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

const (
	// patience is how long a test waits for what must happen.
	patience = 60 * time.Second
	// stallMax bounds how long a write may take while the store's members are opened again, one after another.
	stallMax = 10 * time.Second
)

// binary is the command under test.
var binary string

func TestMain(m *testing.M) {
	os.Exit(process.Main("../..", func(built string) int {
		binary = built
		return m.Run()
	}))
}

// load writes numbered objects without a break, and expects each once and in order on a watch that was opened before.
type load struct {
	t       *testing.T
	label   string // of its objects, and the beginning of their names
	writer  *kubernetes.Clientset
	watch   watch.Interface
	end     context.CancelFunc
	ended   chan error
	written int
	slowest time.Duration
}

// own gives a client connections that it shares with no other.
func own(t *testing.T, m *process.Master) *kubernetes.Clientset {
	t.Helper()
	config, err := m.Config()
	if err != nil {
		t.Fatal(err)
	}
	return clientOf(config)
}

func clientOf(config *rest.Config) *kubernetes.Clientset {
	config.Dial, config.QPS = (&net.Dialer{}).DialContext, -1
	return kubernetes.NewForConfigOrDie(config)
}

func begin(t *testing.T, label string, writer, watcher *kubernetes.Clientset) *load {
	t.Helper()
	w, err := watcher.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{LabelSelector: label})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, label: label, writer: writer, watch: w, end: cancel, ended: make(chan error, 2)}
	go func() { l.ended <- l.write(ctx) }()
	return l
}

func (l *load) name(n int) string { return fmt.Sprintf("%s-%05d", l.label, n) }

func (l *load) write(ctx context.Context) error {
	for ctx.Err() == nil {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: l.name(l.written), Labels: map[string]string{l.label: ""}}}
		begun := time.Now()
		if _, err := l.writer.CoreV1().ConfigMaps("default").Create(context.WithoutCancel(ctx), o, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("write %d: %w", l.written, err)
		}
		l.slowest = max(l.slowest, time.Since(begun))
		l.written++
	}
	return nil
}

// stop ends the load and checks what it saw.
func (l *load) stop() {
	l.t.Helper()
	l.end()
	if err := <-l.ended; err != nil {
		l.t.Error(err)
	}
	defer l.watch.Stop()
	for n := range l.written {
		select {
		case event, ok := <-l.watch.ResultChan():
			if !ok {
				l.t.Fatalf("the watch broke before event %d of %d", n, l.written)
			}
			if o, _ := event.Object.(*corev1.ConfigMap); o == nil || event.Type != watch.Added || o.Name != l.name(n) {
				l.t.Fatalf("event %d is %v", n, event)
			}
		case <-time.After(patience):
			l.t.Fatalf("event %d of %d does not come", n, l.written)
		}
	}
	l.t.Logf("%d writes, the slowest took %v", l.written, l.slowest.Round(time.Millisecond))
	if l.slowest > stallMax {
		l.t.Errorf("a write took %v", l.slowest)
	}
}

// TestRotation rotates the authorities of three masters. A client that was there before writes through one master and
// watches at another, and one with new certificates while the old authority is dropped; neither sees anything of it.
func TestRotation(t *testing.T) {
	masters, err := process.StartMasters(binary, t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer masters.Close()
	first, second, third := masters.All[0], masters.All[1], masters.All[2]
	rotate := func(args ...string) process.Result {
		t.Helper()
		r, err := first.Command(append([]string{"certs", "rotate-ca"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	must := func(args ...string) {
		t.Helper()
		if r := rotate(args...); r.Code != 0 {
			t.Fatalf("%q: %s", args, r.Stderr)
		}
	}
	oldConfig, err := second.Config()
	if err != nil {
		t.Fatal(err)
	}
	l := begin(t, "before", own(t, first), own(t, second))
	must("--step", "prepare")
	must("--step", "switch")
	for _, m := range masters.All {
		config := rest.CopyConfig(oldConfig)
		config.Host = m.URL()
		if _, err := clientOf(config).ServerVersion(); err != nil {
			t.Errorf("a new connection with the old kubeconfig to %s: %v", m.URL(), err)
		}
		if _, err := own(t, m).ServerVersion(); err != nil {
			t.Errorf("a new connection with the new kubeconfig to %s: %v", m.URL(), err)
		}
	}
	third.Kill()
	if r := rotate("--step", "finish"); r.Code == 0 || !strings.Contains(r.Stderr, "kubernetes-super-admin") && !strings.Contains(r.Stderr, "do not use") {
		t.Errorf("finishing without the third master: %+v", r)
	}
	if err := third.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := masters.AwaitVotes(); err != nil {
		t.Fatal(err)
	}
	l.stop()
	l = begin(t, "after", own(t, first), own(t, second))
	must("--step", "finish", "--force")
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		config := rest.CopyConfig(oldConfig)
		if _, err := clientOf(config).ServerVersion(); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the old kubeconfig is still good")
		}
	}
	l.stop()
	// Each master comes back with what it has now, and the store's members know each other.
	for _, m := range masters.All {
		m.Kill()
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := masters.AwaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "again-"}}
		if _, err := own(t, m).CoreV1().ConfigMaps("default").Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}
}
