package masters

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

const (
	// stopMax is how long a master may take to end.
	stopMax = 5 * time.Second
	// statusMax is how long status may take; the rest is for a busy machine.
	statusMax = 2*time.Second + time.Second
)

// begins starts the master's process again and does not wait for it.
func (m *master) begins() *master {
	m.t.Helper()
	s, err := process.Launch{Binary: binary, Dir: m.dir, Port: m.port, Args: []string{"--peer-port", "0"}}.Begin()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(s.Kill)
	return &master{Server: s, t: m.t, dir: m.dir, port: m.port}
}

func (m *master) lives() bool {
	select {
	case <-m.Exited():
		return false
	default:
		return true
	}
}

// fetch asks for a path as nobody.
func (m *master) fetch(path string) (int, string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), statusMax)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d%s", m.port, path), nil)
	if err != nil {
		return 0, "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// crowd opens more connections than strangers may have, which say nothing: the first has to go before its time is up.
func (m *master) crowd() {
	m.t.Helper()
	var first net.Conn
	for range 4200 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.port))
		if err != nil {
			m.t.Fatal(err)
		}
		defer c.Close()
		first = cmp.Or(first, c)
	}
	_ = first.SetReadDeadline(time.Now().Add(4 * time.Second))
	if _, err := first.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		m.t.Error("a master that starts keeps all connections that are opened")
	}
}

// status asks for the cluster's and checks that the answer is in time, and what its exit code says.
func (m *master) status(code int) membership.Status {
	m.t.Helper()
	begun := time.Now()
	r := m.command("status", "-o", "json")
	if took := time.Since(begun); took > statusMax {
		m.t.Errorf("status took %v", took)
	}
	var s membership.Status
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil || r.Code != code {
		m.t.Fatalf("status: exit code %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	return s
}

// stops asks the processes to end, all at once, and checks that each does in time.
func stops(t *testing.T, all ...*master) {
	t.Helper()
	ended := make(chan error, len(all))
	for _, m := range all {
		go func() {
			code, err := m.Stop(stopMax)
			if err == nil && code != 0 {
				err = fmt.Errorf("%s: exit code %d\n%s", m.dir, code, m.Log)
			}
			ended <- err
		}()
	}
	for range all {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestStartWithoutQuorum: a master that starts alone of three answers at once, says whom it waits for, and waits, also when the
// others come and go in the middle of its start.
func TestStartWithoutQuorum(t *testing.T) {
	a, b, c := three(t)
	a.write("kept")
	b.read("kept")
	nameOfB, nameOfC := b.name(), c.name()
	for _, m := range []*master{a, b, c} {
		m.Kill()
	}
	a = a.begins()
	for _, path := range []string{"/livez", "/readyz", "/healthz", "/livez/etcd"} {
		eventually(t, path+" answers", func() bool {
			code, body, err := a.fetch(path)
			if err == nil && code != http.StatusServiceUnavailable {
				t.Fatalf("%s: %d %s", path, code, body)
			}
			return err == nil && strings.Contains(body, "1 of 3 voting masters answer, and 2 are needed")
		})
	}
	if code, body, err := a.fetch("/livez/ping"); err != nil || code != http.StatusOK || body != "ok" {
		t.Errorf("/livez/ping: %d %q %v", code, body, err)
	}
	code, body, err := a.fetch("/api/v1/namespaces")
	if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(body, `"kind":"Status"`) || strings.Contains(body, nameOfB) {
		t.Errorf("a request: %d %s %v", code, body, err)
	}
	if code, body, err := a.fetch("/wheelhouse/v1/status"); err != nil || code != http.StatusUnauthorized {
		t.Errorf("status for nobody: %d %s %v", code, body, err)
	}
	a.crowd()
	s := a.status(1)
	if len(s.Masters) != 3 || s.Quorum == nil || !s.Quorum.Lost || !strings.Contains(strings.Join(s.Problems, "\n"), "there is no quorum") {
		t.Errorf("status: %+v", s)
	}
	for _, one := range s.Masters {
		if one.Role == membership.RoleLeader || one.Live != (one.Name == a.name()) {
			t.Errorf("status: %+v", one)
		}
	}
	eventually(t, "the log names who is missing", func() bool {
		for line := range strings.Lines(a.Log.String()) {
			if strings.Contains(line, "the start waits for the store") && strings.Contains(line, nameOfB) && strings.Contains(line, nameOfC) {
				return true
			}
		}
		return false
	})
	stops(t, a)
	a = a.begins()
	waits := func() bool { // for others; false as well once it has come further in its start
		_, body, err := a.fetch("/livez")
		return err == nil && strings.Contains(body, "1 of 3 voting masters answer")
	}
	// b vanishes when a has come as far as this, again and again in the same start of a.
	for _, far := range []struct {
		what string
		so   func(said string) bool
	}{
		{"b answers", func(string) bool { code, _, err := b.fetch("/livez"); return err == nil && code != 0 }},
		{"a is connected with b", func(said string) bool { return strings.Contains(said, nameOfB+" is connected") || !waits() }},
		{"a has a quorum", func(string) bool { return !waits() }},
		{"a goes on with its start", func(string) bool {
			code, body, err := a.fetch("/livez")
			return err == nil && (code == http.StatusOK || strings.Contains(body, "the objects") || strings.Contains(body, "the list of masters"))
		}},
		{"a is ready", func(said string) bool { return strings.Contains(said, " ready after ") }},
	} {
		eventually(t, "a waits for others", waitsOrServes(a, waits))
		before := len(a.Log.String())
		b = b.begins()
		eventually(t, far.what, func() bool {
			if !a.lives() {
				t.Fatalf("a master ended for want of a quorum:\n%s", a.Log)
			}
			return far.so(a.Log.String()[before:]) || strings.Contains(a.Log.String(), " ready after ")
		})
		b.Kill()
		if !a.lives() {
			t.Fatalf("a master ended for want of a quorum:\n%s", a.Log)
		}
	}
	b = b.begins()
	for _, m := range []*master{a, b} {
		if err := m.AwaitReady(); err != nil {
			t.Fatal(err)
		}
	}
	b.read("kept")
	eventually(t, "a is ready", func() bool { code, _, err := a.fetch("/readyz"); return err == nil && code == http.StatusOK })
	c.again()
	stops(t, a, b)
}

// waitsOrServes tells whether a master that waits for others has noticed that they are gone, or has come to serve: then it is as ready
// for the next that happens.
func waitsOrServes(a *master, waits func() bool) func() bool {
	return func() bool { return waits() || strings.Contains(a.Log.String(), " ready after ") }
}

// lost is the error of a request while there is no quorum: it comes within the request's own time and says who answers.
func lost(t *testing.T, a *master, what string, do func(context.Context, *kubernetes.Clientset) error) {
	t.Helper()
	config, err := a.Config()
	if err != nil {
		t.Fatal(err)
	}
	config.Timeout = 3 * time.Second // the client says so to the server
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	err = do(t.Context(), api)
	if took := time.Since(begun); took > config.Timeout {
		t.Errorf("%s: took %v", what, took)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !strings.Contains(err.Error(), "no quorum: 1 of 3 voting masters answer ("+a.name()) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestQuorumGoes: two of three vanish, one by a crash and one by freezing, and come back.
func TestQuorumGoes(t *testing.T) {
	a, b, c := three(t)
	a.write("before")
	a.must("backup", "create", "--backup-dir", t.TempDir(), "--without-keys")
	backup := a.status(0).LastBackup
	if backup == nil || backup.Name == "" {
		t.Fatalf("the last backup: %+v", backup)
	}
	watch, err := a.client().CoreV1().Secrets("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	eventually(t, "a is connected", func() bool { return strings.Count(a.Log.String(), " is connected") == 2 })
	c.Kill()
	if err := b.Freeze(); err != nil {
		t.Fatal(err)
	}
	a.status(1) // at once, when nothing has been noticed yet
	eventually(t, "a says that there is no quorum", func() bool { return strings.Contains(a.Log.String(), "there is no quorum: 1 of 3") })
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "never"}}
	lost(t, a, "create", func(ctx context.Context, api *kubernetes.Clientset) error {
		_, err := api.CoreV1().Secrets("default").Create(ctx, secret, metav1.CreateOptions{})
		return err
	})
	read := func(ctx context.Context, api *kubernetes.Clientset) error {
		_, err := api.CoreV1().Secrets("default").Get(ctx, "before", metav1.GetOptions{})
		return err
	}
	lost(t, a, "get", read)
	readers := make(chan struct{})
	for range 3 { // readers that share a question
		go func() { defer func() { readers <- struct{}{} }(); lost(t, a, "shared get", read) }()
	}
	for range 3 {
		<-readers
	}
	if _, err := a.client().CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{ResourceVersion: "0"}); err != nil {
		t.Errorf("a read with resourceVersion=0: %v", err)
	}
	s := a.status(1)
	if s.Quorum == nil || !s.Quorum.Lost || !strings.Contains(strings.Join(s.Problems, "\n"), "there is no quorum: 1 of 3 voting masters answer") {
		t.Errorf("status: %+v", s)
	}
	for _, one := range s.Masters {
		if one.Role == membership.RoleLeader || one.Live != (one.Name == a.name()) {
			t.Errorf("status: %+v", one)
		}
	}
	if s.LastBackup == nil || *s.LastBackup != *backup {
		t.Errorf("the last backup: %+v, want %+v", s.LastBackup, backup)
	}
	for lease, holder := range s.Leaders {
		if holder != "" && holder != a.name() {
			t.Errorf("%s is led by %s, which does not answer", lease, holder)
		}
	}
	if err := b.Thaw(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a says that there is a quorum", func() bool { return strings.Contains(a.Log.String(), "there is a quorum again") })
	a.write("after")
	eventually(t, "a says that b is back", func() bool { return strings.Count(a.Log.String(), " is connected") == 3 })
	for found := false; !found; {
		event, ok := <-watch.ResultChan()
		if !ok {
			t.Fatal("the watch ended")
		}
		secret, ok := event.Object.(*corev1.Secret)
		found = ok && secret.Name == "after"
	}
	for text, want := range map[string]int{
		"there is no quorum": 1, "there is a quorum again": 1,
		"does not answer any more": 2, "is connected": 3, // b once more
	} {
		if strings.Count(a.Log.String(), text) != want {
			t.Errorf("%q was said %d times, want %d", text, strings.Count(a.Log.String(), text), want)
		}
	}
	if t.Failed() {
		t.Log(a.Log)
	}
}

// TestStopTogether: masters that stop at the same time, and one that is alone of three, end soon, and say what they wait for.
func TestStopTogether(t *testing.T) {
	a, b, c := three(t)
	a.write("kept")
	stops(t, a, b, c)
	for _, m := range []*master{a, b, c} {
		if !strings.Contains(m.Log.String(), "stopping: ") {
			t.Errorf("%s did not say that it stops:\n%s", m.dir, m.Log)
		}
	}
	a, b, c = a.begins(), b.begins(), c.begins()
	for _, m := range []*master{a, b, c} {
		if err := m.AwaitReady(); err != nil {
			t.Fatal(err)
		}
	}
	c.read("kept")
	b.Kill()
	if err := c.Freeze(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a says that there is no quorum", func() bool { return strings.Contains(a.Log.String(), "there is no quorum") })
	stops(t, a)
}
