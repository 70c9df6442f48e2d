package enrol

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// TestPrepare: a folder that was a master's and has lost its store begins no new cluster, unless that is asked for, and then once.
func TestPrepare(t *testing.T) {
	dir := t.TempDir()
	options := func(change func(*Options)) Options {
		o := Options{DataDir: dir, PKIDir: filepath.Join(dir, "pki"), Now: time.Now, Log: t.Logf, Warn: t.Logf}
		if change != nil {
			change(&o)
		}
		return o
	}
	begins := func(o Options) *Enrolment {
		t.Helper()
		e, err := Prepare(o)
		if err != nil || !e.Began() || e.Open() || e.Joining() || e.Recovering() || e.Name == "" {
			t.Fatalf("%+v, %v", e, err)
		}
		return e
	}
	refuses := func(o Options, want string) {
		t.Helper()
		if _, err := Prepare(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %v, want %q", err, want)
		}
	}
	first := begins(options(nil))
	if again := begins(options(nil)); again.Name != first.Name {
		t.Errorf("the master is %s at its second start, and was %s", again.Name, first.Name)
	}
	kept := datafolder.Kept{Store: membership.NewStore(membership.OriginNew, time.Now())}
	if err := kept.Write(dir); err != nil {
		t.Fatal(err)
	}
	refuses(options(nil), "is missing (store-identity)")
	refuses(options(func(o *Options) { o.RecoverQuorum = true }), "is missing (store-identity)")
	anew := options(func(o *Options) { o.NewCluster = true })
	if e := begins(anew); e.Name == first.Name {
		t.Error("a new cluster goes on with the old name")
	}
	if aside, err := filepath.Glob(filepath.Join(dir, datafolder.MovedPrefix+"*", datafolder.StoreFile)); err != nil || len(aside) != 1 {
		t.Errorf("moved aside: %v, %v", aside, err)
	}
	if err := kept.Write(dir); err != nil {
		t.Fatal(err)
	}
	refuses(anew, "which works once")
	if err := os.Remove(filepath.Join(dir, datafolder.NewClusterFile)); err != nil {
		t.Fatal(err)
	}
	kept.Successor = &membership.Successor{ID: "another", Master: "two", At: time.Now()}
	if err := kept.Write(dir); err != nil {
		t.Fatal(err)
	}
	if folder, err := datafolder.Read(dir, ""); err != nil || folder.Dead(false) == nil {
		t.Errorf("%+v, %v", folder, err)
	}
}

// TestCheck finds flags that do not go together.
func TestCheck(t *testing.T) {
	for want, o := range map[string]Options{
		"exclude each other":                {RecoverQuorum: true, Join: []string{"https://a:6443"}},
		"goes with --join":                  {Replace: true},
		"neither with --join":               {NewCluster: true, RecoverQuorum: true},
		"only for --recover-quorum":         {ForgetOthers: true},
		"give the masters to join":          {Token: "x"},
		"keeps everything in memory":        {Join: []string{"https://a:6443"}},
		"--join needs --token":              {DataDir: "d", Join: []string{"https://a:6443"}},
		"needs --discovery-token-ca-cert-h": {DataDir: "d", Join: []string{"https://a:6443"}, Token: "x"},
	} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if err := (&Options{}).Check(); err != nil {
		t.Error(err)
	}
}

// TestTakeFiles: what a master sends goes to where shared files lie and nowhere else, and keys are for their owner alone.
func TestTakeFiles(t *testing.T) {
	for name, mode := range map[string]os.FileMode{
		"pki/ca.crt": 0o644, "pki/sa.pub": 0o644, "pki/ca.key": 0o600, "pki/etcd/ca.key": 0o600, datafolder.EncryptionFile: 0o600,
		"identity": 0, datafolder.StoreFile: 0, "pki/": 0, "pki/../identity": 0, "pki//etc/x": 0, "../x": 0, "/etc/x": 0, "": 0, "PKI/ca.crt": 0,
	} {
		dir := t.TempDir()
		o := Options{DataDir: filepath.Join(dir, "data"), PKIDir: filepath.Join(dir, "authority")}
		err := (&Enrolment{Options: o}).takeFiles(map[string][]byte{name: []byte("x")})
		path := filepath.Join(o.DataDir, name)
		if rest, ok := strings.CutPrefix(name, "pki/"); ok {
			path = filepath.Join(o.PKIDir, rest)
		}
		if mode == 0 {
			if left, _ := os.ReadDir(dir); err == nil || !strings.Contains(err.Error(), "a file that is not known") || len(left) > 0 {
				t.Errorf("%q: %v, and left %v", name, err, left)
			}
			continue
		}
		if info, found := os.Stat(path); err != nil || found != nil || info.Mode() != mode {
			t.Errorf("%q: %v, %v, %v", name, err, info, found)
		}
	}
}
