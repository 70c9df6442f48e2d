package docs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

const (
	// blockPatience is how long a block may take.
	blockPatience = 2 * time.Minute
	// readyPatience is how long a server in the background may take until it is ready.
	readyPatience = time.Minute
)

// prelude are the words that a page's blocks can use besides commands.
const prelude = `
set -a -e -o pipefail -m
PATH="$BIN:$PATH"
declare -A jobs

# stop HOST ends what runs in the background on a host, as Ctrl-C does.
stop() {
	kill -INT -- "-${jobs[$1]}"
	wait "${jobs[$1]}" || true
	unset "jobs[$1]"
}

# crash HOST ends it as a power failure does.
crash() {
	kill -KILL -- "-${jobs[$1]}"
	wait "${jobs[$1]}" || true
	unset "jobs[$1]"
}

# on HOST FILE runs a block on another host.
on() {
	local namespace="NETNS_$1"
	cd "$HOMES/$1"
	unset KUBECONFIG
	HOME="$HOMES/$1" WHEELHOUSE_DATA_DIR="$HOMES/$1/data" exec nsenter --net="${!namespace}" bash -e -o pipefail "$2"
}
`

// shell is the bash of one page.
type shell struct {
	dir    string
	cmd    *exec.Cmd
	input  io.Writer
	log    *process.Log
	told   chan string // what the shell says on file descriptor 3
	exited chan struct{}
	count  int
}

// newShell starts a bash on the first of three hosts. bin is a folder of commands.
func newShell(dir, bin string, network *process.Network) (*shell, error) {
	s := &shell{dir: dir, cmd: exec.Command("bash", "--noprofile", "--norc"), log: new(process.Log), told: make(chan string), exited: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), "BIN="+bin, "HOMES="+dir, "HOME="+filepath.Join(dir, hosts[0]), "WHEELHOUSE_DATA_DIR="+filepath.Join(dir, hosts[0], "data"))
	for i, name := range hosts {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
		s.cmd.Env = append(s.cmd.Env, strings.ToUpper(name)+"="+network.Hosts[i].Address, "NETNS_"+name+"="+network.Hosts[i].Namespace())
	}
	s.cmd.Dir = filepath.Join(dir, hosts[0])
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.WaitDelay = time.Second // servers in the background hold its output open
	listen, speak, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.cmd.ExtraFiles = []*os.File{speak}
	if s.input, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	err = network.Hosts[0].Start(s.cmd)
	speak.Close()
	if err != nil {
		return nil, err
	}
	go func() {
		defer listen.Close()
		for lines := bufio.NewScanner(listen); lines.Scan(); {
			select {
			case s.told <- lines.Text():
			case <-s.exited:
				return
			}
		}
	}()
	go func() {
		defer close(s.exited)
		s.cmd.Wait()
	}()
	return s, s.send(prelude)
}

func (s *shell) send(text string) error {
	_, err := io.WriteString(s.input, text)
	return err
}

// run runs one block and returns what it wrote.
func (s *shell) run(b block) (string, error) {
	s.count++
	file := filepath.Join(s.dir, fmt.Sprintf("block-%d", s.count))
	if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
		return "", err
	}
	call := "source " + file
	if b.host != hosts[0] {
		call = fmt.Sprintf("(on %s %s)", b.host, file)
	}
	output := file + ".log"
	if err := os.WriteFile(output, nil, 0o644); err != nil { // a block in the background may not have begun when it is read
		return "", err
	}
	if b.background {
		call = fmt.Sprintf("{ exec 3>&-; %s; } >%s 2>&1 </dev/null & jobs[%s]=$!", call, output, b.host)
	} else {
		call = fmt.Sprintf("{ %s; } >%s 2>&1 </dev/null", call, output)
	}
	if err := s.send(call + "\necho " + fmt.Sprint(s.count) + " >&3\n"); err != nil {
		return "", err
	}
	err := s.await(b.text)
	if err == nil && b.background && (strings.Contains(b.text, "wheelhouse server") || strings.Contains(b.text, "$JOIN")) {
		err = s.ready(output)
	}
	said, e := os.ReadFile(output)
	if err == nil {
		err = e
	}
	return string(said) + s.log.String(), err
}

func (s *shell) await(text string) error {
	select {
	case <-s.told:
		return nil
	case <-s.exited:
		return fmt.Errorf("a command failed in\n%s", text)
	case <-time.After(blockPatience):
		return fmt.Errorf("after %s this still ran, without \"background\":\n%s", blockPatience, text)
	}
}

// ready waits until the server that writes to a file is ready.
func (s *shell) ready(output string) error {
	for deadline := time.Now().Add(readyPatience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		said, err := os.ReadFile(output)
		if err == nil && strings.Contains(string(said), " ready after ") {
			return nil
		}
		if strings.HasPrefix(string(said), "wheelhouse: ") || strings.Contains(string(said), "\nwheelhouse: ") {
			return errors.New("the server has ended")
		}
	}
	return fmt.Errorf("the server was not ready after %s", readyPatience)
}

// close ends the shell and all that it has started.
func (s *shell) close() {
	s.send("for j in \"${jobs[@]}\"; do kill -KILL -- \"-$j\"; done; exit\n")
	select {
	case <-s.exited:
	case <-time.After(blockPatience):
		s.cmd.Process.Kill()
		<-s.exited
	}
}
