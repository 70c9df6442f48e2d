package main

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// testdata holds upstream's conformance specs, each with the least that it needs.
//
//go:embed testdata/specs.tsv
var testdata embed.FS

// allSpecs gives the specs of the classes.
func allSpecs(classes []string) ([]spec, error) {
	table, err := testdata.ReadFile("testdata/specs.tsv")
	if err != nil {
		return nil, err
	}
	return readSpecs(string(table), classes)
}

// spec is one of upstream's conformance specs.
type spec struct {
	// needs is the least that the spec needs beside an API server: "api" for nothing, "kcm" for controllers, "sched" for a scheduler, too,
	// "fakenode" for nodes that run pods in name only, "kubelet" for real ones, "kubelet+net" for a network of pods.
	needs, name string
}

// alone tells whether the spec may not run beside others.
func (s spec) alone() bool {
	return strings.Contains(s.name, "[Serial]") || strings.Contains(s.name, "[Disruptive]")
}

// readSpecs gives the specs of the classes, in the order of the table.
func readSpecs(table string, classes []string) ([]spec, error) {
	var out []spec
	known := map[string]bool{}
	for n, line := range strings.Split(strings.TrimSpace(table), "\n") {
		needs, name, ok := strings.Cut(line, "\t")
		if !ok {
			return nil, fmt.Errorf("specs.tsv:%d: want two columns, needs and name", n+1)
		}
		if n == 0 {
			continue // the heading
		}
		known[needs] = true
		if slices.Contains(classes, needs) {
			out = append(out, spec{needs, name})
		}
	}
	for _, c := range classes {
		if !known[c] {
			return nil, fmt.Errorf("no spec needs %q", c)
		}
	}
	return out, nil
}

// focus is the regular expression that names exactly these specs.
func focus(specs []spec) string {
	var out []string
	for _, s := range specs {
		out = append(out, regexp.QuoteMeta(s.name))
	}
	return strings.Join(out, "|")
}
