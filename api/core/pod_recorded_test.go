package core

import (
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api/apitest"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// TestRecordedPods replays recorded requests. What admission adds to pods has been taken out of the answers.
func TestRecordedPods(t *testing.T) {
	cases, err := apitest.Read("testdata/pods")
	if err != nil {
		t.Fatal(err)
	}
	apitest.Replay(t, cases["core_Pod"], kind.NewKinds([]*kind.Kind{Pod}).ByGVR, nil)
}

func TestRecordedColumns(t *testing.T) { apitest.Columns(t, Pod, PodTemplate) }
