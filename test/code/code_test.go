// Package code asks tools what they find in the code: functions that nothing calls, and generated files that are out of date.
package code

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

var root = filepath.Join("..", "..")

// run runs a program in a folder of the repository and returns what it writes.
func run(t *testing.T, folder, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = filepath.Join(root, filepath.FromSlash(folder))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", path.Base(program), strings.Join(args, " "), err, problems.String())
	}
	return string(text)
}

func tool(t *testing.T, name string) string {
	t.Helper()
	program, err := process.Tool(name)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// unreachable is a line of deadcode's, with the file and the function.
var unreachable = regexp.MustCompile(`(?m)^(\S+?):\d+:\d+: unreachable func: (.+)$`)

// TestDeadInProduct: each function of the product is reached from one of its programs. What only tests reach is theirs to keep:
// in files of tests, below test/, or in a package that is named for it.
func TestDeadInProduct(t *testing.T) {
	for _, f := range dead(t, "./...") {
		if !ofTests(f.file) {
			t.Errorf("%s: nothing reaches %s but tests: delete it, move it to the tests, or give it a reason in test/code/users", f.file, f.name)
		}
	}
}

// TestDead: each function is reached from a program or a test.
func TestDead(t *testing.T) {
	for _, f := range dead(t, "-test", "./...") {
		t.Errorf("%s: nothing reaches %s: delete it", f.file, f.name)
	}
}

type function struct{ file, name string }

func dead(t *testing.T, args ...string) (found []function) {
	t.Helper()
	text := run(t, ".", tool(t, "deadcode"), args...)
	for _, m := range unreachable.FindAllStringSubmatch(text, -1) {
		found = append(found, function{filepath.ToSlash(m[1]), m[2]})
	}
	if lines := strings.Count(text, "\n"); lines != len(found) {
		t.Fatalf("%d of %d lines are understood:\n%s", len(found), lines, text)
	}
	return found
}

// ofTests tells whether a file is there for tests alone.
func ofTests(file string) bool {
	dir := path.Dir(file)
	return dir == "test" || strings.HasPrefix(dir, "test/") || strings.HasSuffix(dir, "test")
}
