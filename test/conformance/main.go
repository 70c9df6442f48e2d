// Conformance runs upstream's conformance specs against a master with simulated nodes and says which pass.
//
//	go run ./test/conformance [flags]
//
// It ends with code 1 if a spec does not pass, and 2 if the specs could not be run.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// version of the specs: that of the module that they are built from.
const version = "v1.37.2"

var (
	needs    = flag.String("needs", "api,kcm,sched,fakenode", "classes of specs to run")
	only     = flag.String("only", "", "run specs whose name contains this")
	workers  = flag.Int("workers", 3, "processes that run specs side by side")
	patience = flag.Duration("timeout", 50*time.Minute, "how long a process may take")
	out      = flag.String("out", "", "folder for reports and logs; empty makes one")
	page     = flag.String("document", "", "file to write the table to")
)

const nodes = 3

func main() {
	flag.Parse()
	passed, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	if !passed {
		os.Exit(1)
	}
}

func run() (passed bool, err error) {
	all, err := allSpecs(strings.Split(*needs, ","))
	if err != nil {
		return false, err
	}
	var specs []spec
	for _, s := range all {
		if strings.Contains(s.name, *only) {
			specs = append(specs, s)
		}
	}
	if len(specs) == 0 {
		return false, fmt.Errorf("no spec is called %q", *only)
	}
	if *out == "" {
		if *out, err = os.MkdirTemp("", "wheelhouse-conformance-"); err != nil {
			return false, err
		}
	}
	fmt.Printf("%d specs; reports and logs are in %s\n", len(specs), *out)
	r := runner{}
	for _, t := range []struct {
		name string
		path *string
	}{{"e2e.test", &r.e2e}, {"kubectl", &r.kubectl}} {
		if *t.path, err = process.Tool(t.name); err != nil {
			return false, err
		}
	}
	binary, err := process.Build(".", *out)
	if err != nil {
		return false, err
	}
	data := filepath.Join(*out, "data")
	if err := os.RemoveAll(data); err != nil { // of a run before
		return false, err
	}
	master, err := process.Start(binary, data, 0, fmt.Sprintf("--simulate-nodes=%d", nodes))
	if err != nil {
		return false, err
	}
	defer func() {
		if _, stopping := master.Stop(time.Minute); err == nil {
			err = stopping
		}
	}()
	r.kubeconfig = filepath.Join(data, "admin.kubeconfig")
	states, err := r.all(specs)
	if err != nil {
		return false, err
	}
	passed = print(os.Stdout, specs, states)
	if *page == "" {
		return passed, nil
	}
	var text bytes.Buffer
	document(&text, version, specs, states)
	return passed, os.WriteFile(*page, text.Bytes(), 0o644)
}

// runner runs specs by upstream's program.
type runner struct{ e2e, kubectl, kubeconfig string }

// all runs the specs, those that bear company first, side by side, and gives their states.
func (r *runner) all(specs []spec) (map[string]string, error) {
	parts := make([][]spec, *workers)
	var alone []spec
	for _, s := range specs {
		if s.alone() {
			alone = append(alone, s)
			continue
		}
		shortest := 0
		for n := range parts {
			if len(parts[n]) < len(parts[shortest]) {
				shortest = n
			}
		}
		parts[shortest] = append(parts[shortest], s)
	}
	var wg sync.WaitGroup
	failures := make([]error, len(parts)+1)
	for n, part := range parts {
		if len(part) > 0 {
			wg.Go(func() { failures[n] = r.some(fmt.Sprint("beside-", n), part) })
		}
	}
	wg.Wait()
	if len(alone) > 0 {
		failures[len(parts)] = r.some("alone", alone)
	}
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	return readReports(*out, specs)
}

// some runs specs one after the other. That some do not pass is no error.
func (r *runner) some(name string, specs []spec) error {
	dir := filepath.Join(*out, name)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(r.e2e, "--kubeconfig="+r.kubeconfig, "--provider=skeleton", "--allowed-not-ready-nodes=-1", fmt.Sprintf("--num-nodes=%d", nodes),
		"--kubectl-path="+r.kubectl, "--report-dir="+dir, "--ginkgo.focus="+focus(specs), "--ginkgo.no-color", "--ginkgo.silence-skips",
		"--ginkgo.timeout="+patience.String())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return err
	}
	if reports, _ := filepath.Glob(filepath.Join(dir, "junit*.xml")); len(reports) == 0 {
		return fmt.Errorf("%s left no report; see %s", filepath.Base(r.e2e), log.Name())
	}
	return nil
}
