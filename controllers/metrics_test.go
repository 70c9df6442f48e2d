package controllers_test

import (
	"slices"
	"testing"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/controllers"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// TestQueuesInMetrics reads the metrics of controllers that run.
func TestQueuesInMetrics(t *testing.T) {
	var want []string
	for _, d := range must[[]controllers.Declaration](t)(controllers.Declarations(api.Kinds())) {
		want = append(want, d.Controller.QueueName())
	}
	slices.Sort(want)
	var have []string
	until(t, "the queues of all controllers", func() bool {
		have = queuesInMetrics(t)
		return len(have) >= len(want)
	})
	if !slices.Equal(have, want) {
		t.Errorf("queues in metrics: %v, want %v", have, want)
	}
}

func queuesInMetrics(t *testing.T) (names []string) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != reconcile.MetricsSubsystem+"_depth" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "name" {
					names = append(names, l.GetValue())
				}
			}
		}
	}
	slices.Sort(names)
	return names
}
