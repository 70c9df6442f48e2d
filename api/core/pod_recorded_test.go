package core

import (
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api/recorded"
)

func TestRecordedPods(t *testing.T) { recorded.Run(t, Pod.Info(), "testdata/pods.jsonl") }

func TestRecordedPodTemplates(t *testing.T) {
	recorded.Run(t, PodTemplate.Info(), "testdata/podtemplates.jsonl")
}
