package members

import (
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// A member that others may have joined must be able to let them in when it starts after a crash.
func TestWasOpen(t *testing.T) {
	for url, want := range map[string]bool{"https://10.0.0.1:2380": true, "http://localhost:2380": false} {
		if got := wasOpen([]etcd.Member{{ID: 1, PeerURL: url}}); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
	if wasOpen(nil) {
		t.Error("a master that never ran was open")
	}
}
