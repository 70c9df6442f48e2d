package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// Floors of comments where goroutines meet: so many lines that have one for a hundred lines of code. What a lock guards, who closes a
// channel and what would break otherwise stands in no statement. sharedMin is that of each file in which they meet, packageMin that of
// the packages with such files, whose other files may be plain. Measured: files and packages that read well have ten to sixteen, as
// has most of this repository; etcd's raft and cockroachdb's pebble have twenty and more.
const (
	sharedMin  = 8
	packageMin = 5
)

// amount is what a package has of code and comments, and whether goroutines meet in it.
type amount struct {
	code, comments int
	shared         bool
}

// measured tells whether a package is held to the floor: what tests and measurements are made of is read case by case.
func measured(dir string) bool {
	return !under(dir, "test") && !under(dir, "bench") && !strings.HasSuffix(path.Base(dir), "test")
}

// meets tells whether a file has a lock, or both a goroutine and a channel.
func meets(syntax *ast.File) bool {
	locks, goroutines, channels := false, false, false
	ast.Inspect(syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			locks = locks || lock(n.Type)
		case *ast.ValueSpec:
			locks = locks || lock(n.Type)
		case *ast.GoStmt:
			goroutines = true
		case *ast.CallExpr: // of a WaitGroup or another group
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" {
				goroutines = true
			}
		case *ast.ChanType:
			channels = true
		}
		return true
	})
	return locks || goroutines && channels
}

// measure counts the lines that have code, and those that have a comment.
func measure(set *token.FileSet, syntax *ast.File) (code, comments int) {
	coded, commented := map[int]bool{}, map[int]bool{}
	for _, group := range syntax.Comments {
		for line := set.Position(group.Pos()).Line; line <= set.Position(group.End()).Line; line++ {
			commented[line] = true
		}
	}
	ast.Inspect(syntax, func(n ast.Node) bool {
		switch n.(type) {
		case nil:
		case *ast.Comment, *ast.CommentGroup:
			return false
		case *ast.File:
		default:
			coded[set.Position(n.Pos()).Line], coded[set.Position(n.End()).Line] = true, true
		}
		return true
	})
	return len(coded), len(commented)
}

func TestComments(t *testing.T) {
	set, files := load(t)
	all := map[string]*amount{}
	for _, f := range files {
		if f.test() || f.generated() || !measured(f.dir) {
			continue
		}
		if all[f.dir] == nil {
			all[f.dir] = &amount{}
		}
		a := all[f.dir]
		code, comments := measure(set, f.syntax)
		a.code += code
		a.comments += comments
		if !meets(f.syntax) {
			continue
		}
		a.shared = true
		if 100*comments < sharedMin*code {
			t.Errorf("%s has %d lines with comments on %d of code: goroutines meet here, say what they rely on", f.path, comments, code)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		if a := all[dir]; a.shared && 100*a.comments < packageMin*a.code {
			t.Errorf("%s has %d lines with comments on %d of code, and goroutines meet in it: say more of why", dir, a.comments, a.code)
		}
	}
}

func TestMeasure(t *testing.T) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, "x.go", `// Package x is
// small.
package x

// f has a goroutine.
func f() {
	c := make(chan int) // closed by nobody

	go g(c)
}
`, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if code, comments := measure(set, syntax); code != 5 || comments != 4 {
		t.Errorf("%d lines of code, %d with comments", code, comments)
	}
	if !meets(syntax) {
		t.Error("a goroutine and a channel are not seen")
	}
}
