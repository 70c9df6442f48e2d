package compat

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

var (
	only = flag.String("only", "", "prefix of the cases to replay")
	show = flag.Int("show", 0, "how many differing cases to print in full")
)

const (
	workers = 6
	// fakeNodes stand in for node agents in the cases of controllers.
	fakeNodes = 3
)

// served tells whether a case is about something that this server serves: its kind is in the catalog, and the case
// does not need another kind on its way.
func served(c *Case) bool {
	words := map[string]bool{}
	for _, k := range api.Kinds() {
		group := strings.SplitN(k.GVK.Group, ".", 2)[0]
		switch {
		case group == "":
			group = "core"
		case k.GVK.Group == "rbac.authorization.k8s.io":
			group = "rbac"
		}
		words[group+"_"+k.GVK.Kind] = true
	}
	if group, _, ok := strings.Cut(c.Kind(), "_"); ok && strings.ToLower(group) == group && strings.ToUpper(c.Kind()[len(group)+1:len(group)+2]) == c.Kind()[len(group)+1:len(group)+2] {
		return words[c.Kind()]
	}
	return true
}

// exceptions reads the cases whose answer differs on purpose: an id, or the beginning of one with "*", and the reason.
func exceptions(t *testing.T) func(id string) bool {
	t.Helper()
	f, err := os.Open("testdata/known-differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	exact, prefixes := map[string]bool{}, []string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		id, reason, _ := strings.Cut(lines.Text(), "#")
		if id = strings.TrimSpace(id); id == "" {
			continue
		}
		if strings.TrimSpace(reason) == "" {
			t.Errorf("known-differences.txt: %s has no reason", id)
		}
		if p, ok := strings.CutSuffix(id, "*"); ok {
			prefixes = append(prefixes, p)
		} else {
			exact[id] = true
		}
	}
	return func(id string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(id, p) {
				return true
			}
		}
		return exact[id]
	}
}

func replayAll(t *testing.T, o wheelhouse.Options, nodes int, want func(*Case) bool) {
	m, err := wheelhouse.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	client, err := NewClient(t.Context(), m.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	if nodes > 0 {
		if err := client.KeepNodes(t.Context(), nodes); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	excepted := exceptions(t)
	var cases []*Case
	for _, c := range all {
		if strings.HasPrefix(c.ID, *only) && want(c) && served(c) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 && *only == "" {
		t.Fatal("no cases")
	}
	results := Replay(t.Context(), client, cases, workers)
	Table(os.Stdout, results)
	shown := 0
	for _, r := range results {
		if len(r.Diffs) == 0 || excepted(r.Case.ID) && *only == "" {
			continue
		}
		t.Errorf("%s differs: %s", r.Case.ID, r.Diffs[0])
		if shown++; shown <= *show {
			fmt.Printf("%s\n  %s\n", r.Case.ID, strings.Join(r.Diffs, "\n  "))
		}
	}
}

// TestAnswers replays requests to an API server alone.
func TestAnswers(t *testing.T) {
	replayAll(t, wheelhouse.Options{
		Components: []master.Component{master.APIServer},
		Configure: func(c *master.Config) {
			c.ServiceRanges = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
		},
	}, 0, func(c *Case) bool { return c.Dump == nil })
}

// TestLoops replays what controllers and scheduler made of objects, on nodes without agents.
func TestLoops(t *testing.T) {
	replayAll(t, wheelhouse.Options{}, fakeNodes, func(c *Case) bool { return c.Dump != nil })
}
