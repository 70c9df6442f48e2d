package process

import (
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Several tests ask for the same tools at once; each gets one that runs.
func TestTool(t *testing.T) {
	var wg sync.WaitGroup
	for _, ask := range []struct{ name, argument, want string }{
		{"etcd", "--version", "etcd Version: 3.7.3"},
		{"etcd", "--version", "etcd Version: 3.7.3"},
		{"etcdctl", "version", "etcdctl version: 3.7.3"},
		{"etcdutl", "version", "etcdutl version: 3.7.3"},
		{"versitygw", "--help", "versitygw"},
	} {
		wg.Go(func() {
			path, err := Tool(ask.name)
			if err != nil {
				t.Error(err)
				return
			}
			if text, err := exec.Command(path, ask.argument).CombinedOutput(); err != nil || !strings.Contains(string(text), ask.want) {
				t.Errorf("%s %s: %v\n%s", ask.name, ask.argument, err, text)
			}
		})
	}
	wg.Wait()
}

func TestNoTool(t *testing.T) {
	if _, err := Tool("nonsense"); err == nil || !strings.Contains(err.Error(), "etcdutl") {
		t.Fatalf("error: %v", err)
	}
}
