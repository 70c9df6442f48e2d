package encryption

import (
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// BenchmarkNotEncrypted is what encryption costs an event of a kind that is not encrypted. It must not allocate.
func BenchmarkNotEncrypted(b *testing.B) {
	for _, key := range []string{root + "pods/default/a", root + "example.com/things/default/a"} {
		b.Run(key, func(b *testing.B) {
			s := benchStore(b)
			e := store.Entry{Key: key, Value: []byte(secret)}
			b.ReportAllocs()
			for b.Loop() {
				s.open(b.Context(), s.present.Load(), &e, false)
			}
		})
	}
}

func benchStore(b *testing.B) *Store {
	b.Helper()
	file := b.TempDir() + "/c.yaml"
	if _, err := Ensure(b.Context(), memory.New(), file); err != nil {
		b.Fatal(err)
	}
	s, err := New(b.Context(), Options{Store: memory.New(), Kinds: api.Kinds(), File: file, Reload: true})
	if err != nil {
		b.Fatal(err)
	}
	return s
}
