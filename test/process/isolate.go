package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolatedVariable marks the program that Isolate has started.
const isolatedVariable = "WHEELHOUSE_TEST_ISOLATED"

// Isolate runs the program again in network, process and mount namespaces of its own, so that tests may build networks,
// mount file systems and stop processes, and nothing of that outlives them. It returns twice: where the program was
// called, with the second program's exit code and true, when that has ended; and in the second program with false, for it
// to go on. env is added to the second program's environment.
//
// Root needs no more than that; other users get a user namespace as well. Where the system allows neither, the program
// goes on as it is, and Isolated is false.
func Isolate(env ...string) (code int, done bool, err error) { return isolate(os.Args[1:], env) }

func isolate(args, env []string) (code int, done bool, err error) {
	if Isolated() {
		return 0, false, prepareNamespaces()
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return 0, false, environ(env)
	}
	runtime.LockOSThread() // the second program ends with this thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(append(os.Environ(), env...), isolatedVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	switch err := cmd.Start(); {
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL):
		fmt.Fprintf(os.Stderr, "no namespaces here (%v): hosts are addresses of the loopback interface, and nothing can part them\n", err)
		return 0, false, environ(env)
	case err != nil:
		return 0, false, err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, false, err
	}
	return cmd.ProcessState.ExitCode(), true, nil
}

// Isolated tells whether this program runs in namespaces of its own.
func Isolated() bool { return os.Getenv(isolatedVariable) != "" }

func environ(env []string) error {
	for _, e := range env {
		for i := range e {
			if e[i] == '=' {
				if err := os.Setenv(e[:i], e[i+1:]); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// prepareNamespaces makes the program's own network forward between the hosts that will be attached to it.
func prepareNamespaces() error {
	for _, m := range []struct {
		what, at, kind string
		flags          uintptr
	}{
		{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"tmpfs", "/run", "tmpfs", 0}, // the names of network namespaces
		{"proc", "/proc", "proc", 0},
	} {
		if err := unix.Mount(m.what, m.at, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	if err := ip("link", "set", "lo", "up"); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}
