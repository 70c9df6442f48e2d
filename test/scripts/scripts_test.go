// Package scripts runs kubectl commands against a real master: each file in testdata is one scenario.
package scripts

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// patience is how long "eventually" waits for what must happen.
const patience = 60 * time.Second

// binary builds the command once, with a link that makes it kubectl, and returns the folder of both.
func binary(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "wheelhouse")
	build := exec.Command("make", "-C", "../..", "build", "OUT="+out)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	if err := os.Symlink(out, filepath.Join(dir, "kubectl")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestScripts(t *testing.T) {
	bin := binary(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"eventually": eventually, "master": start},
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("KUBECONFIG", filepath.Join(e.WorkDir, "kubeconfig"))
			return nil
		},
	})
}

// start starts the script's master: "master", "master nodes=3", "master components=apiserver".
func start(ts *testscript.TestScript, neg bool, args []string) {
	o := wheelhouse.Options{}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		switch name {
		case "nodes":
			n, err := strconv.Atoi(value)
			ts.Check(err)
			o.SimulateNodes = n
		case "event-ttl":
			ttl, err := time.ParseDuration(value)
			ts.Check(err)
			o.Configure = func(c *master.Config) { c.EventTTL = ttl }
		case "admission":
			o.Configure = func(c *master.Config) { c.EnableAdmission = strings.Split(value, ",") }
		case "components":
			for _, c := range strings.Split(value, ",") {
				o.Components = append(o.Components, master.Component(c))
			}
		default:
			ts.Fatalf("master does not know %s", a)
		}
	}
	m, err := wheelhouse.Start(context.Background(), o)
	ts.Check(err)
	ts.Defer(func() { ts.Check(m.Stop()) })
	config := m.RESTConfig()
	file := clientcmdapi.NewConfig()
	file.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	file.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	file.CurrentContext = "x"
	ts.Check(clientcmd.WriteToFile(*file, ts.Getenv("KUBECONFIG")))
}

// eventually REGEXP COMMAND... repeats a command until its output matches (with "!", until it no longer does).
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP COMMAND...")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		last = ts.ReadFile("stdout") + ts.ReadFile("stderr")
		if (err == nil || neg) && want.MatchString(last) != neg {
			return
		}
	}
	ts.Fatalf("%s: the output did not come to match %s:\n%s", strings.Join(args[1:], " "), args[0], last)
}
