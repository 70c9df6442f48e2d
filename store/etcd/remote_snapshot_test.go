package etcd

import (
	"crypto/sha256"
	"io"
	"testing"
)

// A snapshot is the database with its checksum after it, and as long as was told before.
func TestRemoteSnapshot(t *testing.T) {
	r := dial(t, external(servers(t, 1, true), "/x"))
	if _, err := r.Create(t.Context(), "/a", make([]byte, 300<<10), 0); err != nil {
		t.Fatal(err)
	}
	from, size, err := r.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	data, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	n := len(data) - sha256.Size
	if n <= 0 || sha256.Sum256(data[:n]) != [sha256.Size]byte(data[n:]) {
		t.Fatalf("%d bytes without their checksum", len(data))
	}
	t.Logf("%d bytes, %d told", len(data), size)
	if size != int64(len(data)) {
		t.Fatalf("%d bytes were told of, and %d sent", size, len(data))
	}
}
