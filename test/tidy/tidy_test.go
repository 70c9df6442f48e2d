package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	// fileLinesMax and functionLinesMax bound hand-written code: past them a file is two files, a function two functions.
	fileLinesMax     = 450
	functionLinesMax = 60
	// testLinesMax bounds files of tests, which are read case by case.
	testLinesMax = 600
)

// vagueNames say nothing about what a package is for.
var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "impl", "misc"}

// file is one parsed Go file of the repository.
type file struct {
	path   string // from the root, with slashes
	dir    string
	syntax *ast.File
	lines  int
}

func (f *file) test() bool      { return strings.HasSuffix(f.path, "_test.go") }
func (f *file) generated() bool { return strings.HasPrefix(filepath.Base(f.path), "zz_generated") }

// parsed is the whole repository, read once for all tests.
var parsed = sync.OnceValues(func() (*source, error) {
	root := filepath.Join("..", "..")
	all := &source{set: token.NewFileSet()}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(all.set, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		all.files = append(all.files, &file{path: rel, dir: strings.TrimPrefix(filepath.ToSlash(filepath.Dir(rel)), "."), syntax: syntax, lines: strings.Count(string(text), "\n")})
		return nil
	})
	return all, err
})

// source is what is read of the repository. Tests only look at it.
type source struct {
	set   *token.FileSet
	files []*file
}

func load(t *testing.T) (*token.FileSet, []*file) {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(all.files) < 100 {
		t.Fatalf("only %d Go files found", len(all.files))
	}
	return all.set, all.files
}

// under tells whether a folder is, or is in, another; "" is the root.
func under(dir, parent string) bool {
	return parent == "" || dir == parent || strings.HasPrefix(dir, parent+"/")
}

func TestPackages(t *testing.T) {
	_, files := load(t)
	documented := map[string]bool{}
	for _, f := range files {
		if !f.test() && f.syntax.Doc != nil {
			documented[f.dir] = true
		}
	}
	seen := map[string]bool{}
	for _, f := range files {
		if f.test() || seen[f.dir] {
			continue
		}
		seen[f.dir] = true
		if !documented[f.dir] {
			t.Errorf("package %s has no comment that says what it is for", f.dir)
		}
		if slices.Contains(vagueNames, f.syntax.Name.Name) {
			t.Errorf("package %s: the name says nothing", f.dir)
		}
	}
}

// TestTags: one package reads the tags of fields, so that all encoders and scanners see the same types.
func TestTags(t *testing.T) {
	set, files := load(t)
	for _, f := range files {
		if f.test() || f.dir == "api/shape" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok || call.Sel.Name != "Get" && call.Sel.Name != "Lookup" {
				return true
			}
			if of, ok := call.X.(*ast.SelectorExpr); ok && of.Sel.Name == "Tag" {
				t.Errorf("%s: api/shape describes types: compile a plan from that", set.Position(n.Pos()))
			}
			return true
		})
	}
}

func TestSizes(t *testing.T) {
	set, files := load(t)
	for _, f := range files {
		if f.generated() {
			continue
		}
		most := fileLinesMax
		if f.test() {
			most = testLinesMax
		}
		if f.lines > most {
			t.Errorf("%s has %d lines: past %d a file is two files", f.path, f.lines, most)
		}
		for _, d := range f.syntax.Decls {
			function, ok := d.(*ast.FuncDecl)
			if !ok || f.test() {
				continue
			}
			if function.Name.Name == "init" && function.Recv == nil {
				t.Errorf("%s has an init function: make the value where it is used", f.path)
			}
			if function.Body == nil {
				continue
			}
			if n := set.Position(function.Body.End()).Line - set.Position(function.Pos()).Line; n > functionLinesMax {
				t.Errorf("%s: %s has %d lines: past %d a function is two functions", f.path, function.Name.Name, n, functionLinesMax)
			}
		}
	}
}
