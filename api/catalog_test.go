package api

import (
	"slices"
	"sort"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/apitest"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// defined are all kinds, served or not: their rules are judged alike.
func defined() []*kind.Kind { return slices.Concat(Kinds(), Unserved()) }

func lookUp(gvr schema.GroupVersionResource) (*kind.Kind, bool) {
	kinds := defined()
	n := slices.IndexFunc(kinds, func(i *kind.Kind) bool { return i.GVR() == gvr })
	if n < 0 {
		return nil, false
	}
	return kinds[n], true
}

// needsServer are the kinds whose objects are not complete without what the server gives them.
var needsServer = map[string]bool{"core_Service": true}

// deliberate are the recorded answers from which this server's differ on purpose.
var deliberate = map[string]string{
	"events_Event validation/regarding-namespace-other": "nobody tells of another namespace's objects",
}

// TestRecordedRequests replays recorded requests: defaults, refusals and warnings must be the same.
func TestRecordedRequests(t *testing.T) {
	cases, err := apitest.Read("testdata/cases")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range cases {
		if !needsServer[name] {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			apitest.Replay(t, cases[name], lookUp, func(c apitest.Case) bool { return deliberate[name+" "+c.ID] != "" })
		})
	}
}

// TestUnserved holds the two lists apart.
func TestUnserved(t *testing.T) {
	for _, i := range Unserved() {
		if _, served := builtIn().ByGVK(i.GVK); served {
			t.Errorf("%s stands among the unserved kinds and in the catalog", i.GVK)
		}
	}
}
