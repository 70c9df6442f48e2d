package rootca

import (
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/stagetest"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

func TestScenarios(t *testing.T) {
	stagetest.Run(t, "testdata/*.txt", rewrite, stagetest.Controller{Name: "root-ca-certificate-publisher-controller", New: New, Options: func() []any {
		return []any{&Options{Source: func() ([]byte, <-chan struct{}) { return []byte("pem"), nil }}}
	}})
}
