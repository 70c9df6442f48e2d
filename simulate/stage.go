package simulate

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// actsMax bounds what is done for a pod in one go.
const actsMax = 8

// stage is where the pods of a fleet live.
type stage struct {
	fleet *fleet
	queue workqueue.TypedDelayingInterface[types.UID]

	mu sync.Mutex // guards pods, what it holds, and the nodes' blocks of addresses
	// pods by uid.
	pods map[types.UID]*actor
}

// actor is one pod.
type actor struct {
	node *node
	// latest state of the pod; nil while there is nothing to do, so that quiet pods take little memory.
	latest *corev1.Pod
	// ip is empty before the pod needs one and after it has ended.
	ip      string
	ended   bool
	arrived time.Time
}

func newStage(f *fleet) *stage {
	return &stage{fleet: f, queue: workqueue.NewTypedDelayingQueue[types.UID](), pods: map[types.UID]*actor{}}
}

// run plays all pods until ctx ends.
func (s *stage) run(ctx context.Context) {
	selector := fields.OneTermNotEqualSelector("spec.nodeName", "")
	if len(s.fleet.nodes) == 1 {
		selector = fields.OneTermEqualSelector("spec.nodeName", s.fleet.nodes[0].name)
	}
	lw := cache.NewListWatchFromClient(s.fleet.client.CoreV1().RESTClient(), "pods", "", selector)
	sink := &sink[*corev1.Pod]{changed: s.changed, deleted: s.deleted, replaced: s.replaced}
	reflector := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, s.fleet.client), &corev1.Pod{}, sink,
		cache.ReflectorOptions{Name: "pods of simulated nodes"})
	var parts sync.WaitGroup
	for range s.fleet.options.WritesMax {
		parts.Go(func() {
			for {
				uid, ended := s.queue.Get()
				if ended {
					return
				}
				s.play(ctx, uid)
				s.queue.Done(uid)
			}
		})
	}
	reflector.RunWithContext(ctx)
	s.queue.ShutDown() // after which Get ends the workers
	parts.Wait()
}

func (s *stage) changed(pod *corev1.Pod) {
	n := s.fleet.byName[pod.Spec.NodeName]
	if n == nil {
		return
	}
	s.mu.Lock()
	a := s.pods[pod.UID]
	if a == nil {
		a = &actor{node: n, arrived: time.Now()}
		s.pods[pod.UID] = a
		if pod.Status.PodIP != "" && !ended(pod) {
			// It ran before this process did: its address must not go to another pod.
			a.ip = pod.Status.PodIP
			n.pods.hold(a.ip)
		}
	}
	if a.latest == nil || !older(pod, a.latest) {
		a.latest = pod
	}
	s.mu.Unlock()
	s.queue.Add(pod.UID)
}

func (s *stage) deleted(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(pod.UID)
}

// forget is called with mu held.
func (s *stage) forget(uid types.UID) {
	if a := s.pods[uid]; a != nil {
		a.node.pods.free(a.ip)
		delete(s.pods, uid)
	}
}

func (s *stage) replaced(all []*corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := make(map[types.UID]bool, len(all))
	for _, pod := range all {
		there[pod.UID] = true
	}
	for uid := range s.pods {
		if !there[uid] {
			s.forget(uid)
		}
	}
}

// wake looks again at the pods of a node that is back.
func (s *stage) wake(n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid, a := range s.pods {
		if a.node == n {
			s.queue.Add(uid)
		}
	}
}

// older compares two states of one object. Versions of one resource grow.
func older(a, b *corev1.Pod) bool {
	return version(a) < version(b)
}

func version(o metav1.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// play does what is to be done for a pod now.
func (s *stage) play(ctx context.Context, uid types.UID) {
	for range actsMax {
		s.mu.Lock()
		a := s.pods[uid]
		if a == nil || a.latest == nil || ctx.Err() != nil || a.node.cutOff() {
			s.mu.Unlock()
			return
		}
		pod, at := a.latest, s.siteOf(a)
		next := plan(pod, at, time.Now())
		if next.status == nil && !next.remove {
			if next.wait == 0 {
				a.latest = nil // under the lock: a change that comes now sets it again, and is played
			}
			s.mu.Unlock()
			if next.wait > 0 {
				s.queue.AddAfter(uid, next.wait)
			}
			return
		}
		// No lock is held during requests. If the watch shows another state meanwhile, a status that is made of this one conflicts.
		s.mu.Unlock()
		if again := s.perform(ctx, pod, next); again > 0 {
			s.queue.AddAfter(uid, again)
			return
		}
	}
	s.queue.AddAfter(uid, retryPause)
}

// siteOf is called with mu held.
func (s *stage) siteOf(a *actor) site {
	o := s.fleet.options
	if ended(a.latest) {
		a.node.pods.free(a.ip)
		a.ip, a.ended = "", true
	}
	if a.ip == "" && !a.ended {
		if a.latest.Spec.HostNetwork {
			a.ip = a.node.ip
		} else {
			a.ip = a.node.pods.take()
		}
	}
	return site{hostIP: a.node.ip, podIP: a.ip, arrived: a.arrived, startDelay: o.StartDelay, runTime: o.RunTime}
}

// perform writes what was planned. It returns a time after which to try again, 0 to go on.
func (s *stage) perform(ctx context.Context, pod *corev1.Pod, do act) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	pods := s.fleet.client.CoreV1().Pods(pod.Namespace)
	var err error
	if do.remove {
		now := int64(0)
		err = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
		if err == nil {
			s.rest(pod.UID, pod)
			return 0
		}
	} else {
		written := *pod
		written.Status = *do.status
		var stored *corev1.Pod
		if stored, err = pods.UpdateStatus(ctx, &written, metav1.UpdateOptions{}); err == nil {
			s.saw(stored)
			return 0
		}
	}
	switch {
	case apierrors.IsNotFound(err):
		s.rest(pod.UID, pod)
		return 0
	case apierrors.IsConflict(err):
		if stored, err := pods.Get(ctx, pod.Name, metav1.GetOptions{}); err == nil && stored.UID == pod.UID {
			s.saw(stored)
			return 0
		} else if err == nil || apierrors.IsNotFound(err) {
			s.rest(pod.UID, pod)
			return 0
		}
	case ctx.Err() == nil:
		slog.Warn("writing a simulated pod failed; trying again", "namespace", pod.Namespace, "pod", pod.Name, "error", err)
	}
	return retryPause
}

// saw takes a state that the API server answered with.
func (s *stage) saw(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.pods[pod.UID]; a != nil && (a.latest == nil || !older(pod, a.latest)) {
		a.latest = pod
	}
}

// rest leaves a pod alone until the watch shows something newer than what was acted on.
func (s *stage) rest(uid types.UID, acted *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.pods[uid]; a != nil && a.latest == acted {
		a.latest = nil
	}
}
