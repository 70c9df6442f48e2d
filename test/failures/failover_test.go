package failures

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

const (
	// probePeriod is how often a write is tried at every master while an outage is measured.
	probePeriod = 20 * time.Millisecond
	// probesMax bounds the writes that wait for an answer, at each master.
	probesMax = 200
)

// The longest outages that users were promised after a master was killed; the short form, which shares its processors
// with other tests, allows more.
const (
	writeOutageMax, loopOutageMax = 3 * time.Second, 5 * time.Second
	leniency                      = 4
)

// outages are those of one kind.
type outages []time.Duration

func (o outages) String() string {
	sorted := slices.Sorted(slices.Values(o))
	at := func(share float64) time.Duration {
		return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s", at(0.5), at(0.99), sorted[len(sorted)-1].Round(time.Millisecond))
}

// outage is how long something took, or why it never came.
type outage struct {
	took time.Duration
	err  error
}

func measure(since time.Time, do func() error) outage {
	err := do()
	return outage{time.Since(since), err}
}

// TestFailover kills a random master of three, again and again under load, and measures how long it takes until a write
// is acknowledged, a pod is bound, and a ReplicaSet has its pod.
func TestFailover(t *testing.T) {
	if !isolated(t) {
		return
	}
	m := masters(t, 3)
	addNode(t, m)
	l := startLoad(t, m)
	random := rand.New(rand.NewSource(*seed))
	var writes, leaderless, binding, replicating outages
	for round := range *rounds {
		l.progress(30 + random.Intn(100))
		victim := m.All[random.Intn(len(m.All))]
		led, _ := leader(t, m)
		var others []*kubernetes.Clientset
		for _, one := range m.All {
			if one != victim {
				others = append(others, connectTo(t, one))
			}
		}
		p := startProbe(t, l)
		killed := time.Now()
		victim.Kill()
		var scheduler, controllers outage
		var both sync.WaitGroup
		both.Go(func() {
			scheduler = measure(killed, func() error { return bound(others, fmt.Sprintf("bare-%d", round)) })
		})
		both.Go(func() {
			controllers = measure(killed, func() error { return replicated(others, fmt.Sprintf("set-%d", round)) })
		})
		writes = append(writes, p.outage(t, killed))
		if victim == led {
			leaderless = append(leaderless, writes[round])
		}
		both.Wait()
		if err := errors.Join(scheduler.err, controllers.err); err != nil {
			t.Fatal(err)
		}
		binding, replicating = append(binding, scheduler.took), append(replicating, controllers.took)
		t.Logf("round %d, %s killed (leader: %t): writes %s, pod bound %s, ReplicaSet acted on %s", round, victim.Host.Name, victim == led,
			writes[round].Round(time.Millisecond), scheduler.took.Round(time.Millisecond), controllers.took.Round(time.Millisecond))
		if err := victim.Restart(); err != nil {
			t.Fatal(err)
		}
		awaitReady(t, m)
	}
	l.verify()
	t.Logf("outage of writes over %d kills: %s", *rounds, writes)
	if len(leaderless) > 0 {
		t.Logf("… over the %d kills of the leader: %s", len(leaderless), leaderless)
	}
	t.Logf("until a pod created after the kill is bound: %s", binding)
	t.Logf("until a ReplicaSet created after the kill has its pod: %s", replicating)
	allowed := time.Duration(1)
	if !*long {
		allowed = leniency
	}
	if worst := slices.Max(writes); worst > allowed*writeOutageMax {
		t.Errorf("no write was acknowledged for %s", worst)
	}
	if worst := max(slices.Max(binding), slices.Max(replicating)); worst > allowed*loopOutageMax {
		t.Errorf("controllers or scheduler did not act for %s", worst)
	}
}

// probe writes at every master all the time and notes when it was answered.
type probe struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu sync.Mutex // guards what follows
	// calls and acks are when acknowledged writes were called and answered.
	calls, acks []time.Time
}

func startProbe(t *testing.T, l *load) *probe {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &probe{cancel: cancel}
	t.Cleanup(cancel)
	l.mu.Lock()
	endpoints := slices.Clone(l.endpoints)
	l.mu.Unlock()
	for _, e := range endpoints {
		free := make(chan int, probesMax) // each write that may wait has an object of its own
		for i := range probesMax {
			free <- i
		}
		p.ended.Go(func() {
			tick := time.NewTicker(probePeriod)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				select {
				case i := <-free:
					p.ended.Go(func() {
						p.write(ctx, e, fmt.Sprintf("probe-%s-%d", e.name, i))
						free <- i
					})
				default:
				}
			}
		})
	}
	return p
}

// write writes an object, whether it is there or not.
func (p *probe) write(ctx context.Context, e *endpoint, name string) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	for _, try := range []struct{ method, path string }{{"PUT", objects + "/" + name}, {"POST", objects}} {
		called := time.Now()
		o := labelled(name, called.String(), "", 0)
		o.Labels = nil
		code, _, err := e.call(ctx, try.method, try.path, o)
		if err != nil {
			return
		}
		if code < 300 {
			p.mu.Lock()
			p.calls, p.acks = append(p.calls, called), append(p.acks, time.Now())
			p.mu.Unlock()
			return
		}
	}
}

// outage waits until a write that was called after a moment is acknowledged, and ends the probe.
func (p *probe) outage(t *testing.T, since time.Time) time.Duration {
	t.Helper()
	var first time.Time
	eventually(t, "a write after the kill", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, called := range p.calls {
			if called.After(since) && (first.IsZero() || p.acks[i].Before(first)) {
				first = p.acks[i]
			}
		}
		if first.IsZero() {
			return fmt.Errorf("none in %s", time.Since(since))
		}
		return nil
	})
	p.cancel()
	p.ended.Wait()
	return first.Sub(since)
}

// addNode makes a Ready node that no agent stands behind, and waits until it takes pods.
func addNode(t *testing.T, m *process.Masters) {
	t.Helper()
	clients := connectTo(t, m.All[0])
	capacity := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("1Ti"), corev1.ResourcePods: resource.MustParse("10000")}
	_, err := clients.CoreV1().Nodes().Create(context.Background(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node"},
		Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity, Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a node that takes pods", func() error {
		n, err := clients.CoreV1().Nodes().Get(context.Background(), "node", metav1.GetOptions{})
		if err == nil && len(n.Spec.Taints) > 0 {
			err = fmt.Errorf("taints %v", n.Spec.Taints)
		}
		if err == nil {
			_, err = clients.CoreV1().ServiceAccounts("default").Get(context.Background(), "default", metav1.GetOptions{})
		}
		return err
	})
}

// atAny calls a function with clients of one living master after the other until it is done; each call has a second.
func atAny(all []*kubernetes.Clientset, what string, do func(ctx context.Context, clients *kubernetes.Clientset) error) error {
	next := 0
	return await(what, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		next++
		return do(ctx, all[next%len(all)])
	})
}

func template(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web"}}},
	}
}

// bound creates a pod and waits until it is bound: the scheduler acts.
func bound(all []*kubernetes.Clientset, name string) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: template(name).Spec}
	err := atAny(all, "a pod", func(ctx context.Context, clients *kubernetes.Clientset) error {
		_, err := clients.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) { // an earlier try has succeeded without an answer
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return atAny(all, "a bound pod", func(ctx context.Context, clients *kubernetes.Clientset) error {
		p, err := clients.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if err == nil && p.Spec.NodeName == "" {
			err = fmt.Errorf("%s is not bound: %+v", name, p.Status.Conditions)
		}
		return err
	})
}

// replicated creates a ReplicaSet and waits until it has its pod: the controllers act.
func replicated(all []*kubernetes.Clientset, name string) error {
	one, pod := int32(1), template(name)
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.ReplicaSetSpec{
		Replicas: &one, Template: pod, Selector: &metav1.LabelSelector{MatchLabels: pod.Labels}}}
	err := atAny(all, "a ReplicaSet", func(ctx context.Context, clients *kubernetes.Clientset) error {
		_, err := clients.AppsV1().ReplicaSets("default").Create(ctx, set, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return atAny(all, "the pod of a ReplicaSet", func(ctx context.Context, clients *kubernetes.Clientset) error {
		list, err := clients.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
		if err == nil && len(list.Items) == 0 {
			err = fmt.Errorf("%s has no pod", name)
		}
		return err
	})
}
