package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sys/unix"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

const accessKey, secretKey = "operator", "operator-secret"

// server is one S3 server for all tests of the process.
var server = sync.OnceValues(func() (endpoint string, err error) {
	dir, err := os.MkdirTemp("", "wheelhouse-s3-")
	if err != nil {
		return "", err
	}
	return serveS3(dir)
})

// serveS3 runs a server over a folder until the process ends.
func serveS3(dir string) (endpoint string, err error) {
	binary, err := process.Tool("versitygw")
	if err != nil {
		return "", err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	endpoint = free.Addr().String()
	free.Close()
	root := filepath.Join(dir, "root")
	meta := filepath.Join(dir, "meta")
	if err := errors.Join(os.MkdirAll(root, 0o700), os.MkdirAll(meta, 0o700)); err != nil {
		return "", err
	}
	cmd := exec.Command(binary, "--access", accessKey, "--secret", secretKey, "--port", endpoint, "--quiet", "posix", "--sidecar", meta, root)
	var output process.Log
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if c, err := net.Dial("tcp", endpoint); err == nil {
			return endpoint, c.Close()
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("the S3 server does not answer:\n%s", &output)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func credentialsFile(t *testing.T, access, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", access, secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// newBucket is a vault in a new bucket.
func newBucket(t *testing.T) Vault {
	t.Helper()
	endpoint, err := server()
	if err != nil {
		t.Fatal(err)
	}
	return makeBucket(t, endpoint)
}

func makeBucket(t *testing.T, endpoint string) Vault {
	t.Helper()
	name := fmt.Sprintf("b%d", time.Now().UnixNano())
	v, err := NewS3(S3Options{Endpoint: "http://" + endpoint, Bucket: name, Prefix: "clusters/one", Region: "us-east-1",
		CredentialsFile: credentialsFile(t, accessKey, secretKey)})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.(*bucket).client.MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestBucketRefuses: each way in which a bucket cannot be used has its own words.
func TestBucketRefuses(t *testing.T) {
	endpoint, err := server()
	if err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	full := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `<?xml version="1.0"?><ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>`)
			return
		}
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInsufficientStorage)
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>`)
	}))
	defer full.Close()
	good := credentialsFile(t, accessKey, secretKey)
	for _, test := range []struct {
		name, want string
		options    S3Options
	}{
		{"unreachable", "cannot be reached", S3Options{Endpoint: "http://" + closed.Addr().String(), Bucket: "bucket", CredentialsFile: good}},
		{"no bucket", "does not exist", S3Options{Endpoint: "http://" + endpoint, Bucket: "nowhere", CredentialsFile: good}},
		{"unknown user", "does not accept the credentials", S3Options{Endpoint: "http://" + endpoint, Bucket: "nowhere", CredentialsFile: credentialsFile(t, "nobody", secretKey)}},
		{"wrong secret", "does not accept the credentials", S3Options{Endpoint: "http://" + endpoint, Bucket: "nowhere", CredentialsFile: credentialsFile(t, accessKey, "wrong")}},
		{"full", "is full", S3Options{Endpoint: full.URL, Bucket: "bucket", CredentialsFile: good}},
		{"not TLS", "cannot be reached", S3Options{Endpoint: endpoint, Bucket: "bucket", CredentialsFile: good}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.options.Region = "us-east-1"
			v, err := NewS3(test.options)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Create(t.Context(), newCluster(t), v, CreateOptions{Lock: newLock(t), Reader: readWords, Temporary: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error: %v", err)
			}
		})
	}
	for _, o := range []S3Options{{}, {Endpoint: "x"}, {Endpoint: "ftp://x", Bucket: "b"}, {Endpoint: "https://x/y", Bucket: "b"}, {Endpoint: "x", Bucket: "bucket", CAFile: good}} {
		if _, err := NewS3(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// TestBucketFull fills the server's disk in the middle of a backup.
func TestBucketFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=1500k"); err != nil {
		t.Fatalf("this test mounts a small file system: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	endpoint, err := serveS3(dir)
	if err != nil {
		t.Fatal(err)
	}
	v, c, lock := makeBucket(t, endpoint), newCluster(t), newLock(t)
	good := create(t, c, v, lock)
	for i := range 3 {
		key, value := fmt.Sprintf("/registry/big/%d", i), bytes.Repeat([]byte("large "), 1<<16)
		if _, err := c.member.Create(t.Context(), key, value, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Create(t.Context(), c, v, CreateOptions{Lock: lock, Reader: readWords, Temporary: t.TempDir()}); err == nil {
		t.Fatal("more fits than there is room for")
	} else if !strings.Contains(err.Error(), endpoint) {
		t.Errorf("error: %v", err)
	}
	if all := list(t, v); len(all) != 1 || all[0].Name != good.Name || all[0].State != Good {
		t.Errorf("left: %+v", all)
	}
	if _, err := verify(t, v, good.Name, lock); err != nil {
		t.Error(err)
	}
}

// endless is read until the context ends.
type endless struct {
	n    int
	stop context.CancelFunc
}

func (e *endless) Read(p []byte) (int, error) {
	e.n += len(p)
	if e.n > 2*partSize {
		e.stop()
	}
	return len(p), nil
}

// TestInterruptedUpload leaves parts of an upload behind, as a process that was killed does: they are listed as unfinished
// and can be cleared.
func TestInterruptedUpload(t *testing.T) {
	v := newBucket(t)
	b := v.(*bucket)
	name := newName(time.Now())
	ctx, stop := context.WithCancel(t.Context())
	if err := v.Write(ctx, name, SnapshotFile, &endless{stop: stop}, -1); !errors.Is(err, context.Canceled) {
		t.Fatalf("error: %v", err)
	}
	if all := list(t, v); len(all) != 0 {
		t.Fatalf("an upload that was given up has left %+v", all)
	}
	core := minio.Core{Client: b.client}
	upload, err := core.NewMultipartUpload(t.Context(), b.name, b.key(name, SnapshotFile), minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := core.PutObjectPart(t.Context(), b.name, b.key(name, SnapshotFile), upload, 1, strings.NewReader("part"), 4, minio.PutObjectPartOptions{}); err != nil {
		t.Fatal(err)
	}
	all := list(t, v)
	if len(all) != 1 || all[0].State != Unfinished {
		t.Fatalf("listed: %+v", all)
	}
	if removed, err := Prune(t.Context(), v, PruneOptions{Now: func() time.Time { return time.Now().Add(2 * UnfinishedAge) }}); err != nil || len(removed) != 1 {
		t.Fatalf("pruned: %v, %v", removed, err)
	}
	if all := list(t, v); len(all) != 0 {
		t.Fatalf("left: %+v", all)
	}
}
