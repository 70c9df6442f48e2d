package api

import (
	"sort"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api/apitest"
)

// needsServer are the kinds whose objects are not complete without what the server gives them.
var needsServer = map[string]bool{"core_Service": true}

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
			for _, c := range cases[name] {
				difference, err := c.Run(ByGVR, apitest.NewRules())
				if err != nil {
					t.Fatal(err)
				}
				if difference != "" {
					t.Errorf("%s: %s", c.ID, difference)
				}
			}
		})
	}
}
