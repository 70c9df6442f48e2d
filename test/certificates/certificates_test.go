// Package certificates rotates the authorities of several masters under load, with the command as users run it.
package certificates

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
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
	for _, step := range []string{"finish", "cancel"} {
		if r := rotate("--step", step); r.Code != 1 || !strings.Contains(r.Stderr, "there is nothing to "+step) {
			t.Errorf("%s where no rotation is under way: %+v", step, r)
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

// TestAway rotates while one of three masters is away: each step is taken by the others, and says whom it did not reach.
func TestAway(t *testing.T) {
	masters, err := process.StartMasters(binary, t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer masters.Close()
	first, third := masters.All[0], masters.All[2]
	data, err := os.ReadFile(filepath.Join(third.Dir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(string(data))
	third.Kill()
	// At first it is on the list of live masters still.
	for _, step := range []string{"prepare", "switch"} {
		r, err := first.Command("certs", "rotate-ca", "--step", step)
		if err != nil {
			t.Fatal(err)
		}
		if r.Code != 1 || !strings.Contains(r.Stderr, name) {
			t.Errorf("%s without the third master: %+v", step, r)
		}
	}
	r, err := first.Command("certs", "rotate-ca", "--step", "finish")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{name, "are away and could not come back", "remembers who came for only"} {
		if r.Code != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("finish without the third master says no %q: %+v", want, r)
		}
	}
	if err := third.Restart(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		r, err := first.Command("certs", "rotate-ca", "--step", "switch")
		if err != nil {
			t.Fatal(err)
		}
		if r.Code == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("switch with all masters: %+v", r)
		}
	}
}

// TestFetch: a master that was down through a whole rotation gets the new authority by one command, and goes on with its data.
func TestFetch(t *testing.T) {
	masters, err := process.StartMasters(binary, t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer masters.Close()
	first, third := masters.All[0], masters.All[2]
	third.Kill()
	for _, step := range [][]string{{"prepare"}, {"switch"}, {"finish", "--force"}} {
		r, err := first.Command(append([]string{"certs", "rotate-ca", "--step"}, step...)...)
		if err != nil {
			t.Fatal(err)
		}
		if r.Code != 1 || !strings.Contains(r.Stderr, "could not be reached") {
			t.Fatalf("%s without the third master: %+v", step, r)
		}
	}
	if r, err := first.Command("certs", "rotate-service-account-key"); err != nil || r.Code != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := third.Begin(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !strings.Contains(third.Log.String(), "wheelhouse certs fetch"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) || !third.Lives() {
			t.Fatalf("the third master does not say what to do:\n%s", third.Log)
		}
	}
	third.Kill()
	flags, err := masters.JoinArgs()
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(dir string) process.Result {
		t.Helper()
		r, err := process.Run(binary, patience, append([]string{"certs", "fetch", "--data-dir", dir}, flags...)...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	otherDir := filepath.Join(t.TempDir(), "other")
	other, err := process.Start(binary, otherDir, 0)
	if err != nil {
		t.Fatal(err)
	}
	other.Kill()
	if r := fetch(otherDir); r.Code != 1 || !strings.Contains(r.Stderr, "is not a master of this cluster") {
		t.Errorf("a master of another cluster: %+v", r)
	}
	if r := fetch(third.Dir); r.Code != 0 || !strings.Contains(r.Stdout, "start this master as before") {
		t.Fatalf("%+v", r)
	}
	if err := third.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := masters.AwaitVotes(); err != nil {
		t.Fatal(err)
	}
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "again-"}}
	if _, err := own(t, third).CoreV1().ConfigMaps("default").Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		r, err := third.Command("status")
		if err != nil {
			t.Fatal(err)
		}
		if r.Code == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("status: %+v", r)
		}
	}
}
