package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const specTable = "needs\tname\n" +
	"api\t[sig-a] lists (many) things [Conformance]\n" +
	"api\t[sig-a] lists (many) things twice [Serial] [Conformance]\n" +
	"kcm\t[sig-b] a|b is kept [Conformance]\n" +
	"kubelet\t[sig-c] runs [Conformance]\n"

// TestReports reads what upstream's program leaves: names with a prefix and labels, and a line for each spec that was skipped, too.
func TestReports(t *testing.T) {
	specs, err := readSpecs(specTable, []string{"api", "kcm"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(part, text string) {
		if err := os.Mkdir(filepath.Join(dir, part), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, part, "junit_01.xml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("beside-0", `<testsuites><testsuite>
		<testcase name="[SynchronizedBeforeSuite]" status="passed"></testcase>
		<testcase name="[It] [sig-a] lists (many) things [Conformance]" status="passed"></testcase>
		<testcase name="[It] [sig-a] lists (many) things twice [Serial] [Conformance]" status="skipped"><skipped/></testcase>
	</testsuite></testsuites>`)
	write("alone", `<testsuites><testsuite>
		<testcase name="[It] [sig-a] lists (many) things twice [Serial] [Conformance] [Serial]" status="failed"><failure/></testcase>
		<testcase name="[It] [sig-c] runs [Conformance]" status="passed"></testcase>
	</testsuite></testsuites>`)
	states, err := readReports(dir, specs)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if print(&out, specs, states) {
		t.Error("all passed")
	}
	const want = `api          1 of 2
kcm          0 of 1
failed: api: [sig-a] lists (many) things twice [Serial] [Conformance]
not run: kcm: [sig-b] a|b is kept [Conformance]
`
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", &out, want)
	}
	out.Reset()
	document(&out, "v1", specs, states)
	for _, line := range []string{"| an API server alone (`api`) | 1 | 2 |\n", "| `kcm` | not run | [sig-b] a\\|b is kept [Conformance] |\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the document lacks %q:\n%s", line, &out)
		}
	}
}

func TestSpecs(t *testing.T) {
	specs, err := allSpecs([]string{"api", "kcm", "sched", "fakenode", "kubelet", "kubelet+net"})
	if err != nil {
		t.Fatal(err)
	}
	if len(specs) != 462 {
		t.Errorf("%d specs", len(specs))
	}
	every := regexp.MustCompile(focus(specs))
	for _, s := range specs {
		if every.FindString(s.name) != s.name {
			t.Errorf("the focus does not name %q", s.name)
		}
	}
	if _, err := allSpecs([]string{"apis"}); err == nil {
		t.Error("an unknown class was taken")
	}
}
