package admin

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLocalListener: the socket is this user's and root's alone, by its mode and by what the kernel says of who connects, whatever the
// length of its name.
func TestLocalListener(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, SocketName)
	if err := os.WriteFile(path, nil, 0o644); err != nil { // what a crash has left
		t.Fatal(err)
	}
	l, err := listenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	accepted := make(chan bool, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- true
			c.Close()
		}
	}()
	address, release, err := SocketAddress(path)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	c, err := net.Dial("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-accepted
}

// TestLocalStranger: another user is turned away though the socket's mode were opened to all. Only root can become one.
func TestLocalStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	dir := t.TempDir()
	l, err := listenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(dir, SocketName)
	for folder := dir; folder != os.TempDir() && folder != "/"; folder = filepath.Dir(folder) {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	refused := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine, and with it what it has become
		if _, _, failed := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); failed != 0 {
			refused <- failed
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			defer unix.Close(fd)
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}
		if err == nil {
			var n int
			if n, err = unix.Read(fd, make([]byte, 1)); n > 0 {
				err = errors.New("it was answered")
			}
		}
		refused <- err
	}()
	if err := <-refused; err != nil {
		t.Fatal(err) // the end of the connection is none
	}
	l.Close()
	if err := <-accepted; err == nil {
		t.Error("a stranger's connection was accepted")
	}
}
