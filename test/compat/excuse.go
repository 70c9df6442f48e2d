package compat

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/controllers"
)

// served tells whether the kind that a case is filed under is in the catalog. Cases that are filed under a topic
// (errors/routing) always are.
func served(c *Case) bool {
	group, name, ok := strings.Cut(c.Kind(), "_")
	if !ok || name == strings.ToLower(name) {
		return true
	}
	for _, k := range api.Kinds() {
		if k.GVK.Kind == name && groupWord(k) == group {
			return true
		}
	}
	return false
}

// groupWord is how the cases call a kind's group: its first word.
func groupWord(k *kind.Kind) string {
	switch word, _, _ := strings.Cut(k.GVK.Group, "."); {
	case word == "":
		return "core"
	case strings.HasPrefix(k.GVK.Group, "rbac."):
		return "rbac"
	default:
		return word
	}
}

// Excuse says why the answer to some cases is rightly another than the recorded one.
type Excuse struct {
	// Pattern is a case's ID, or the beginning of IDs followed by "*".
	Pattern string
	Reason  string
	// Needs are kinds and controllers that do not exist yet and without which the case asks for the impossible: such
	// cases do not count. Empty for other reasons.
	Needs []string
}

type excuses []*Excuse

// readExcuses reads lines of the form "pattern # reason" or "pattern # needs Kind, controller"; others begin
// with "#". What is needed must be missing indeed.
func readExcuses(file string) (excuses, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all excuses
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		pattern, reason, _ := strings.Cut(lines.Text(), "#")
		e := &Excuse{Pattern: strings.TrimSpace(pattern), Reason: strings.TrimSpace(reason)}
		switch {
		case e.Pattern == "":
			continue
		case e.Reason == "":
			return nil, fmt.Errorf("%s:%d: %s has no reason", file, n, e.Pattern)
		}
		if names, ok := strings.CutPrefix(e.Reason, "needs "); ok {
			e.Needs = strings.Split(names, ", ")
			if !slices.ContainsFunc(e.Needs, missing) {
				return nil, fmt.Errorf("%s:%d: there is %s: judge the case", file, n, names)
			}
		}
		all = append(all, e)
	}
	return all, lines.Err()
}

// readNewer reads the cases whose recorded answer is that of an older version, one at the beginning of each line.
func readNewer(file string) (map[string]bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cases := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if id, _, _ := strings.Cut(line, "#"); strings.TrimSpace(id) != "" {
			cases[strings.TrimSpace(id)] = true
		}
	}
	return cases, nil
}

// missing tells that there is neither a kind nor a controller of that name.
func missing(name string) bool {
	return !slices.ContainsFunc(api.Kinds(), func(k *kind.Kind) bool { return k.GVK.Kind == name }) &&
		!slices.ContainsFunc(controllers.Catalog(), func(e controllers.Entry) bool { return e.Name == name && e.New != nil })
}

// of is the excuse of a case, nil if it has none.
func (all excuses) of(id string) *Excuse {
	for _, e := range all {
		if prefix, ok := strings.CutSuffix(e.Pattern, "*"); e.Pattern == id || ok && strings.HasPrefix(id, prefix) {
			return e
		}
	}
	return nil
}

// idle are the excuses that cases have but do not use.
func (all excuses) idle(results []Result) []*Excuse {
	had, used := map[*Excuse]bool{}, map[*Excuse]bool{}
	for _, r := range results {
		had[r.Excuse] = true
		if len(r.Diffs) > 0 {
			used[r.Excuse] = true
		}
	}
	var idle []*Excuse
	for _, e := range all {
		if had[e] && !used[e] {
			idle = append(idle, e)
		}
	}
	return idle
}
