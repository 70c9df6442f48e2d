package metrics

import (
	"errors"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// merged is several gatherers as one. A name that two of them have is taken from the first: both
// global registries carry the Go runtime's numbers.
type merged []prometheus.Gatherer

// Gather implements prometheus.Gatherer.
func (m merged) Gather() ([]*dto.MetricFamily, error) {
	var all []*dto.MetricFamily
	var failures []error
	seen := map[string]bool{}
	for _, g := range m {
		families, err := g.Gather()
		if err != nil {
			failures = append(failures, err)
		}
		for _, f := range families {
			if !seen[f.GetName()] {
				seen[f.GetName()] = true
				all = append(all, f)
			}
		}
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all, errors.Join(failures...)
}

// pulled are numbers that are asked for when somebody looks.
type pulled struct{ Options }

var (
	inFlight = prometheus.NewDesc("apiserver_current_inflight_requests",
		"[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.", []string{"request_kind"}, nil)
	storageObjects = prometheus.NewDesc("apiserver_storage_objects",
		"[STABLE] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.", []string{"resource"}, nil)
	resourceObjects = prometheus.NewDesc("apiserver_resource_objects",
		"[ALPHA] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.", []string{"group", "resource"}, nil)
	resourceBytes = prometheus.NewDesc("apiserver_resource_size_estimate_bytes",
		"[ALPHA] Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized objects. In case of a fetching error, the value will be -1.",
		[]string{"group", "resource"}, nil)
	decodeErrors = prometheus.NewDesc("apiserver_storage_decode_errors_total",
		"[ALPHA] Number of stored object decode errors split by object type", []string{"group", "resource"}, nil)
	unreadableValues = prometheus.NewDesc("wheelhouse_unreadable_values",
		"Stored values that cannot be decrypted or decoded now, by object type.", []string{"group", "resource"}, nil)
	storageSize = prometheus.NewDesc("apiserver_storage_size_bytes",
		"[STABLE] Size of the storage database file physically allocated in bytes.", []string{"storage_cluster_id"}, nil)
)

// Describe implements prometheus.Collector.
func (p *pulled) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inFlight, storageObjects, resourceObjects, resourceBytes, decodeErrors, unreadableValues, storageSize} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (p *pulled) Collect(values chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		values <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if p.InFlight != nil {
		reads, writes := p.InFlight()
		gauge(inFlight, float64(reads), "readOnly")
		gauge(inFlight, float64(writes), "mutating")
	}
	if p.Objects != nil {
		for _, o := range p.Objects() {
			gauge(storageObjects, float64(o.Count), schema.GroupResource{Group: o.Group, Resource: o.Resource}.String())
			gauge(resourceObjects, float64(o.Count), o.Group, o.Resource)
			gauge(resourceBytes, float64(o.Bytes), o.Group, o.Resource)
			gauge(unreadableValues, float64(o.Unreadable), o.Group, o.Resource)
			values <- prometheus.MustNewConstMetric(decodeErrors, prometheus.CounterValue, float64(o.ReadFailures), o.Group, o.Resource)
		}
	}
	if p.StoreSize != nil {
		gauge(storageSize, float64(p.StoreSize()), p.StoreID)
	}
}
