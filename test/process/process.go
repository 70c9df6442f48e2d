// Package process runs the wheelhouse binary as its users do: for tests that need a process to kill, or a command line
// to judge.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// startPatience is how long a process may take until it is ready, on a machine that is busy with other tests.
const startPatience = 90 * time.Second

// BinaryVariable names a binary to test in place of one built from the repository.
const BinaryVariable = "WHEELHOUSE_TEST_BINARY"

// Build builds the binary into a folder, unless $WHEELHOUSE_TEST_BINARY names one, and returns its path. root is the
// folder of the repository.
func Build(root, dir string) (string, error) {
	out := filepath.Join(dir, "wheelhouse")
	if binary := os.Getenv(BinaryVariable); binary != "" {
		return out, os.Symlink(binary, out)
	}
	return out, build(root, out)
}

func build(root, out string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", out, "./cmd/wheelhouse")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, text)
	}
	return nil
}

// Log collects what a process writes; it may be read while the process runs.
type Log struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Server is one running "wheelhouse server".
type Server struct {
	// Log is what the process wrote to stderr.
	Log *Log

	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // set before exited is closed
}

// Launch says how to run "wheelhouse server".
type Launch struct {
	Binary, Dir string
	// Host on which the process serves; nil serves on 127.0.0.1 without one.
	Host *Host
	// Port to serve on; 0 takes a free one.
	Port int
	Args []string
	// Env is added to the environment.
	Env []string
}

// Start runs "wheelhouse server" on a data folder and waits until it is ready. port 0 takes a free one.
func Start(binary, dir string, port int, args ...string) (*Server, error) {
	s, err := Launch{Binary: binary, Dir: dir, Port: port, Args: args}.Begin()
	if err != nil {
		return nil, err
	}
	return s, s.AwaitReady()
}

// Begin starts the process and does not wait for it.
func (l Launch) Begin() (*Server, error) {
	args := []string{"server", "--data-dir", l.Dir, "--secure-port", fmt.Sprint(l.Port)}
	if l.Host == nil {
		args = append(args, "--bind-address", "127.0.0.1")
	} else {
		args = append(args, "--bind-address", l.Host.Address)
		if !strings.HasPrefix(l.Host.Address, "127.") {
			args = append(args, "--advertise-address", l.Host.Address)
		}
	}
	s := &Server{Log: new(Log), dir: l.Dir, cmd: exec.Command(l.Binary, append(args, l.Args...)...), exited: make(chan struct{})}
	s.cmd.Stderr = s.Log
	s.cmd.Env = append(os.Environ(), l.Env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that dies leaves no process behind
	if err := l.Host.Start(s.cmd); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.exited)
		s.err = s.cmd.Wait()
	}()
	return s, nil
}

// AwaitReady waits until the process says that it is ready, and kills one that does not in time.
func (s *Server) AwaitReady() error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(startPatience); ; {
		select {
		case <-s.exited:
			return fmt.Errorf("the process ended before it was ready: %v\n%s", s.err, s.Log)
		case <-tick.C:
		}
		if strings.Contains(s.Log.String(), " ready after ") {
			return nil
		}
		if time.Now().After(deadline) {
			s.Kill()
			return fmt.Errorf("the process was not ready after %s:\n%s", startPatience, s.Log)
		}
	}
}

// Config is a client configuration from the kubeconfig that the process wrote.
func (s *Server) Config() (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", filepath.Join(s.dir, "admin.kubeconfig"))
}

// Port on which the process serves, as its kubeconfig says.
func (s *Server) Port() (int, error) {
	config, err := s.Config()
	if err != nil {
		return 0, err
	}
	var port int
	_, err = fmt.Sscanf(config.Host[strings.LastIndexByte(config.Host, ':')+1:], "%d", &port)
	return port, err
}

// Kill ends the process as a power failure would and waits until it is gone.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// Freeze stops the process as a stalled machine would, until Thaw.
func (s *Server) Freeze() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (s *Server) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// PID of the process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop asks the process to end, as service managers do, and gives its exit code.
func (s *Server) Stop(patience time.Duration) (int, error) {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		s.Kill()
		return 0, fmt.Errorf("the process had not stopped %s after SIGTERM:\n%s", patience, s.Log)
	}
}

// Exited is closed when the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Result is what a command that ended has left.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs the binary to its end, for at most a time.
func Run(binary string, patience time.Duration, args ...string) (Result, error) {
	cmd := exec.Command(binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return Result{}, err
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		return Result{}, fmt.Errorf("%s did not end within %s:\n%s", strings.Join(args, " "), patience, stderr.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Result{}, err
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}, nil
}
