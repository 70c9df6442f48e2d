package nodelifecycle

import (
	"time"

	"github.com/spf13/pflag"
)

// Options of the controller, with the meaning of kube-controller-manager's flags.
type Options struct {
	MonitorPeriod, MonitorGracePeriod, StartupGracePeriod time.Duration
	// EvictionRate and SecondaryEvictionRate are nodes a second in each zone.
	EvictionRate, SecondaryEvictionRate float64
	LargeClusterSizeThreshold           int // nodes
	UnhealthyZoneThreshold              float64
}

// AddFlags adds the flags, and sets the defaults.
func (o *Options) AddFlags(s *pflag.FlagSet) {
	s.DurationVar(&o.MonitorPeriod, "node-monitor-period", 5*time.Second, "How often nodes are looked at.")
	s.DurationVar(&o.MonitorGracePeriod, "node-monitor-grace-period", 50*time.Second, "How long a node may be silent before it is taken for unreachable.")
	s.DurationVar(&o.StartupGracePeriod, "node-startup-grace-period", time.Minute, "The same for a node that has just started.")
	s.Float64Var(&o.EvictionRate, "node-eviction-rate", 0.1, "Nodes a second whose pods are evicted when their zone is healthy.")
	s.Float64Var(&o.SecondaryEvictionRate, "secondary-node-eviction-rate", 0.01, "The same when their zone is unhealthy.")
	s.IntVar(&o.LargeClusterSizeThreshold, "large-cluster-size-threshold", 50, "Nodes from which on an unhealthy zone gets evictions at all.")
	s.Float64Var(&o.UnhealthyZoneThreshold, "unhealthy-zone-threshold", 0.55, "Share of nodes not ready from which on a zone is unhealthy.")
}
