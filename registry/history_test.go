package registry

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// After a restart all watches come back at once from revisions that only the store remembers. They must reach the present
// though nobody writes, and though there are many of them.
func TestManyWatchesOfHistory(t *testing.T) { forEachForm(t, testManyWatchesOfHistory) }

func testManyWatchesOfHistory(t *testing.T, f testForm) {
	s, err := etcd.Open(t.Context(), etcd.Options{Dir: filepath.Join(t.TempDir(), "etcd")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	maps := f.start(t, Options{Store: s}).resource(t, "configmaps")
	for n := range 20 {
		must(maps.Create(bg, f.configMap("a", fmt.Sprint("m", n), nil), CreateOptions{}))(t)
	}
	restarted := f.start(t, Options{Store: s}).resource(t, "configmaps")
	ctx, cancel := context.WithTimeout(bg, 20*time.Second)
	defer cancel()
	var all []*Watcher
	for n := range 1000 {
		w, err := restarted.Watch(ctx, WatchOptions{ResourceVersion: "5", Namespace: fmt.Sprint("quiet-", n)})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		all = append(all, w)
	}
	for n, w := range all {
		for w.catchingUp() {
			select {
			case <-w.Ready():
			case <-ctx.Done():
				t.Fatalf("watch %d has not reached the present", n)
			}
		}
	}
}
