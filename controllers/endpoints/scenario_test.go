package endpoints

import (
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/stagetest"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

func TestScenarios(t *testing.T) {
	stagetest.Run(t, "testdata/*.txt", rewrite, stagetest.Controller{Name: "endpoints-controller", New: New, Options: func() []any { return []any{&Options{ConcurrentSyncs: 1}} }})
}
