package enrol

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
)

// TestFirstStartAfterAFailedJoin: a join that failed leaves a name behind. A first start after it is one like any other, and may be
// killed before it has made its store.
func TestFirstStartAfterAFailedJoin(t *testing.T) {
	dir := t.TempDir()
	log := func(format string, args ...any) { t.Logf(format, args...) }
	o := Options{DataDir: dir, PKIDir: filepath.Join(dir, "pki"), Now: time.Now, Log: log, Warn: log}
	joining := o
	joining.Join, joining.Token = []string{"https://127.0.0.1:1"}, "abc"
	if _, err := Prepare(joining); err != nil { // nobody has been asked yet, and nobody answers
		t.Log(err)
	}
	if _, err := Prepare(o); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, datafolder.FirstStartFile)); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(o.PKIDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.PKIDir, "ca.crt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(o); err != nil {
		t.Errorf("killed after the authority was begun: %v", err)
	}
}
