package process

import (
	"archive/zip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// sources are the modules that a proxy serves: the first needs the second.
var sources = map[string]string{
	"example.org/answer": "package answer\n\nimport \"example.org/deep\"\n\nconst Answer = deep.Thought\n",
	"example.org/deep":   "package deep\n\nconst Thought = 42\n",
}

// serveModule answers as a module proxy does.
func serveModule(t *testing.T, w http.ResponseWriter, r *http.Request) {
	module, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/@v/")
	mod := "module " + module + "\n\ngo 1.26\n"
	if module == "example.org/answer" {
		mod += "\nrequire example.org/deep v1.0.0\n"
	}
	switch filepath.Ext(r.URL.Path) {
	case ".info":
		fmt.Fprint(w, `{"Version":"v1.0.0"}`)
	case ".mod":
		fmt.Fprint(w, mod)
	case ".zip":
		z := zip.NewWriter(w)
		for name, text := range map[string]string{"go.mod": mod, "source.go": sources[module]} {
			f, err := z.Create(module + "@v1.0.0/" + name)
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(f, text)
		}
		if err := z.Close(); err != nil {
			t.Error(err)
		}
	default:
		http.NotFound(w, r)
	}
}

// proxy serves the modules after it has refused some requests.
func proxy(t *testing.T, refused int64) string {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= refused {
			http.Error(w, "come back later", http.StatusBadGateway)
			return
		}
		serveModule(t, w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// cutOnce serves the modules, and cuts the connection of the first request for each path.
func cutOnce(t *testing.T) string {
	var cut sync.Map
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, before := cut.LoadOrStore(r.URL.Path, true); before {
			serveModule(t, w, r)
			return
		}
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "it ends here")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// fetchFrom fetches what a small module needs into an empty cache.
func fetchFrom(t *testing.T, proxy string, tries int) (said string, err error) {
	dir, cache := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod":       "module example.org/question\n\ngo 1.26\n\nrequire (\n\texample.org/answer v1.0.0\n\texample.org/deep v1.0.0 // indirect\n)\n",
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
		if _, err := os.Stat(filepath.Join(cache, "example.org", "answer@v1.0.0", "source.go")); err != nil {
			t.Errorf("what the test needs was not fetched: %v\n%s", err, text)
		}
	}
	return string(text), err
}

func TestFetchOverANetworkThatFails(t *testing.T) {
	if said, err := fetchFrom(t, proxy(t, 2), 5); err != nil || !strings.Contains(said, "trying again") {
		t.Errorf("two failures: %v\n%s", err, said)
	}
	// However many requests fail: only tries that bring nothing count.
	if said, err := fetchFrom(t, cutOnce(t), 2); err != nil || strings.Count(said, "trying again") < 2 {
		t.Errorf("each path fails once, and two tries in vain are allowed: %v\n%s", err, said)
	}
	if said, err := fetchFrom(t, proxy(t, 1000), 3); err == nil || !strings.Contains(said, "in 3 tries") || !strings.Contains(said, "502") {
		t.Errorf("nothing but failures: %v\n%s", err, said)
	}
}
