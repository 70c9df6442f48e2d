// Package scenario runs tests that are text: a file of commands, followed by what they answer.
//
//	# a comment
//	scale replicas=5
//	----
//	update web-1: 3 -> 5
//
// A block is comments and commands, a line each, then "----", and their answers in order up to an empty line; a block of comments
// alone has neither. With -rewrite the answers are written anew, for a reader to judge in the diff.
package scenario

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
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
	for _, block := range strings.Split(strings.TrimRight(string(data), "\n"), "\n\n") {
		head, want, _ := strings.Cut(block, "\n----")
		got, asked := play(head, answer)
		if !asked {
			out.WriteString(block + "\n\n")
			continue
		}
		if want = strings.TrimSpace(want); got != want && !rewrite {
			t.Fatalf("%s: %s\nanswers:\n%s\nwant:\n%s\n(-rewrite takes it over)", file, head, got, want)
		}
		out.WriteString(head + "\n----\n" + got)
		if got != "" {
			out.WriteString("\n")
		}
		out.WriteString("\n")
	}
	if rewrite {
		if err := os.WriteFile(file, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// play gives the commands of a block; asked is false if there is none.
func play(head string, answer func(string, Args) string) (answers string, asked bool) {
	var out strings.Builder
	for _, line := range strings.Split(head, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		asked = true
		if got := strings.TrimSpace(answer(words[0], words[1:])); got != "" {
			out.WriteString(got + "\n")
		}
	}
	return strings.TrimSpace(out.String()), asked
}

// Args are a command's words: "name" and "key=value".
type Args []string

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

// Cut gives the words before and after the first one that is the separator, as text; without it, all are before.
func (a Args) Cut(separator string) (before Args, after string) {
	if at := slices.Index(a, separator); at >= 0 {
		return a[:at], strings.Join(a[at+1:], " ")
	}
	return a, ""
}
