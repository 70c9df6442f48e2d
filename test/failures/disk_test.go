package failures

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// slowDisk is a file system that passes everything through to a folder, and takes its time over flushing.
type slowDisk struct {
	fuse.RawFileSystem
	delay atomic.Int64 // of each flush, in nanoseconds
}

// mountSlow mounts a slow disk, not slow yet, on a folder until the test ends.
func mountSlow(t *testing.T, at string) *slowDisk {
	t.Helper()
	root, err := fs.NewLoopbackRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	options := &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "slow"}}
	d := &slowDisk{RawFileSystem: fs.NewNodeFS(root, options)}
	server, err := fuse.NewServer(d, at, &options.MountOptions)
	if err != nil {
		t.Fatalf("a slow disk cannot be mounted: %v", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		server.Wait()
	})
	return d
}

// Fsync implements fuse.RawFileSystem.
func (d *slowDisk) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	time.Sleep(time.Duration(d.delay.Load()))
	return d.RawFileSystem.Fsync(cancel, in)
}

// TestSlowDisk makes the disk of the leader, and then of a follower, slow. Nothing is lost; with a follower on a slow disk
// the others go on.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	m, err := process.NewMasters(binary, t.TempDir(), 3, noAgents)
	if err != nil {
		t.Fatal(err)
	}
	first, err := m.Next()
	if err != nil {
		t.Fatal(err)
	}
	disk := mountSlow(t, first.Dir)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := m.Start(first); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := m.Add(); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.AwaitVotes(); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, m)
	l.progress(50)
	disk.delay.Store(int64(100 * time.Millisecond))
	l.progress(30)
	disk.delay.Store(int64(700 * time.Millisecond))
	l.progress(10)
	disk.delay.Store(0)
	l.progress(50)
	l.verify()
}

// TestFullDisk fills the disk of one master. The others go on; it says why it cannot, and goes on once there is space.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	m := masters(t, 3)
	third := m.All[2]
	if _, err := third.Stop(patience); err != nil {
		t.Fatal(err)
	}
	small := moveToSmall(t, third.Dir)
	if err := third.Restart(); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, m)
	l.progress(50)
	filler := filepath.Join(small, "filler")
	fill(t, filler)
	for i := 0; third.Lives(); i++ { // large objects, so that its database must grow
		if i == largeMax {
			t.Fatalf("the master lives on a full disk after %d large objects:\n%s", i, third.Log)
		}
		if err := large(m.All[0], i); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(third.Log.String(), "no space left on device") {
		t.Errorf("it did not say why it ended:\n%s", third.Log)
	}
	l.progress(100)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := third.Restart(); err != nil {
		t.Fatal(err)
	}
	l.progress(50)
	awaitReady(t, m)
	l.verify()
}

// largeMax is more large objects than a full disk can take.
const largeMax = 200

// large writes an object of about a megabyte, or the same again.
func large(m *process.Master, i int) error {
	config, err := m.Config()
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("large-%d", i)}, Data: map[string]string{"large": strings.Repeat("x", 1_000_000)}}
	return await("a large object", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
		defer cancel()
		_, err := clients.CoreV1().ConfigMaps("default").Create(ctx, o, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// moveToSmall moves a data folder to a file system with little space and mounts that in its place, in a folder of the
// same name. It returns the mount point.
func moveToSmall(t *testing.T, dir string) string {
	t.Helper()
	at := filepath.Dir(dir)
	aside := filepath.Join(t.TempDir(), "aside")
	if err := os.CopyFS(aside, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("small", at, "tmpfs", 0, "size=256m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(dir, os.DirFS(aside)); err != nil {
		t.Fatal(err)
	}
	return at
}

// fill writes a file until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 1; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
}
