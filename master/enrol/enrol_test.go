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
