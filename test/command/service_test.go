package command

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// manager is a service manager as systemd is one to its services: a socket that takes what they tell.
type manager struct {
	t      *testing.T
	socket *net.UnixConn
	file   string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "manager") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: file, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return &manager{t: t, socket: socket, file: file}
}

// told is the next message, or nothing if none comes in time.
func (m *manager) told(within time.Duration) string {
	m.t.Helper()
	if err := m.socket.SetReadDeadline(time.Now().Add(within)); err != nil {
		m.t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := m.socket.Read(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return string(buffer[:n])
}

// TestServiceManager: a master tells that it is ready when it is, shows again and again that it is alive for as long as it
// is, and tells when it stops.
func TestServiceManager(t *testing.T) {
	m := newManager(t)
	const interval = 200 * time.Millisecond
	server, err := process.Launch{Binary: binary, Dir: filepath.Join(t.TempDir(), "data"), Env: []string{
		"NOTIFY_SOCKET=" + m.file, "WATCHDOG_USEC=" + usec(4*interval),
	}}.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	first := m.told(patience)
	if lines := strings.Split(first, "\n"); lines[0] != "READY=1" || !strings.HasPrefix(lines[len(lines)-1], "STATUS=ready at https://") {
		t.Fatalf("the first message is %q", first)
	}
	if err := server.AwaitReady(); err != nil { // the line follows from the same event
		t.Fatal(err)
	}
	for range 3 {
		if said := m.told(patience); said != "WATCHDOG=1" {
			t.Fatalf("%q in place of a sign of life", said)
		}
	}

	// One that does not run gives no sign. What it sent before it stopped is read first.
	if err := server.Freeze(); err != nil {
		t.Fatal(err)
	}
	for m.told(interval) != "" {
	}
	if said := m.told(10 * interval); said != "" {
		t.Errorf("a frozen master says %q", said)
	}
	if err := server.Thaw(); err != nil {
		t.Fatal(err)
	}
	if said := m.told(patience); said != "WATCHDOG=1" {
		t.Errorf("after it was woken: %q", said)
	}

	if code, err := server.Stop(patience); code != 0 || err != nil {
		t.Errorf("it ended with %d, %v", code, err)
	}
	for {
		said := m.told(patience)
		if said == "STOPPING=1" {
			break
		}
		if said != "WATCHDOG=1" {
			t.Fatalf("%q in place of the news that it stops", said)
		}
	}
}

func usec(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
