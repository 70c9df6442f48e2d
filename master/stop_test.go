package master

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSaysWhatAStopWaitsFor: the operator of a master that does not end yet reads why, for as long as it lasts.
func TestSaysWhatAStopWaitsFor(t *testing.T) {
	var mu sync.Mutex
	said := make(chan string, 1)
	waited := 0
	m := run(t, func(c *Config) {
		c.Warn = func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			if text := fmt.Sprintf(format, args...); strings.HasPrefix(text, "still stopping") {
				if waited++; waited == 2 {
					said <- text
				}
			}
		}
	})
	release, ended := make(chan struct{}), make(chan error)
	begun := make(chan struct{})
	go func() {
		ended <- m.life.tasks.run("the long errand", func() error { close(begun); <-release; return nil })()
	}()
	<-begun
	end := announceStop(&m.config, m.opened.member, m.waitsFor)
	select {
	case text := <-said:
		if !strings.Contains(text, "the long errand") {
			t.Errorf("said %q", text)
		}
	case <-time.After(time.Minute):
		t.Error("nothing was said")
	}
	end()
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := m.waitsFor(); strings.Contains(text, "errand") {
		t.Errorf("a stop waits for %q after it has ended", text)
	}
}
