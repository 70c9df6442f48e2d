package code

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const directive = "//go:generate "

// directives of a folder's Go files, in order.
func directives(t *testing.T, folder string) (lines []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, directive); ok {
				lines = append(lines, strings.TrimSpace(rest))
			}
		}
	}
	return lines
}

// TestGenerated finds every folder with generated files; each has a test below.
func TestGenerated(t *testing.T) {
	var folders []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		folder, err := filepath.Rel(root, path)
		if err == nil && len(directives(t, folder)) > 0 {
			folders = append(folders, filepath.ToSlash(folder))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"apiserver/openapi", "patch/typeschema"}; !slices.Equal(folders, want) {
		t.Errorf("there are generated files in %v: test those of %v here, too", folders, want)
	}
}

// TestOpenAPI builds the generator, which no other build sees for its tag, and runs it as go generate does; all that is written goes
// to another folder, and what the generator imports of it is laid over the repository.
func TestOpenAPI(t *testing.T) {
	const folder, definitions = "apiserver/openapi", "generate/definitions"
	out := t.TempDir()
	steps := directives(t, folder)
	if len(steps) != 3 {
		t.Fatalf("steps: %q", steps)
	}
	_, arguments, ok := strings.Cut(steps[0], " openapi-gen ")
	if !ok || !strings.Contains(arguments, "--output-dir "+definitions+" ") {
		t.Fatalf("step: %s", steps[0])
	}
	made := filepath.Join(out, "definitions")
	run(t, folder, tool(t, "openapi-gen"), strings.Fields(strings.Replace(arguments, "--output-dir "+definitions+" ", "--output-dir "+made+" ", 1))...)

	place, err := filepath.Abs(filepath.Join(root, folder, definitions, "definitions.go"))
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{place: filepath.Join(made, "definitions.go")}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(out, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, folder, "go", "run", "-overlay", overlayFile, "-tags", "generate", "./generate", filepath.Join(out, "documents"))
	same(t, folder, filepath.Join(root, folder, "documents"), filepath.Join(out, "documents"))
}

func TestTypeSchema(t *testing.T) {
	const folder, file = "patch/typeschema", "types.json.gz"
	if steps := directives(t, folder); !slices.Equal(steps, []string{"go run ./generate " + file}) {
		t.Fatalf("steps: %q", steps)
	}
	out := t.TempDir()
	run(t, folder, "go", "run", "./generate", filepath.Join(out, file))
	have, want := contents(t, filepath.Join(root, folder)), contents(t, out)
	if !bytes.Equal(have[file], want[file]) {
		t.Errorf("%s/%s is out of date: go generate ./%s", folder, file, folder)
	}
}

func same(t *testing.T, folder, have, want string) {
	t.Helper()
	old, made := contents(t, have), contents(t, want)
	if names := slices.Sorted(maps.Keys(made)); len(made) == 0 || !slices.Equal(slices.Sorted(maps.Keys(old)), names) {
		t.Errorf("%s has not the files %q: go generate ./%s", have, names, folder)
	}
	for name, text := range made {
		if !bytes.Equal(old[name], text) {
			t.Errorf("%s of %s is out of date: go generate ./%s", name, have, folder)
		}
	}
}

// contents of a folder's files by name, unpacked: another version of Go may pack the same otherwise.
func contents(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	files := os.DirFS(folder)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil || !strings.HasSuffix(name, ".gz") {
			all[name] = text
			return err
		}
		z, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			return err
		}
		all[name], err = io.ReadAll(z)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
