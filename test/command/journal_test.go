package command

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// TestJournal: a line for systemd's journal begins with its level, the last one before a start is given up too; elsewhere none does.
func TestJournal(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	server, err := process.Start(binary, data, 0, "--components", "apiserver")
	if err != nil {
		t.Fatal(err)
	}
	if code, err := server.Stop(patience); err != nil || code != 0 {
		t.Fatalf("code %d, %v", code, err)
	}
	if err := os.RemoveAll(filepath.Join(data, "etcd")); err != nil {
		t.Fatal(err)
	}
	for _, journal := range []bool{true, false} {
		log, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		info, err := log.Stat()
		if err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), binary, "server", "--data-dir", data, "--secure-port", "0")
		c.Stderr = log
		if at := info.Sys().(*syscall.Stat_t); journal {
			c.Env = append(os.Environ(), fmt.Sprintf("JOURNAL_STREAM=%d:%d", at.Dev, at.Ino))
		}
		if err := c.Run(); c.ProcessState == nil || c.ProcessState.ExitCode() != failed {
			t.Fatalf("a master without its store: %v", err)
		}
		said, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(said)), "\n") {
			if leveled := strings.HasPrefix(line, "<"); leveled != journal {
				t.Errorf("journal %v: %s", journal, line)
			}
		}
		if last := strings.Contains(string(said), "<3>wheelhouse: "); last != journal || !strings.Contains(string(said), "is missing") {
			t.Errorf("journal %v: why it ends is told as\n%s", journal, said)
		}
	}
}
