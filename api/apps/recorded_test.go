package apps

import (
	"testing"

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
	for name, cases := range all {
		t.Run(name, func(t *testing.T) { apitest.Replay(t, cases, kind.NewKinds(kinds()).ByGVR, nil) })
	}
}

func TestRecordedColumns(t *testing.T) { apitest.Columns(t, kinds()...) }
