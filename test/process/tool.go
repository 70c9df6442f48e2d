package process

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// tools are programs of others that tests run, by name; test/tools/go.mod holds their versions.
var tools = map[string]string{
	"etcd":      "go.etcd.io/etcd/server/v3",
	"etcdctl":   "go.etcd.io/etcd/etcdctl/v3",
	"etcdutl":   "go.etcd.io/etcd/etcdutl/v3",
	"versitygw": "github.com/versity/versitygw/cmd/versitygw", // an S3 server over a folder
}

// Tool builds a program of others at its first use, which the versions in test/tools make a new one, and returns its
// path. It may be called from several test processes at once: one builds, the others wait.
func Tool(name string) (string, error) {
	source, ok := tools[name]
	if !ok {
		return "", fmt.Errorf("no tool %q: there are %s", name, slices.Sorted(maps.Keys(tools)))
	}
	module, err := toolModule()
	if err != nil {
		return "", err
	}
	dir, err := toolCache(module)
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, name)
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	release, err := hold(out + ".lock")
	if err != nil {
		return "", err
	}
	defer release()
	if _, err := os.Stat(out); err == nil { // built while this process waited
		return out, nil
	}
	if err := fetch(module); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", out+".new", source)
	build.Dir = module
	build.Env = toolEnv()
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", source, err, text)
	}
	return out, os.Rename(out+".new", out) // a build that was interrupted leaves nothing under the name
}

// fetch brings the modules of all tools here in one step, with more than one try: a network that fails once must not fail
// every test that needs a tool.
func fetch(module string) error {
	fetching := exec.Command(filepath.Join(module, "fetch.sh"), module, "tool")
	fetching.Env = toolEnv()
	if text, err := fetching.CombinedOutput(); err != nil {
		return fmt.Errorf("fetch the modules of %s: %w\n%s", module, err, text)
	}
	return nil
}

func toolEnv() []string { return append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off") }

// toolModule is the folder test/tools of the module that the test belongs to.
func toolModule() (string, error) {
	text, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(text))), "test", "tools"), nil
}

// toolCache is a folder that outlives the tests: another one for other versions of the tools or of Go.
func toolCache(module string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	versions := sha256.New()
	fmt.Fprintln(versions, runtime.Version())
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		versions.Write(text)
	}
	dir := filepath.Join(cache, "wheelhouse-tools", hex.EncodeToString(versions.Sum(nil))[:16])
	return dir, os.MkdirAll(dir, 0o755)
}

// hold waits until no other process holds the file, and holds it until release is called or this process ends.
func hold(file string) (release func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil
}
