// Package simulate runs nodes without machines. They speak the real API as kubelets do: they register, renew leases,
// report status, take the pods that are bound to them through their phases, and end them within their grace. Nothing
// is executed. Pods and nodes are steered by annotations:
//
//	simulate.wheelhouse.dev/start-seconds   a pod's containers start after this time (default Options.StartDelay)
//	simulate.wheelhouse.dev/ready-seconds   they are ready this time after their start (default 0)
//	simulate.wheelhouse.dev/ready: "false"  they never become ready
//	simulate.wheelhouse.dev/start: "false"  they never start: the pod stays Pending
//	simulate.wheelhouse.dev/run-seconds     they end after this time (default Options.RunTime for pods of a Job, and for
//	                                        pods with an exit code that are not always restarted; others run on)
//	simulate.wheelhouse.dev/exit-code       with this code (default 0)
//	simulate.wheelhouse.dev/stop-seconds    a deleted pod needs this time to end, at most its grace (default 0)
//	simulate.wheelhouse.dev/stop-heartbeat  on a Node, "true": the node is cut off: no lease, no status, and nothing
//	                                        happens to its pods until the annotation is gone
package simulate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Options of simulated nodes.
type Options struct {
	// Config reaches the API server.
	Config *rest.Config
	// NodeConfig gives each node a configuration of its own (as system:node:NAME); nil means all share Config. Each
	// then has its own connections and watch, which suits tens of nodes and not thousands.
	NodeConfig func(name string) (*rest.Config, error)
	// Nodes to run, named NamePrefix and a number from 1 on. NamePrefix defaults to "node-".
	Nodes      int
	NamePrefix string
	// Capacity of each node, over the default of 32 CPUs, 128Gi of memory and 110 pods.
	Capacity corev1.ResourceList
	// Labels of a node by its number, beyond the usual ones; may be nil.
	Labels func(number int) map[string]string
	// StartDelay from a pod's arrival to its containers' start.
	StartDelay time.Duration
	// RunTime of pods that end by themselves and do not say when: those of a Job. 0 means one second.
	RunTime time.Duration
	// WritesMax bounds the pod writes in flight; 0 means 64.
	WritesMax int
	// KubeletVersion that nodes report; empty means DefaultVersion.
	KubeletVersion string
	// Registered is called once, when all nodes are registered; may be nil.
	Registered func()
}

// DefaultVersion is what nodes report as their kubelet's version.
const DefaultVersion = "v1.37.2"

// Bounds and times of kubelets.
const (
	leaseSeconds   = 40
	leaseEvery     = 10 * time.Second
	statusEvery    = 5 * time.Minute
	registersMax   = 32
	leasesMax      = 32
	requestTimeout = 20 * time.Second
	retryPause     = time.Second
)

var defaultCapacity = corev1.ResourceList{
	corev1.ResourceCPU:              resource.MustParse("32"),
	corev1.ResourceMemory:           resource.MustParse("128Gi"),
	corev1.ResourceEphemeralStorage: resource.MustParse("200Gi"),
	corev1.ResourcePods:             resource.MustParse("110"),
}

// Run registers the nodes and runs them until ctx ends. Nodes and pods that are there already are taken over. The Node
// objects stay when Run returns.
func Run(ctx context.Context, o Options) error {
	if err := o.complete(); err != nil {
		return err
	}
	fleets, err := o.fleets()
	if err != nil {
		return err
	}
	var running, registered sync.WaitGroup
	registered.Add(len(fleets))
	for _, f := range fleets {
		running.Go(func() { f.run(ctx, registered.Done) })
	}
	if o.Registered != nil {
		running.Go(func() {
			registered.Wait()
			if ctx.Err() == nil {
				o.Registered()
			}
		})
	}
	running.Wait()
	return nil
}

func (o *Options) complete() error {
	if o.Config == nil && o.NodeConfig == nil {
		return errors.New("simulated nodes need a configuration to reach the API server")
	}
	if o.Nodes < 1 {
		return fmt.Errorf("%d simulated nodes: at least 1 is needed", o.Nodes)
	}
	if o.NamePrefix == "" {
		o.NamePrefix = "node-"
	}
	if o.RunTime <= 0 {
		o.RunTime = time.Second
	}
	if o.WritesMax <= 0 {
		o.WritesMax = 64
	}
	if o.KubeletVersion == "" {
		o.KubeletVersion = DefaultVersion
	}
	capacity := defaultCapacity.DeepCopy()
	for name, q := range o.Capacity {
		capacity[name] = q
	}
	o.Capacity = capacity
	return nil
}

// fleets groups the nodes by the configuration they use.
func (o *Options) fleets() ([]*fleet, error) {
	nodes, err := o.makeNodes()
	if err != nil {
		return nil, err
	}
	if o.NodeConfig == nil {
		f, err := newFleet(o, o.Config, nodes)
		return []*fleet{f}, err
	}
	var fleets []*fleet
	for _, n := range nodes {
		config, err := o.NodeConfig(n.name)
		if err != nil {
			return nil, fmt.Errorf("configuration of node %s: %w", n.name, err)
		}
		f, err := newFleet(o, config, []*node{n})
		if err != nil {
			return nil, err
		}
		fleets = append(fleets, f)
	}
	return fleets, nil
}

func (o *Options) makeNodes() ([]*node, error) {
	space, err := newAddressSpace(o.Nodes, o.Capacity.Pods().Value())
	if err != nil {
		return nil, err
	}
	nodes := make([]*node, o.Nodes)
	for i := range nodes {
		name := fmt.Sprintf("%s%d", o.NamePrefix, i+1)
		nodes[i] = &node{name: name, number: i + 1, ip: space.nodeIP(i), pods: space.pods(i), silent: false}
		if o.Labels != nil {
			nodes[i].labels = o.Labels(i + 1)
		}
	}
	return nodes, nil
}

// fleet is nodes that share a client, a watch and workers.
type fleet struct {
	options *Options
	client  kubernetes.Interface
	nodes   []*node
	byName  map[string]*node
	stage   *stage
}

func newFleet(o *Options, config *rest.Config, nodes []*node) (*fleet, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.RateLimiter = -1, 0, nil
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.UserAgent = "wheelhouse-simulate/" + o.KubeletVersion
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the simulated nodes: %w", err)
	}
	f := &fleet{options: o, client: client, nodes: nodes, byName: map[string]*node{}}
	for _, n := range nodes {
		f.byName[n.name] = n
	}
	f.stage = newStage(f)
	return f, nil
}

// run begins with the registration, as a kubelet does; then leases, node status and pods go side by side.
func (f *fleet) run(ctx context.Context, registered func()) {
	f.register(ctx)
	registered()
	var parts sync.WaitGroup
	parts.Go(func() { f.beat(ctx) })
	parts.Go(func() { f.watchNodes(ctx) })
	parts.Go(func() { f.stage.run(ctx) })
	parts.Wait()
}

// forAll calls do for every node, workers at a time.
func (f *fleet) forAll(ctx context.Context, workers int, do func(*node)) {
	todo := make(chan *node)
	var pool sync.WaitGroup
	for range min(workers, len(f.nodes)) {
		pool.Go(func() {
			for n := range todo {
				do(n)
			}
		})
	}
	for _, n := range f.nodes {
		select {
		case todo <- n:
		case <-ctx.Done():
		}
	}
	close(todo)
	pool.Wait()
}

// pause waits, or returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
