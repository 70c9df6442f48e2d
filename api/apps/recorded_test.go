package apps

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/apitest"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func kinds() []*kind.Kind {
	return []*kind.Kind{Deployment, ReplicaSet, ControllerRevision, DaemonSet, StatefulSet}
}

// TestRecorded replays recorded requests: defaults, refusals, changes and warnings must be the same.
func TestRecorded(t *testing.T) {
	all, err := apitest.Read("testdata")
	if err != nil {
		t.Fatal(err)
	}
	infos := map[schema.GroupVersionResource]*kind.Kind{}
	for _, i := range kinds() {
		infos[i.GVR()] = i
	}
	find := func(gvr schema.GroupVersionResource) (*kind.Kind, bool) { i, ok := infos[gvr]; return i, ok }
	for name, cases := range all {
		t.Run(name, func(t *testing.T) {
			for _, c := range cases {
				difference, err := c.Run(find, apitest.NewRules())
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

func TestRecordedColumns(t *testing.T) {
	for _, info := range kinds() {
		differences, err := apitest.Columns(info, "testdata/columns/"+info.Plural+".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range differences {
			t.Errorf("%s: %s", info.Plural, d)
		}
	}
}
