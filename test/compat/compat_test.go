package compat

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

var (
	only = flag.String("only", "", "prefix of the cases to replay")
	show = flag.Int("show", 0, "how many differing cases to print in full, excused ones too")
)

const (
	workers = 6
	// fakeNodes stand in for node agents in the cases of controllers.
	fakeNodes = 3
	// leastAnswers and leastLoops of the cases of an area must have the recorded answer, in percent.
	leastAnswers, leastLoops = 97, 95
)

// TestAnswers replays requests to an API server alone.
func TestAnswers(t *testing.T) {
	replayAll(t, wheelhouse.Options{
		Components: []master.Component{master.APIServer},
		Configure: func(c *master.Config) {
			c.ServiceRanges = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
			c.Profiling = true // as the recorded server had it
		},
	}, 0, leastAnswers, func(c *Case) bool { return c.Dump == nil })
}

// TestLoops replays what controllers and scheduler made of objects, on nodes without agents.
func TestLoops(t *testing.T) {
	replayAll(t, wheelhouse.Options{}, fakeNodes, leastLoops, func(c *Case) bool { return c.Dump != nil })
}

// replayAll replays the wanted cases of kinds that are served. Every case has the recorded answer or an excuse, and at least so many percent
// of each area have the recorded answer. Cases do not count there whose answer upstream itself has changed since: the contract lists them.
func replayAll(t *testing.T, o wheelhouse.Options, nodes, least int, want func(*Case) bool) {
	excuses, err := readExcuses("testdata/known-differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	newer, err := readNewer("testdata/newer-version.txt")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var cases []*Case
	for _, c := range all {
		if strings.HasPrefix(c.ID, *only) && want(c) && served(c) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		if *only == "" {
			t.Fatal("no cases")
		}
		return
	}
	results := Replay(t.Context(), start(t, o, nodes), cases, workers)
	for n := range results {
		results[n].Excuse = excuses.of(results[n].Case.ID)
	}
	areas := Table(os.Stdout, results)
	changed := map[string]int{}
	for _, r := range results {
		if newer[r.Case.ID] && len(r.Diffs) > 0 && r.Excuse != nil && r.Excuse.Needs == nil {
			area, _, _ := strings.Cut(r.Case.ID, "/")
			changed[area]++
		}
	}
	for _, area := range areas {
		if judged := area.Same + area.Other - changed[area.Name]; area.Same*100 < least*judged {
			t.Errorf("%s: %d of %d cases have the recorded answer, less than %d %%", area.Name, area.Same, judged, least)
		}
	}
	shown := 0
	for _, r := range results {
		if len(r.Diffs) == 0 {
			continue
		}
		if r.Excuse == nil {
			t.Errorf("%s differs: %s", r.Case.ID, r.Diffs[0])
		}
		if shown++; shown <= *show {
			fmt.Printf("%s\n  %s\n", r.Case.ID, strings.Join(r.Diffs, "\n  "))
		}
	}
	if *only == "" {
		for _, e := range excuses.idle(results) {
			t.Errorf("known-differences.txt: all cases of %s have the recorded answer: remove the line", e.Pattern)
		}
	}
}

// start runs a master and gives a client of it.
func start(t *testing.T, o wheelhouse.Options, nodes int) *Client {
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
	return client
}
