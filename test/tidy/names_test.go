package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// TestNames: a variable called new hides the builtin, and says less than next, after or fresh.
func TestNames(t *testing.T) {
	set, files := load(t)
	for _, f := range files {
		for _, at := range calledNew(f.syntax) {
			t.Errorf("%s: a variable is called new: say what is new about it", set.Position(at))
		}
	}
}

// calledNew finds where parameters, results and variables with the name new begin. Fields may have it: they hide nothing.
func calledNew(syntax *ast.File) (at []token.Pos) {
	note := func(names ...*ast.Ident) {
		for _, n := range names {
			if n.Name == "new" {
				at = append(at, n.Pos())
			}
		}
	}
	ast.Inspect(syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncType:
			for _, list := range []*ast.FieldList{n.Params, n.Results} {
				if list == nil {
					continue
				}
				for _, field := range list.List {
					note(field.Names...)
				}
			}
		case *ast.ValueSpec:
			note(n.Names...)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					note(e.(*ast.Ident))
				}
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if name, ok := e.(*ast.Ident); ok {
					note(name)
				}
			}
		}
		return true
	})
	return at
}

func TestCalledNew(t *testing.T) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, "x.go", `package x
func f(old, new int) { _ = func(int) (new bool) { return }; newer := new(int); _ = newer }
type i interface { m(new string, newer int) }
type s struct { new int }
func g() { for new := range 3 { _ = new }; new, x := 1, 2
var new int }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, at := range calledNew(syntax) {
		lines = append(lines, set.Position(at).Line)
	}
	if !slices.Equal(lines, []int{2, 2, 3, 5, 5, 6}) {
		t.Errorf("found on lines %v", lines)
	}
}
