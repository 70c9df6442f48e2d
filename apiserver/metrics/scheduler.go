package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// schedulers are the numbers of schedulers.
type schedulers struct {
	attempts        *prometheus.CounterVec
	attemptDuration *prometheus.HistogramVec
	algorithm       prometheus.Histogram
	podAttempts     prometheus.Histogram
	podDuration     *prometheus.HistogramVec
	incoming        *prometheus.CounterVec
	pending         *prometheus.GaugeVec
	cache           *prometheus.GaugeVec
}

func (s *schedulers) init() {
	buckets := prometheus.ExponentialBuckets(0.001, 2, 15)
	s.attempts = counters("scheduler_schedule_attempts_total",
		"[STABLE] Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.",
		"result", "profile")
	s.attemptDuration = histograms("scheduler_scheduling_attempt_duration_seconds",
		"[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)", buckets, "result", "profile")
	s.algorithm = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "scheduler_scheduling_algorithm_duration_seconds",
		Help: "[ALPHA] Scheduling algorithm latency in seconds", Buckets: buckets})
	s.podAttempts = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "scheduler_pod_scheduling_attempts",
		Help: "[STABLE] Number of attempts to successfully schedule a pod.", Buckets: prometheus.ExponentialBuckets(1, 2, 5)})
	s.podDuration = histograms("scheduler_pod_scheduling_sli_duration_seconds",
		"[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.",
		prometheus.ExponentialBuckets(0.01, 2, 20), "attempts")
	s.incoming = counters("scheduler_queue_incoming_pods_total",
		"[STABLE] Number of pods added to scheduling queues by event and queue type.", "queue", "event")
	s.pending = gauges("scheduler_pending_pods",
		"[STABLE] Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.",
		"queue")
	s.cache = gauges("scheduler_cache_size", "[ALPHA] Number of nodes, pods, and assumed (bound) pods in the scheduler cache.", "type")
}

func (s *schedulers) collectors() []prometheus.Collector {
	return []prometheus.Collector{s.attempts, s.attemptDuration, s.algorithm, s.podAttempts, s.podDuration, s.incoming, s.pending, s.cache}
}

// Scheduler are the numbers of one scheduler, a profile by name. Its methods are the callbacks of scheduler.Metrics.
type Scheduler struct {
	all     *schedulers
	profile string
}

// Scheduler returns the numbers of a scheduler.
func (m *Metrics) Scheduler(profile string) Scheduler { return Scheduler{&m.schedulers, profile} }

// Attempt counts an attempt to schedule a pod by its result: scheduled, unschedulable or error.
func (s Scheduler) Attempt(result string, took time.Duration) {
	s.all.attempts.WithLabelValues(result, s.profile).Inc()
	s.all.attemptDuration.WithLabelValues(result, s.profile).Observe(took.Seconds())
}

// Algorithm counts a decision.
func (s Scheduler) Algorithm(took time.Duration) { s.all.algorithm.Observe(took.Seconds()) }

// maxAttemptsLabel is from where on the number of attempts is no longer told apart.
const maxAttemptsLabel = 15

// Scheduled counts a pod that found its node after so many attempts.
func (s Scheduler) Scheduled(attempts int, waited time.Duration) {
	label := strconv.Itoa(attempts)
	if attempts > maxAttemptsLabel {
		label = strconv.Itoa(maxAttemptsLabel) + "+"
	}
	s.all.podAttempts.Observe(float64(attempts))
	s.all.podDuration.WithLabelValues(label).Observe(waited.Seconds())
}

// Incoming counts pods that enter a queue because of an event.
func (s Scheduler) Incoming(event, queue string, pods int) {
	s.all.incoming.WithLabelValues(queue, event).Add(float64(pods))
}

// Pending records how many pods wait in each queue.
func (s Scheduler) Pending(active, backoff, unschedulable, gated int) {
	for queue, pods := range map[string]int{"active": active, "backoff": backoff, "unschedulable": unschedulable, "gated": gated} {
		s.all.pending.WithLabelValues(queue).Set(float64(pods))
	}
}

// Cache records what the scheduler knows of.
func (s Scheduler) Cache(nodes, pods, assumed int) {
	for kind, number := range map[string]int{"nodes": nodes, "pods": pods, "assumed_pods": assumed} {
		s.all.cache.WithLabelValues(kind).Set(float64(number))
	}
}
