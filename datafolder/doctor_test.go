package datafolder_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder/foldertest"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

var printed = regexp.MustCompile(`\b[0-9a-f]{32}\b|\b\d{4}-\d\d-\d\d\b`)

// TestScenarios: what a folder says of itself. Commands, besides those of foldertest:
//
//	doctor in=8760h   what wheelhouse doctor finds, and as what, that much later
//	missing           what goes with the rest and is not there
//	lock              takes the folder, as a start does
func TestScenarios(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		f := foldertest.New(t)
		return func(command string, args scenario.Args) string {
			switch command {
			case "doctor":
				later := time.Duration(0)
				if text, ok := args.Get("in"); ok {
					var err error
					later, err = time.ParseDuration(text)
					f.Check(err)
				}
				return printed.ReplaceAllString(f.Words(doctor(f.Dir, time.Now().Add(later))), "…")
			case "missing":
				folder, err := datafolder.Read(f.Dir, "")
				if err != nil {
					return f.Words("unreadable: " + err.Error())
				}
				return f.Words(folder.Missing())
			case "lock":
				return f.Words(lock(t, f.Dir))
			}
			text, ok := f.Answer(command, args)
			if !ok {
				t.Fatalf("no command %q", command)
			}
			return text
		}
	})
}

func doctor(dir string, now time.Time) string {
	d, err := datafolder.Diagnose(dir, "", now)
	if err != nil {
		return "nothing to read: " + err.Error()
	}
	var out strings.Builder
	say := func(word, text string) {
		if text != "" {
			fmt.Fprintf(&out, "%s: %s\n", word, text)
		}
	}
	say("master", d.Identity)
	if d.Store != nil {
		say("store", d.Store.Describe())
	}
	say("external", d.External)
	if m := d.Member; m != nil {
		say("member", fmt.Sprintf("%s of %s, %d keys, whole %v, checked %v", m.ID, m.Cluster, m.Keys, m.Whole, m.Checked))
	}
	say("strays", strings.Join(d.Strays, " "))
	if len(d.Keys) > 0 {
		say("keys", strings.Join(d.Keys, " "))
	}
	for _, text := range d.Remarks {
		say("remark", text)
	}
	for _, text := range d.Problems {
		say("problem", text)
	}
	return out.String()
}

// lock takes a folder for the rest of the test.
func lock(t *testing.T, dir string) string {
	t.Helper()
	var said []string
	held, err := datafolder.Lock(dir, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
	if err != nil {
		return "refused: " + err.Error()
	}
	t.Cleanup(func() { _ = held.Close() })
	return strings.Join(append(said, "taken"), "\n")
}
