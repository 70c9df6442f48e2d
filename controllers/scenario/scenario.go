// Package scenario runs tests that are text: a file of commands, each followed by what it answers.
//
//	# a comment
//	scale replicas=5
//	----
//	update web-1: 3 -> 5
//
// A block is one command, "----", and the answer up to an empty line. With -rewrite the answers are written anew, for
// a reader to judge in the diff.
package scenario

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Rewrite returns whether the test was asked to write answers anew.
type Rewrite func() bool

// Flag defines -rewrite. Call it once in a test package, in a variable declaration.
func Flag() Rewrite {
	f := flag.Bool("rewrite", false, "write the answers in testdata anew")
	return func() bool { return *f }
}

// Run runs every file that the pattern finds; begin gives a file its own fresh answers.
func Run(t *testing.T, pattern string, rewrite Rewrite, begin func(t *testing.T) func(command string, args Args) string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario in %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), func(t *testing.T) {
			runFile(t, file, rewrite(), begin(t))
		})
	}
}

func runFile(t *testing.T, file string, rewrite bool, answer func(string, Args) string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	blocks := strings.Split(strings.TrimRight(string(data), "\n"), "\n\n")
	for _, block := range blocks {
		head, want, asks := strings.Cut(block, "\n----")
		if !asks {
			out.WriteString(block + "\n\n") // comments only
			continue
		}
		lines := strings.Split(head, "\n")
		fields := strings.Fields(lines[len(lines)-1])
		got := strings.TrimSpace(answer(fields[0], parse(fields[1:])))
		out.WriteString(head + "\n----\n" + got)
		if got != "" {
			out.WriteString("\n")
		}
		out.WriteString("\n")
		if want = strings.TrimSpace(want); got != want && !rewrite {
			t.Fatalf("%s: %s\nanswers:\n%s\nwant:\n%s", file, lines[len(lines)-1], got, want)
		}
	}
	if rewrite {
		if err := os.WriteFile(file, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Args are a command's words: "name" and "key=value".
type Args []string

func parse(fields []string) Args { return fields }

// Get is the value of a key; ok is false if it is not given.
func (a Args) Get(key string) (value string, ok bool) {
	for _, word := range a {
		if k, v, has := strings.Cut(word, "="); has && k == key {
			return v, true
		}
	}
	return "", false
}

// Word is the n-th word that is not key=value, "" if there are fewer.
func (a Args) Word(n int) string {
	for _, word := range a {
		if strings.Contains(word, "=") {
			continue
		}
		if n == 0 {
			return word
		}
		n--
	}
	return ""
}
