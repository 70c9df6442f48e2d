package apps

import (
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/recorded"
)

func TestRecorded(t *testing.T) {
	for _, info := range []*kind.Info{Deployment.Info(), ReplicaSet.Info(), ControllerRevision.Info(), DaemonSet.Info(), StatefulSet.Info()} {
		t.Run(info.Plural, func(t *testing.T) { recorded.Run(t, info, "testdata/"+info.Plural+".jsonl") })
	}
}
