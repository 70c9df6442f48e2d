package simulate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"maps"
	goruntime "runtime"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// annotationSilent on a Node cuts the node off.
const annotationSilent = "simulate.wheelhouse.dev/stop-heartbeat"

// node is one simulated node.
type node struct {
	name   string
	number int
	ip     string
	labels map[string]string
	pods   *block // guarded by the stage

	mu sync.Mutex
	// What follows is guarded by mu.
	uid   types.UID
	lease *coordinationv1.Lease
	// silent: cut off by its annotation. gone: the Node object was deleted.
	silent, gone bool
	// busy: a renewal or a report is in flight; owes: a report was asked for meanwhile.
	busy, owes bool
	// since is when the node became ready.
	since metav1.Time
}

func (n *node) cutOff() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.silent
}

// register makes the Node objects and leases, or takes over those that are there, and tries until that is done.
func (f *fleet) register(ctx context.Context) {
	f.forAll(ctx, registersMax, func(n *node) {
		for ctx.Err() == nil {
			err := f.registerOne(ctx, n)
			if err == nil {
				return
			}
			if ctx.Err() == nil {
				slog.Warn("registering a simulated node failed; trying again", "node", n.name, "error", err)
			}
			pause(ctx, retryPause)
		}
	})
}

func (f *fleet) registerOne(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	nodes := f.client.CoreV1().Nodes()
	object, err := nodes.Create(ctx, f.nodeObject(n), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		if object, err = nodes.Get(ctx, n.name, metav1.GetOptions{}); err == nil && object.Annotations[annotationSilent] != "true" {
			_, err = f.report(ctx, n)
		}
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.uid, n.silent = object.UID, object.Annotations[annotationSilent] == "true"
	silent := n.silent
	n.mu.Unlock()
	if silent {
		return nil
	}
	return f.renew(ctx, n)
}

// nodeObject is what a kubelet registers.
func (f *fleet) nodeObject(n *node) *corev1.Node {
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{
		corev1.LabelHostname: n.name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: goruntime.GOARCH,
		"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": goruntime.GOARCH,
	}}}
	maps.Copy(o.Labels, n.labels)
	o.Spec = corev1.NodeSpec{PodCIDR: n.pods.cidr(), PodCIDRs: []string{n.pods.cidr()}}
	o.Status = f.nodeStatus(n, metav1.Now())
	return o
}

func (f *fleet) nodeStatus(n *node, now metav1.Time) corev1.NodeStatus {
	n.mu.Lock()
	if n.since.IsZero() {
		n.since = now
	}
	since := n.since
	n.mu.Unlock()
	sum := sha256.Sum256([]byte(n.name))
	id := hex.EncodeToString(sum[:16])
	return corev1.NodeStatus{
		Capacity: f.options.Capacity, Allocatable: f.options.Capacity,
		Conditions: []corev1.NodeCondition{
			condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available", now, since),
			condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure", now, since),
			condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available", now, since),
			condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status", now, since),
		},
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: n.ip}, {Type: corev1.NodeHostName, Address: n.name}},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: id, SystemUUID: id, BootID: id, KernelVersion: "6.12.0", OSImage: "Wheelhouse simulated node",
			ContainerRuntimeVersion: "simulated://1.0", KubeletVersion: f.options.KubeletVersion,
			OperatingSystem: "linux", Architecture: goruntime.GOARCH,
		},
	}
}

func condition(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string, now, since metav1.Time) corev1.NodeCondition {
	return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: since}
}

// report writes the node's whole status.
func (f *fleet) report(ctx context.Context, n *node) (*corev1.Node, error) {
	patch, err := json.Marshal(map[string]any{"status": f.nodeStatus(n, metav1.Now())})
	if err != nil {
		return nil, err
	}
	return f.client.CoreV1().Nodes().PatchStatus(ctx, n.name, patch)
}

// beat renews each lease every 10 seconds and reports each status every 5 minutes, evenly over time.
func (f *fleet) beat(ctx context.Context) {
	slots := make(chan struct{}, leasesMax)
	var flying sync.WaitGroup
	defer flying.Wait() // nothing is renewed any more when beat returns
	start := time.Now()
	step := leaseEvery / time.Duration(len(f.nodes))
	for turn := 0; ctx.Err() == nil; turn++ {
		// Due by the time of the start, so that a turn that came late does not put off those after it.
		due := start.Add(leaseEvery * time.Duration(1+turn/len(f.nodes))).Add(step * time.Duration(turn%len(f.nodes)))
		pause(ctx, time.Until(due))
		n := f.nodes[turn%len(f.nodes)]
		// The first reports are spread over the first five minutes.
		rounds := int(statusEvery / leaseEvery)
		withStatus := (turn/len(f.nodes)+n.number)%rounds == 0
		// A slow server makes turns late, not many.
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		flying.Go(func() {
			defer func() { <-slots }()
			f.beatOne(ctx, n, withStatus)
		})
	}
}

func (f *fleet) beatOne(ctx context.Context, n *node, withStatus bool) {
	// One at a time for a node: two would change its lease from the same state, and one would lose. A report that is asked for
	// meanwhile is owed, and goes with the next renewal.
	n.mu.Lock()
	skip := n.silent || n.gone || n.busy
	if skip {
		n.owes = n.owes || n.busy && withStatus
	} else {
		withStatus = withStatus || n.owes
		n.busy, n.owes = true, false
	}
	n.mu.Unlock()
	if skip || ctx.Err() != nil {
		return
	}
	defer func() {
		n.mu.Lock()
		n.busy = false
		n.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := f.renew(ctx, n)
	if err == nil && withStatus {
		_, err = f.report(ctx, n)
	}
	if err != nil && ctx.Err() == nil {
		slog.Warn("heartbeat of a simulated node failed", "node", n.name, "error", err)
	}
}

// renew writes the node's lease.
func (f *fleet) renew(ctx context.Context, n *node) error {
	leases := f.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	n.mu.Lock()
	lease, uid := n.lease, n.uid
	n.mu.Unlock()
	now := metav1.NowMicro()
	var err error
	if lease == nil {
		seconds := int32(leaseSeconds)
		lease, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: n.name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.name, UID: uid}}},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &n.name, LeaseDurationSeconds: &seconds, RenewTime: &now},
		}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			lease, err = f.renewExisting(ctx, n, now)
		}
	} else {
		lease = lease.DeepCopy()
		lease.Spec.RenewTime = &now
		lease, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			lease, err = f.renewExisting(ctx, n, now)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		if apierrors.IsNotFound(err) {
			n.lease = nil // the next renewal makes it anew
		}
		return err
	}
	n.lease = lease
	return nil
}

func (f *fleet) renewExisting(ctx context.Context, n *node, now metav1.MicroTime) (*coordinationv1.Lease, error) {
	leases := f.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	lease, err := leases.Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	lease.Spec.RenewTime, lease.Spec.HolderIdentity = &now, &n.name
	return leases.Update(ctx, lease, metav1.UpdateOptions{})
}

// watchNodes follows the Node objects: for the annotation that cuts a node off, and for a status that others changed.
func (f *fleet) watchNodes(ctx context.Context) {
	selector := fields.Everything()
	if len(f.nodes) == 1 {
		selector = fields.OneTermEqualSelector("metadata.name", f.nodes[0].name)
	}
	lw := cache.NewListWatchFromClient(f.client.CoreV1().RESTClient(), "nodes", "", selector)
	sink := &sink[*corev1.Node]{changed: func(o *corev1.Node) { f.nodeChanged(ctx, o) }, deleted: f.nodeDeleted,
		replaced: func([]*corev1.Node) {}}
	cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, f.client), &corev1.Node{}, sink,
		cache.ReflectorOptions{Name: "simulated nodes"}).RunWithContext(ctx)
}

func (f *fleet) nodeChanged(ctx context.Context, o *corev1.Node) {
	n := f.byName[o.Name]
	if n == nil {
		return
	}
	silent := o.Annotations[annotationSilent] == "true"
	n.mu.Lock()
	back := n.silent && !silent
	if back {
		n.since = metav1.Now()
	}
	n.silent, n.uid = silent, o.UID
	n.mu.Unlock()
	if silent {
		return
	}
	// Who was cut off was taken for dead meanwhile, and a status that others changed is corrected at once, as a kubelet does.
	if back || !ready(o) {
		go f.beatOne(ctx, n, true)
	}
	if back {
		f.stage.wake(n)
	}
}

func (f *fleet) nodeDeleted(o *corev1.Node) {
	if n := f.byName[o.Name]; n != nil {
		n.mu.Lock()
		n.gone = n.uid == o.UID // a node of its name that was registered since lives
		n.mu.Unlock()
	}
}

func ready(o *corev1.Node) bool {
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
