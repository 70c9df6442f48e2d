package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// SocketName is the socket in the data folder at which root, and the user that the master runs as, use its commands without a
// certificate: they could read the keys in that folder anyway. Operators know its name, which is older than the package's.
const SocketName = "control.sock"

// localUser is who comes by the socket.
var localUser = &user.DefaultInfo{Name: "wheelhouse:local-administrator", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}

// localMark marks the context of requests that come by the socket.
type localMark struct{}

// local tells whether a request came by this machine's socket.
func local(r *http.Request) bool { return r.Context().Value(localMark{}) != nil }

// localHeaderWait bounds how long a request's beginning may take.
const localHeaderWait = 10 * time.Second

// ServeLocal serves commands at the socket in a folder until ctx ends, for who comes as an administrator. A file system without sockets
// is no reason not to run.
func ServeLocal(ctx context.Context, dir string, commands http.Handler, warn func(format string, args ...any)) {
	listener, err := listenLocal(dir)
	if err != nil {
		warn("commands without a certificate are not served: %v", err)
		return
	}
	server := &http.Server{
		ReadHeaderTimeout: localHeaderWait,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := context.WithValue(request.WithUser(r.Context(), localUser), localMark{}, true)
			commands.ServeHTTP(w, r.WithContext(ctx))
		}),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := context.AfterFunc(ctx, func() { server.Close() })
	defer done()
	defer os.Remove(filepath.Join(dir, SocketName))
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		warn("commands without a certificate are not served any more: %v", err)
	}
}

// localListener accepts connections of root and of this process's user.
type localListener struct{ *net.UnixListener }

// Accept implements net.Listener.
func (l localListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && (uid == 0 || int(uid) == os.Geteuid()) {
			return c, nil
		}
		slog.Warn("somebody else was turned away from the socket for commands", "uid", uid, "error", err)
		c.Close()
	}
}

// peerUID is the user at the other end, as the kernel knows it.
func peerUID(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var credentials *unix.Ucred
		if credentials, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed == nil {
			uid = credentials.Uid
		}
	})
	return uid, errors.Join(err, failed)
}

// listenLocal makes the socket, which nobody else may connect to at any time. The caller holds the data folder's lock: a socket that
// is there is what a crash has left.
func listenLocal(dir string) (net.Listener, error) {
	path, release, err := SocketAddress(filepath.Join(dir, SocketName))
	if err != nil {
		return nil, err
	}
	defer release()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// The mode of a socket that is not bound yet is the one that its file gets.
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	inner, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("this system has no sockets in files"), l.Close())
	}
	inner.SetUnlinkOnClose(false) // its name is good no more then
	return localListener{inner}, nil
}

// SocketAddress gives a name for a socket that is short enough to be one, whatever the length of its folder's; it is good until it is
// released.
func SocketAddress(path string) (address string, release func(), err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}
