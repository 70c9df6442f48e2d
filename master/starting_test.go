package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// TestPatiently: a start whose store has no quorum waits for it however long that takes, says soon and then every minute what it
// waits for and who is missing, and goes on with what the store says then. What is no want of a store ends it.
func TestPatiently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var said []string
		m := &starting{warn: func(format string, args ...any) {
			said = append(said, fmt.Sprintf("%v ", time.Since(begun).Round(time.Second))+fmt.Sprintf(format, args...))
		}}
		missing, end := "b and c are missing", 24*time.Hour
		err := m.patiently(t.Context(), "the roster is read", func(context.Context) error {
			since := time.Since(begun)
			if since >= 90*time.Second {
				missing = "c is missing" // what is said is what holds then
			}
			if since < end {
				return fmt.Errorf("the roster: %w", &store.NoQuorum{Why: missing})
			}
			return nil
		})
		if took := time.Since(begun); err != nil || took < end || took > end+time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		line := "%s the start waits for the store (the roster is read): the roster: %v"
		want := []string{
			fmt.Sprintf(line, "3s", &store.NoQuorum{Why: "b and c are missing"}), fmt.Sprintf(line, "1m3s", &store.NoQuorum{Why: "b and c are missing"}),
			fmt.Sprintf(line, "2m3s", &store.NoQuorum{Why: "c is missing"}),
		}
		if len(said) != 24*60 || !slices.Equal(said[:3], want) {
			t.Errorf("said %d times: %q, want %q", len(said), said[:min(3, len(said))], want)
		}
		broken := errors.New("the disk is full")
		if err := m.patiently(t.Context(), "", func(context.Context) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("what does not pass: %v", err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		begun = time.Now()
		err = m.patiently(ctx, "", func(context.Context) error { return store.ErrUnavailable })
		if took := time.Since(begun); err == nil || took > time.Hour+time.Second {
			t.Errorf("a start that is called off after an hour: after %v: %v", took, err)
		}
	})
}
