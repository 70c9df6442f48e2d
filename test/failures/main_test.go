// Package failures breaks running masters and nodes, and checks what users were promised.
package failures

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

var (
	rounds   = flag.Int("rounds", 4, "how often the kill tests kill a master")
	seed     = flag.Int64("seed", 1, "seed of the tests' choices")
	long     = flag.Bool("long", false, "run the long form: also what needs a build of its own or a long time")
	duration = flag.Duration("duration", 0, "how long one harm follows the other in the soak test")
)

// sideBySide is how many tests run at the same time: most of their time they wait for masters to find out what happened.
const sideBySide = "4"

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// binary is the command under test, and skewed, in the long form only, the same with a clock that can be set wrong. They
// are built once, while the program still has a network.
var (
	binary = os.Getenv(binaryVariable)
	skewed = os.Getenv(skewedVariable)
)

const (
	binaryVariable = "WHEELHOUSE_TEST_BUILT"
	skewedVariable = "WHEELHOUSE_TEST_SKEWED"
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	var env []string
	if !process.Isolated() {
		dir, err := os.MkdirTemp("", "failures")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		if binary, err = process.Build("../..", dir); err != nil {
			return 1, err
		}
		env = append(env, binaryVariable+"="+binary)
		for _, tool := range []string{"etcd", "etcdctl"} {
			if _, err := process.Tool(tool); err != nil {
				return 1, err
			}
		}
		if *long {
			if skewed, err = process.BuildSkewed("../..", dir); err != nil {
				return 1, err
			}
			env = append(env, skewedVariable+"="+skewed)
		}
	}
	if code, done, err := process.Isolate(env...); done || err != nil {
		return code, err
	}
	if err := flag.Set("test.parallel", sideBySide); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// eventually waits until a condition holds; the condition says what is missing.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	if err := await(what, condition); err != nil {
		t.Fatal(err)
	}
}

// await is eventually for goroutines that are not the test's.
func await(what string, condition func() error) error {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = condition(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s did not come true: %w", what, err)
}
