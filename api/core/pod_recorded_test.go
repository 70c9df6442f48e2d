package core

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/apitest"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// TestRecordedPods replays recorded requests. What admission adds to pods has been taken out of the answers.
func TestRecordedPods(t *testing.T) {
	cases, err := apitest.Read("testdata/pods")
	if err != nil {
		t.Fatal(err)
	}
	pods := Pod
	find := func(gvr schema.GroupVersionResource) (*kind.Kind, bool) { return pods, gvr == pods.GVR() }
	for _, c := range cases["core_Pod"] {
		difference, err := c.Run(find, apitest.NewRules())
		if err != nil {
			t.Fatal(err)
		}
		if difference != "" {
			t.Errorf("%s: %s", c.ID, difference)
		}
	}
}

func TestRecordedColumns(t *testing.T) {
	for _, info := range []*kind.Kind{Pod, PodTemplate} {
		differences, err := apitest.Columns(info, "testdata/columns/"+info.Plural+".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range differences {
			t.Errorf("%s: %s", info.Plural, d)
		}
	}
}
