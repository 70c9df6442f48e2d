package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// lock tells whether a type is a lock, or a condition to wait for.
func lock(t ast.Expr) bool {
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	s, ok := t.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	of, ok := s.X.(*ast.Ident)
	return ok && of.Name == "sync" && (s.Sel.Name == "Mutex" || s.Sel.Name == "RWMutex" || s.Sel.Name == "Cond")
}

// unsaid are the locks of a struct's fields that nobody says the use of: neither a comment at the lock says what it guards or
// while what it is held, nor one at another field that it is guarded by the lock.
func unsaid(syntax *ast.File) (at []token.Pos) {
	ast.Inspect(syntax, func(n ast.Node) bool {
		s, ok := n.(*ast.StructType)
		if !ok {
			return true
		}
		var text strings.Builder
		for _, f := range s.Fields.List {
			if !lock(f.Type) {
				text.WriteString(f.Doc.Text() + f.Comment.Text())
			}
		}
		for _, f := range s.Fields.List {
			if own := f.Doc.Text() + f.Comment.Text(); !lock(f.Type) || saysUse(own) {
				continue
			}
			if len(f.Names) == 0 || !strings.Contains(text.String(), "guarded by "+f.Names[0].Name) {
				at = append(at, f.Pos())
			}
		}
		return true
	})
	return at
}

func saysUse(comment string) bool {
	return slices.ContainsFunc(strings.Fields(comment), func(word string) bool {
		return slices.Contains([]string{"guards", "held", "wakes", "woken"}, strings.Trim(word, ",.;:"))
	})
}

func TestLocks(t *testing.T) {
	set, files := load(t)
	for _, f := range files {
		if f.test() {
			continue
		}
		for _, at := range unsaid(f.syntax) {
			t.Errorf("%s: say what the lock guards, or while what it is held", set.Position(at))
		}
	}
}

func TestUnsaid(t *testing.T) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, "x.go", `package x
type a struct { mu sync.Mutex; n int }
type b struct {
	mu sync.RWMutex // guards n
	n int
	other sync.Mutex // for later
}
type c struct {
	mu sync.Mutex
	n int // guarded by mu
	sync.Mutex
	// held while it changes
	changing sync.Mutex
}`, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, at := range unsaid(syntax) {
		lines = append(lines, set.Position(at).Line)
	}
	if !slices.Equal(lines, []int{2, 6, 11}) {
		t.Errorf("found on lines %v", lines)
	}
}
