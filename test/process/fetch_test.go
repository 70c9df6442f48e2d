package process

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// proxy serves one module, example.org/answer v1.0.0, as a module proxy does, after it has refused some requests.
func proxy(t *testing.T, refused int64) *httptest.Server {
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for name, text := range map[string]string{"go.mod": "module example.org/answer\n", "answer.go": "package answer\n\nconst Answer = 42\n"} {
		w, err := z.Create("example.org/answer@v1.0.0/" + name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, text)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= refused {
			http.Error(w, "come back later", http.StatusBadGateway)
			return
		}
		switch filepath.Ext(r.URL.Path) {
		case ".info":
			fmt.Fprint(w, `{"Version":"v1.0.0"}`)
		case ".mod":
			fmt.Fprint(w, "module example.org/answer\n")
		case ".zip":
			w.Write(archive.Bytes())
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// fetchFrom fetches what a small module needs into an empty cache.
func fetchFrom(t *testing.T, proxy string, tries int) (said string, err error) {
	dir, cache := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod":       "module example.org/question\n\ngo 1.26\n\nrequire example.org/answer v1.0.0\n",
		"main.go":      "package question\n",
		"main_test.go": "package question\n\nimport _ \"example.org/answer\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script, err := filepath.Abs("../tools/fetch.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, dir, "./...")
	cmd.Env = append(os.Environ(), "GOPROXY="+proxy, "GOMODCACHE="+cache, "GOFLAGS=-mod=mod -modcacherw", "GONOSUMDB=*", "GONOPROXY=none",
		"GOWORK=off", "FETCH_WAIT=0", fmt.Sprint("FETCH_TRIES=", tries))
	text, err := cmd.CombinedOutput()
	if err == nil {
		if _, err := os.Stat(filepath.Join(cache, "example.org", "answer@v1.0.0", "answer.go")); err != nil {
			t.Errorf("what the test needs was not fetched: %v\n%s", err, text)
		}
	}
	return string(text), err
}

func TestFetchOverANetworkThatFails(t *testing.T) {
	if said, err := fetchFrom(t, proxy(t, 2).URL, 5); err != nil || !strings.Contains(said, "trying again") {
		t.Errorf("two failures: %v\n%s", err, said)
	}
	if said, err := fetchFrom(t, proxy(t, 1000).URL, 3); err == nil || !strings.Contains(said, "in 3 tries") || !strings.Contains(said, "502") {
		t.Errorf("nothing but failures: %v\n%s", err, said)
	}
}
