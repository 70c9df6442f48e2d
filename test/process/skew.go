package process

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// SkewVariable is the environment variable by whose seconds the clock of a binary of BuildSkewed is wrong.
const SkewVariable = "WHEELHOUSE_TEST_SKEW"

// BuildSkewed builds a binary whose wall clock is wrong by $WHEELHOUSE_TEST_SKEW seconds: time.Now is replaced in the
// standard library, so that everything is built anew. Monotonic time is right, as on a machine with a wrong clock.
func BuildSkewed(root, dir string) (string, error) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const read = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), read) != 1 {
		return "", fmt.Errorf("%s does not read the clock as expected", original)
	}
	text := strings.Replace(string(source), read, read+"\tsec += wrongBy\n", 1) + `
// wrongBy is by how many seconds the clock is wrong.
var wrongBy = func() int64 {
	text, _ := syscall.Getenv("` + SkewVariable + `")
	n, negative := int64(0), false
	for i := range len(text) {
		if text[i] == '-' {
			negative = true
			continue
		}
		n = n*10 + int64(text[i]-'0')
	}
	if negative {
		return -n
	}
	return n
}()
`
	text = strings.Replace(text, "import (\n", "import (\n\t\"syscall\"\n", 1)
	changed, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, []byte(text), 0o644); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, replace, 0o644); err != nil {
		return "", err
	}
	out := filepath.Join(dir, "wheelhouse-skewed")
	return out, build(root, out, "-overlay", overlay)
}
