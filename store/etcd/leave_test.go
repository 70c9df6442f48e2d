package etcd

import (
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A member that left, and could not be opened again, must not keep the store from closing.
func TestCloseWithoutMember(t *testing.T) {
	e, err := Open(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "etcd"), CompactionInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	e.gate.member().leave()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// Only what etcd surely did not begin is asked for again.
func TestNotBegun(t *testing.T) {
	for err, want := range map[error]bool{
		status.Error(codes.ResourceExhausted, "etcdserver: too many requests"):                 true,
		status.Error(codes.Unavailable, "etcdserver: no leader"):                               true,
		status.Error(codes.Unknown, "raft proposal dropped"):                                   true,
		status.Error(codes.Unavailable, "etcdserver: request timed out"):                       false,
		status.Error(codes.Unavailable, "etcdserver: leader changed"):                          false,
		status.Error(codes.ResourceExhausted, rpctypes.ErrNoSpace.Error()):                     false,
		status.Error(codes.Unavailable, "error reading from server: read: connection refused"): false,
	} {
		if got := notBegun(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
