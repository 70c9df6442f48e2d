package keys

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// TestRotate changes the key of a lone master, and refuses to while another is away.
func TestRotate(t *testing.T) {
	s := memory.New()
	defer s.Close()
	away, published := []string{"two"}, 0
	k := New(Options{File: filepath.Join(t.TempDir(), "encryption.yaml"), Managed: true, Self: "one", Kinds: api.Kinds(), Log: t.Logf, Warn: t.Logf})
	if err := k.Ensure(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	around, end, err := k.Open(t.Context(), s, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	k.Connect(Needs{
		Masters: func() []membership.Master { return []membership.Master{{Name: "one"}} },
		Absent:  func(context.Context) ([]string, error) { return away, nil },
		Publish: func(context.Context) error { published++; return nil },
		Sealed:  func() map[schema.GroupResource]int { return nil },
	})
	k.Within(t.Context())
	const key, value = "/registry/secrets/default/s", `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"}}`
	if _, err := around.Create(t.Context(), key, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
	before, _, err := s.Get(t.Context(), key, 0)
	if err != nil || strings.Contains(string(before.Value), "Secret") {
		t.Fatalf("stored %q, %v", before.Value, err)
	}
	if _, err := k.rotateKeys(t.Context(), struct{}{}); err == nil || !strings.Contains(err.Error(), "master two does not serve") || published != 0 {
		t.Errorf("while one is away: %v", err)
	}
	away = nil
	if _, err := k.rotateKeys(t.Context(), struct{}{}); err != nil {
		t.Fatal(err)
	}
	k.works.wait()
	if w := k.works.get(); w.Error != "" || w.Ended == nil || time.Since(w.Started) > time.Minute || published == 0 {
		t.Errorf("%+v, published %d times", w, published)
	}
	after, _, err := s.Get(t.Context(), key, 0)
	if err != nil || !strings.HasPrefix(string(after.Value), "k8s:enc:secretbox:v1:key2:") {
		t.Errorf("stored %q, %v", after.Value, err)
	}
	if e, _, err := around.Get(t.Context(), key, 0); err != nil || string(e.Value) != value {
		t.Errorf("read %q, %v", e.Value, err)
	}
	if status, err := k.status(t.Context(), struct{}{}); err != nil || status.RewriteNeeded || status.Unfinished != "" || len(status.Masters) != 1 {
		t.Errorf("%+v, %v", status, err)
	}
}
