package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// junit is what is read of a report in the form of JUnit.
type junit struct {
	Suites []struct {
		Cases []struct {
			Name   string `xml:"name,attr"`
			Status string `xml:"status,attr"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// readReports gives the states of the specs ("passed", "failed", "timedout", …) in all reports below a folder.
func readReports(dir string, specs []spec) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "junit*.xml"))
	if err != nil {
		return nil, err
	}
	states := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var report junit
		if err := xml.Unmarshal(text, &report); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, suite := range report.Suites {
			for _, c := range suite.Cases {
				// Names in reports carry labels behind what the table says.
				name := strings.TrimPrefix(c.Name, "[It] ")
				n := slices.IndexFunc(specs, func(s spec) bool { return strings.HasPrefix(name, s.name) })
				if n >= 0 && c.Status != "skipped" {
					states[specs[n].name] = c.Status
				}
			}
		}
	}
	return states, nil
}

// score counts the specs of a class.
type score struct{ passed, total int }

// scores by class, and what did not pass.
func scores(specs []spec, states map[string]string) (byClass map[string]score, failed []spec) {
	byClass = map[string]score{}
	for _, s := range specs {
		c := byClass[s.needs]
		c.total++
		if states[s.name] == "passed" {
			c.passed++
		} else {
			failed = append(failed, s)
		}
		byClass[s.needs] = c
	}
	return byClass, failed
}

// print writes the table for people who wait for it.
func print(w io.Writer, specs []spec, states map[string]string) (passed bool) {
	byClass, failed := scores(specs, states)
	for _, class := range slices.Sorted(maps.Keys(byClass)) {
		fmt.Fprintf(w, "%-12s %d of %d\n", class, byClass[class].passed, byClass[class].total)
	}
	for _, s := range failed {
		fmt.Fprintf(w, "%s: %s: %s\n", state(states, s), s.needs, s.name)
	}
	return len(failed) == 0
}

func state(states map[string]string, s spec) string {
	if states[s.name] == "" {
		return "not run"
	}
	return states[s.name]
}

// classes of specs in the order and words of the document.
var classes = []struct{ needs, meaning string }{
	{"api", "an API server alone"},
	{"kcm", "controllers, too"},
	{"sched", "a scheduler, too"},
	{"fakenode", "nodes that run pods in name only"},
	{"kubelet", "real nodes"},
	{"kubelet+net", "real nodes with a network of pods"},
}

// document writes the table of a run for docs/conformance.md.
func document(w io.Writer, version string, specs []spec, states map[string]string) {
	byClass, failed := scores(specs, states)
	fmt.Fprintf(w, "# Conformance\n\n")
	fmt.Fprintf(w, "Upstream's conformance specs, version %s, against a master with simulated nodes. `make conformance` builds upstream's\n", version)
	fmt.Fprintf(w, "`e2e.test` once (ten minutes on two cores), runs the specs and writes this page anew.\n\n")
	fmt.Fprintf(w, "| specs that need | passed | of |\n|---|---|---|\n")
	for _, c := range classes {
		if s, ok := byClass[c.needs]; ok {
			fmt.Fprintf(w, "| %s (`%s`) | %d | %d |\n", c.meaning, c.needs, s.passed, s.total)
		}
	}
	if len(failed) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## What does not pass\n\n| needs | state | spec |\n|---|---|---|\n")
	for _, s := range failed {
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", s.needs, state(states, s), strings.ReplaceAll(s.name, "|", "\\|"))
	}
}
