package tidy

import (
	"go/ast"
	"slices"
	"testing"
)

// TestWrites: files are written by package durable, or for a reason that is listed.
func TestWrites(t *testing.T) {
	set, files := load(t)
	used := map[[2]string]bool{}
	for _, f := range files {
		if f.test() || f.dir == "durable" || slices.ContainsFunc(notProduct, func(dir string) bool { return under(f.dir, dir) }) {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			of, ok := selector.X.(*ast.Ident)
			if !ok || !slices.Contains(writes, of.Name+"."+selector.Sel.Name) {
				return true
			}
			call := [2]string{f.path, of.Name + "." + selector.Sel.Name}
			if direct[call] == "" {
				t.Errorf("%s: %s: what it writes may be torn or gone after a power loss: use package durable", set.Position(n.Pos()), call[1])
			}
			used[call] = true
			return true
		})
	}
	for call := range direct {
		if !used[call] {
			t.Errorf("%s does not call %s any more", call[0], call[1])
		}
	}
}
