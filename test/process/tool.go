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

// tool is a program of others that tests run.
type tool struct {
	// folder of the module that holds its version.
	folder string
	source string
	// version that the program tells of itself, where it must.
	version string
	// tests: the program holds the tests of its package.
	tests bool
}

// upstream is the version of Kubernetes' own programs that are built as test subjects.
const upstream = "v1.37.2"

var tools = map[string]tool{
	"etcd":        {folder: "test/tools", source: "go.etcd.io/etcd/server/v3"},
	"etcdctl":     {folder: "test/tools", source: "go.etcd.io/etcd/etcdctl/v3"},
	"etcdutl":     {folder: "test/tools", source: "go.etcd.io/etcd/etcdutl/v3"},
	"versitygw":   {folder: "test/tools", source: "github.com/versity/versitygw/cmd/versitygw"}, // an S3 server over a folder
	"deadcode":    {folder: "test/tools/code", source: "golang.org/x/tools/cmd/deadcode"},
	"openapi-gen": {folder: "test/tools/code", source: "k8s.io/kube-openapi/cmd/openapi-gen"},

	"e2e.test":                {folder: "test/tools/kubernetes", source: "k8s.io/kubernetes/test/e2e", version: upstream, tests: true},
	"kubectl":                 {folder: "test/tools/kubernetes", source: "k8s.io/kubernetes/cmd/kubectl", version: upstream},
	"kube-controller-manager": {folder: "test/tools/kubernetes", source: "k8s.io/kubernetes/cmd/kube-controller-manager", version: upstream},
	"kube-scheduler":          {folder: "test/tools/kubernetes", source: "k8s.io/kubernetes/cmd/kube-scheduler", version: upstream},
}

// Tool builds a program of others at its first use, which the versions in its module make a new one, and returns its
// path. It may be called from several test processes at once: one builds, the others wait.
func Tool(name string) (string, error) {
	wanted, ok := tools[name]
	if !ok {
		return "", fmt.Errorf("no tool %q: there are %s", name, slices.Sorted(maps.Keys(tools)))
	}
	root, err := repository()
	if err != nil {
		return "", err
	}
	module := filepath.Join(root, filepath.FromSlash(wanted.folder))
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
	if err := fetch(filepath.Join(root, "test", "tools", "fetch.sh"), module); err != nil {
		return "", err
	}
	build := exec.Command("go", wanted.build(out+".new")...)
	build.Dir = module
	build.Env = toolEnv()
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", wanted.source, err, text)
	}
	return out, os.Rename(out+".new", out) // a build that was interrupted leaves nothing under the name
}

// build is what the go command is told to make the program.
func (t tool) build(out string) []string {
	flags := "-s -w"
	if t.version != "" {
		number := strings.Split(strings.TrimPrefix(t.version, "v"), ".")
		const at = "k8s.io/component-base/version."
		flags += " -X " + at + "gitVersion=" + t.version + " -X " + at + "gitMajor=" + number[0] + " -X " + at + "gitMinor=" + number[1]
	}
	args := []string{"build"}
	if t.tests {
		args = []string{"test", "-c"}
	}
	return append(args, "-ldflags", flags, "-o", out, t.source)
}

// fetch brings the modules of all tools here in one step, with more than one try: a network that fails once must not fail
// every test that needs a tool.
func fetch(script, module string) error {
	fetching := exec.Command(script, module, "tool")
	fetching.Env = toolEnv()
	if text, err := fetching.CombinedOutput(); err != nil {
		return fmt.Errorf("fetch the modules of %s: %w\n%s", module, err, text)
	}
	return nil
}

func toolEnv() []string { return append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off") }

// repository is the folder of the module that the test belongs to.
func repository() (string, error) {
	text, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(text))), nil
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
