package process

import (
	"fmt"
	"os"
)

// builtVariable tells the program that Isolate has started where the binary is.
const builtVariable = "WHEELHOUSE_TEST_BUILT"

// Main builds the binary while the program still has a network, and runs the tests, which get its path, in namespaces of
// their own. It returns the exit code. root is the folder of the repository.
func Main(root string, tests func(binary string) int) int {
	code, err := isolatedMain(root, tests)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func isolatedMain(root string, tests func(binary string) int) (int, error) {
	binary := os.Getenv(builtVariable)
	var env []string
	if !Isolated() {
		dir, err := os.MkdirTemp("", "wheelhouse-test-")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		if binary, err = Build(root, dir); err != nil {
			return 1, err
		}
		env = append(env, builtVariable+"="+binary)
	}
	if code, done, err := Isolate(env...); done || err != nil {
		return code, err
	}
	return tests(binary), nil
}
