package failures

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// TestParted cuts the leader off the others, whose packets vanish without a word: what each side says of it, and that a master which
// starts on the lost side waits there, and can be stopped.
func TestParted(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	m := masters(t, 3)
	alone, others := leader(t, m)
	if err := m.Network.Part(alone.Host); err != nil {
		t.Fatal(err)
	}
	partedStatus(t, alone) // at once, when nothing has been noticed yet
	eventually(t, "the lost side knows that it is lost", func() error {
		s := partedStatus(t, alone)
		if s.Quorum == nil || !s.Quorum.Lost || !strings.Contains(strings.Join(s.Problems, "\n"), "there is no quorum: 1 of 3") {
			return fmt.Errorf("%+v", s.Quorum)
		}
		for _, one := range s.Masters {
			if one.Role == membership.RoleLeader || one.Live != (one.Name == identity(t, alone)) {
				return fmt.Errorf("%+v", one)
			}
		}
		return nil
	})
	eventually(t, "the others go on, and miss one", func() error {
		s := partedStatus(t, others[0])
		for _, one := range s.Masters {
			if one.Name == identity(t, alone) && (one.Live || one.Role == membership.RoleLeader) {
				return fmt.Errorf("%+v", one)
			}
		}
		if s.Quorum == nil || s.Quorum.Lost {
			return fmt.Errorf("%+v", s.Quorum)
		}
		return nil
	})
	refuses(t, alone)
	waits := func() {
		t.Helper()
		eventually(t, "the start tells what it waits for", func() error {
			s := partedStatus(t, alone)
			if !strings.Contains(strings.Join(s.Problems, "\n"), "starts and does not serve yet: there is no quorum: 1 of 3") {
				return errors.New(strings.Join(s.Problems, "\n"))
			}
			return nil
		})
	}
	stop := func() {
		t.Helper()
		if code, err := alone.Stop(5 * time.Second); err != nil || code != 0 {
			t.Fatalf("exit code %d: %v\n%s", code, err, alone.Log)
		}
	}
	stop()
	if err := alone.Begin(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	waits()
	t.Logf("the start told what it waits for after %v", time.Since(begun).Round(time.Millisecond))
	stop()
	if err := alone.Begin(); err != nil {
		t.Fatal(err)
	}
	waits()
	heal(t, m)
	awaitReady(t, m)
	// What is left behind by a start that ended in the middle keeps nothing from starting.
	alone.Kill()
	if err := alone.Restart(); err != nil {
		t.Fatal(err)
	}
}

// partedStatus is what a master tells, which must come soon.
func partedStatus(t *testing.T, m *process.Master) (s membership.Status) {
	t.Helper()
	begun := time.Now()
	r, err := m.Command("status", "-o", "json")
	if took := time.Since(begun); took > 4*time.Second { // two seconds, and what a busy machine adds
		t.Errorf("status took %v", took)
	}
	if err == nil && r.Stdout != "" { // else its port is not open yet
		err = json.Unmarshal([]byte(r.Stdout), &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}
