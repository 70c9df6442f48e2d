package patch

import (
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// goldenFolder is where the module of the API types keeps its fully populated objects.
func goldenFolder(t testing.TB) string {
	t.Helper()
	folder, err := moduleFolder()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "testdata", "HEAD")
}

var moduleFolder = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	return strings.TrimSpace(string(out)), err
})
