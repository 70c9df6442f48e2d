package bombs

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// childVariable makes the test binary serve instead of testing.
const childVariable = "WHEELHOUSE_TEST_BOMBED"

// hello is what the child says when it serves.
type hello struct {
	URL           string
	CA, Cert, Key []byte
}

// cost is what the child has spent since it was last asked.
type cost struct {
	// CPU time of the process, in user and system mode.
	CPU time.Duration
	// Peak is by how much the process's memory grew at most.
	Peak int
}

// serve runs a master and answers on stdout to lines on stdin: each begins a measurement or ends it. The components that
// follow up on what is stored are left out: what is measured is what the request costs.
func serve() error {
	debug.SetGCPercent(50) // memory is to show what is in use rather than what waits for the collector
	m, err := wheelhouse.Start(context.Background(), wheelhouse.Options{Components: []master.Component{master.APIServer},
		Configure: func(c *master.Config) { c.Log, c.Kinds = func(string, ...any) {}, []*kind.Kind{widget} }})
	if err != nil {
		return err
	}
	c := m.RESTConfig()
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(hello{m.URL(), c.CAData, c.CertData, c.KeyData}); err != nil {
		return err
	}
	var begun time.Duration
	var resident int
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var answer cost
		if in.Text() == "begin" {
			runtime.GC()
			debug.FreeOSMemory()
			if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
				return err
			}
			begun, resident = used(), status("VmRSS")
		} else {
			answer = cost{CPU: used() - begun, Peak: status("VmHWM") - resident}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return m.Stop()
}

func used() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// status is a size of this process in bytes.
func status(name string) int {
	text, _ := os.ReadFile("/proc/self/status") // an absent one shows in the numbers
	_, after, _ := strings.Cut(string(text), name+":")
	var kilobytes int
	_, _ = fmt.Sscan(after, &kilobytes)
	return kilobytes << 10
}

// child is the process that is bombed.
type child struct {
	hello
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func start() (*child, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, in: in, out: json.NewDecoder(out)}
	return c, c.out.Decode(&c.hello)
}

func (c *child) say(what string) (cost, error) {
	var answer cost
	if _, err := fmt.Fprintln(c.in, what); err != nil {
		return answer, err
	}
	return answer, c.out.Decode(&answer)
}

func (c *child) stop() error {
	c.in.Close()
	return c.cmd.Wait()
}
