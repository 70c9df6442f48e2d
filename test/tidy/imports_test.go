package tidy

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// imported is what a folder's packages import: for each folder of this repository or module the first file that does.
type imported struct{ own, others map[string]string }

// modules of go.mod, the longest paths first.
func modules(t *testing.T) []string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(strings.TrimPrefix(lines.Text(), "require ")); len(words) >= 2 && strings.HasPrefix(words[1], "v") {
			list = append(list, words[0])
		}
	}
	if len(list) < 10 {
		t.Fatalf("only %d modules found in go.mod", len(list))
	}
	slices.SortFunc(list, func(a, b string) int { return len(b) - len(a) })
	return list
}

// moduleOf is the module that holds a package.
func moduleOf(path string, modules []string) string {
	for _, m := range modules {
		if under(path, m) {
			return m
		}
	}
	return path
}

// importsOf gathers what each folder imports, but for the standard library, whose paths begin with no host's name.
func importsOf(files []*file, modules []string) map[string]imported {
	all := map[string]imported{}
	for _, f := range files {
		if f.test() {
			continue
		}
		dir := f.dir
		if dir == "" {
			dir = "."
		}
		if all[dir].own == nil {
			all[dir] = imported{map[string]string{}, map[string]string{}}
		}
		for _, i := range f.syntax.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if name+"/" == module {
				all[dir].own["."] = f.path
			} else if inner, own := strings.CutPrefix(name, module); own {
				all[dir].own[inner] = f.path
			} else if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ".") {
				all[dir].others[moduleOf(name, modules)] = f.path
			}
		}
	}
	return all
}

// holds tells whether a folder stands in a rule.
func (r rule) holds(dir string) bool {
	return slices.ContainsFunc(strings.Fields(r.Folders), func(pattern string) bool {
		matches, err := path.Match(pattern, dir)
		return err == nil && matches
	})
}

// members of a word in Others: a module itself, or those of a group.
func members(word string) []string {
	if g := groups[word]; g != nil {
		return g
	}
	return []string{word}
}

// check compares what is imported with what rules allow, and says what to write.
func check(all map[string]imported, rules []rule) (problems []string) {
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		allowed := imported{map[string]string{}, map[string]string{}}
		known := false
		for _, r := range rules {
			if !r.holds(dir) {
				continue
			}
			known = true
			for _, word := range strings.Fields(r.Own) {
				allowed.own[word] = ""
			}
			for _, word := range strings.Fields(r.Others) {
				for _, m := range members(word) {
					allowed.others[m] = ""
				}
			}
		}
		own, others := all[dir].own, all[dir].others
		if !known {
			problems = append(problems, fmt.Sprintf("%s is in no rule: add {%q, %q, %q, \"\"} to test/tidy/imports.go if it should import that",
				dir, dir, strings.Join(slices.Sorted(maps.Keys(own)), " "), strings.Join(slices.Sorted(maps.Keys(others)), " ")))
			continue
		}
		problems = append(problems, beyond(own, allowed.own)...)
		problems = append(problems, beyond(others, allowed.others)...)
	}
	return append(problems, idle(all, rules)...)
}

func beyond(imports, allowed map[string]string) (problems []string) {
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		if _, ok := allowed[name]; !ok {
			problems = append(problems, fmt.Sprintf("%s imports %s, which no rule for it allows: do without, or add it in test/tidy/imports.go", imports[name], name))
		}
	}
	return problems
}

// idle finds what rules allow and nobody in their folders imports, so that the list stays true.
func idle(all map[string]imported, rules []rule) (problems []string) {
	for _, r := range rules {
		var inside []imported
		for _, pattern := range strings.Fields(r.Folders) {
			found := false
			for dir, i := range all {
				if (rule{Folders: pattern}).holds(dir) {
					inside, found = append(inside, i), true
				}
			}
			if !found {
				problems = append(problems, fmt.Sprintf("the rules name %s, where no package is", pattern))
			}
		}
		used := func(name string, of func(imported) map[string]string) bool {
			return slices.ContainsFunc(inside, func(i imported) bool { _, ok := of(i)[name]; return ok })
		}
		for _, word := range strings.Fields(r.Own) {
			if !used(word, func(i imported) map[string]string { return i.own }) {
				problems = append(problems, fmt.Sprintf("the rule for %s allows %s, which nobody there imports: strike it", r.Folders, word))
			}
		}
		for _, word := range strings.Fields(r.Others) {
			if !slices.ContainsFunc(members(word), func(m string) bool { return used(m, func(i imported) map[string]string { return i.others }) }) {
				problems = append(problems, fmt.Sprintf("the rule for %s allows %s, which nobody there imports: strike it", r.Folders, word))
			}
		}
	}
	return problems
}

func TestImports(t *testing.T) {
	_, files := load(t)
	for _, problem := range check(importsOf(files, modules(t)), policy) {
		t.Error(problem)
	}
	for _, f := range files {
		for _, i := range f.syntax.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if under(name, never) {
				t.Errorf("%s imports %s", f.path, name)
			}
			if i.Name != nil && i.Name.Name == "_" && !f.test() {
				t.Errorf("%s imports %s for its side effects: say in a list what is wanted", f.path, name)
			}
		}
	}
}

// TestCheck: the check finds what is not allowed, a folder without a rule, and what is allowed for nothing.
func TestCheck(t *testing.T) {
	files := func(names ...string) map[string]string {
		m := map[string]string{}
		for _, n := range names {
			m[n] = "x.go"
		}
		return m
	}
	all := map[string]imported{
		"store":      {files(), files()},
		"store/disk": {files("store", "api"), files("k8s.io/api", "example.org/b")},
		"cellar":     {files("store"), files("example.org/a")},
	}
	rules := []rule{
		{"store", "", "", ""},
		{"store/*", "store durable", "types example.org/a", ""},
		{"attic", "", "", ""},
	}
	want := []string{
		`cellar is in no rule: add {"cellar", "store", "example.org/a", ""} to test/tidy/imports.go if it should import that`,
		"x.go imports api, which no rule for it allows: do without, or add it in test/tidy/imports.go",
		"x.go imports example.org/b, which no rule for it allows: do without, or add it in test/tidy/imports.go",
		"the rule for store/* allows durable, which nobody there imports: strike it",
		"the rule for store/* allows example.org/a, which nobody there imports: strike it",
		"the rules name attic, where no package is",
	}
	if got := check(all, rules); !slices.Equal(got, want) {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := moduleOf("k8s.io/api/core/v1", []string{"k8s.io/apimachinery", "k8s.io/api"}); got != "k8s.io/api" {
		t.Errorf("module %s", got)
	}
}

func TestImportsOfSiblings(t *testing.T) {
	_, files := load(t)
	for _, f := range files {
		for _, i := range f.syntax.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			inner, _ := strings.CutPrefix(path, module)
			for parent, why := range apart {
				if !f.test() && strings.HasPrefix(f.dir, parent+"/") && strings.HasPrefix(inner, parent+"/") && !under(inner, f.dir) && !under(inner, parent+"/internal") {
					t.Errorf("%s imports %s: %s", f.path, path, why)
				}
			}
		}
	}
}
