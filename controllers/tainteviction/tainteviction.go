// Package tainteviction deletes pods that do not tolerate a NoExecute taint of their node, or no longer.
package tainteviction

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// recheck is how soon it is looked again where a view and the server do not agree.
const recheck = time.Second

type controller struct {
	nodes  reconcile.Objects[*corev1.Node]
	pods   reconcile.Objects[*corev1.Pod]
	events *client.Recorder
	now    func() time.Time
	memory *memory
}

// New declares the taint eviction controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{events: b.Events, now: b.Now, memory: newMemory()}
	c.nodes = reconcile.Watch[*corev1.Node](b, c.nodeChanged)
	c.pods = reconcile.Watch[*corev1.Pod](b, c.podChanged, reconcile.Writes(kind.Delete), reconcile.WritesPart("status", kind.Patch))
	return &reconcile.Controller{Workers: 8, Reconcile: c.reconcile}
}

func drives(taints []corev1.Taint) bool {
	for i := range taints {
		if taints[i].Effect == corev1.TaintEffectNoExecute {
			return true
		}
	}
	return false
}

// nodeChanged judges all pods of a node whose taints changed and drive pods away, or did.
func (c *controller) nodeChanged(d client.Delta, enqueue func(reconcile.Key)) {
	node := client.Typed[*corev1.Node](d)
	var before, after []corev1.Taint
	name := ""
	if node.Old != nil {
		name, before = node.Old.Name, node.Old.Spec.Taints
	}
	if node.New != nil {
		name, after = node.New.Name, node.New.Spec.Taints
		c.memory.note(node.New, c.now())
	} else {
		c.memory.forgetNode(name)
	}
	if !drives(before) && !drives(after) || node.Old != nil && node.New != nil && node.Old.UID == node.New.UID && equality.Semantic.DeepEqual(before, after) {
		return
	}
	for p := range c.pods.Live.ByField("spec.nodeName", name) {
		enqueue(reconcile.KeyOf(p))
	}
}

// podChanged judges a pod that came to a node, changed its tolerations, or went away before its time.
func (c *controller) podChanged(d client.Delta, enqueue func(reconcile.Key)) {
	pod := client.Typed[*corev1.Pod](d)
	if pod.New == nil {
		if c.memory.waits(reconcile.KeyOf(pod.Old)) != nil {
			enqueue(reconcile.KeyOf(pod.Old))
		}
		return
	}
	if pod.New.Spec.NodeName == "" {
		return
	}
	if pod.Old != nil && pod.Old.UID == pod.New.UID && pod.Old.Spec.NodeName == pod.New.Spec.NodeName &&
		equality.Semantic.DeepEqual(pod.Old.Spec.Tolerations, pod.New.Spec.Tolerations) {
		return
	}
	if node, ok := c.nodes.Live.Get("", pod.New.Spec.NodeName); ok && drives(node.Spec.Taints) {
		enqueue(reconcile.KeyOf(pod.New))
	}
}

func tolerates(t corev1.Toleration, taint *corev1.Taint) bool {
	return t.ToleratesTaint(klog.Background(), taint, true)
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	pod, ok := c.pods.Live.Get(key.Namespace, key.Name)
	waits := c.memory.waits(key)
	if waits != nil && (!ok || pod.UID != waits.UID) {
		if gone, err := c.pods.Look(ctx, key.Namespace, key.Name, waits.UID).Gone(); err != nil || !gone {
			return reconcile.Result{After: recheck}, err
		}
		c.cancel(key)
	}
	if !ok {
		return reconcile.Result{}, nil
	}
	if pod.DeletionTimestamp != nil {
		c.memory.end(key)
		return reconcile.Result{}, nil
	}
	node, ok := c.nodes.Live.Get("", pod.Spec.NodeName)
	if !ok {
		if c.memory.waits(key) == nil {
			return reconcile.Result{}, nil
		}
		// Its eviction is called off only if the node is gone for certain: one that cannot be read has its taints still.
		if gone, err := c.nodes.Look(ctx, "", pod.Spec.NodeName, "").Gone(); err != nil || !gone {
			return reconcile.Result{After: recheck}, err
		}
		c.cancel(key)
		return reconcile.Result{}, nil
	}
	now := c.now()
	v := judge(pod, node.Spec.Taints, tolerates, func(t *corev1.Taint) time.Time { return c.memory.seen(node, t, now) })
	if !v.evict {
		c.cancel(key)
		return reconcile.Result{}, nil
	}
	if wait := v.at.Sub(now); wait > 0 {
		c.memory.wait(key, &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID})
		return reconcile.Result{After: wait}, nil
	}
	c.memory.end(key)
	err := c.evict(ctx, pod)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, err
}

// cancel says that a pod that waited to be evicted will not be.
func (c *controller) cancel(key reconcile.Key) {
	if pod := c.memory.end(key); pod != nil {
		c.events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s/%s", pod.Namespace, pod.Name)
	}
}

func (c *controller) evict(ctx context.Context, pod *corev1.Pod) error {
	c.events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	condition := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation, LastTransitionTime: metav1.NewTime(c.now()),
		Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint",
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{"conditions": []corev1.PodCondition{condition}},
	})
	if err != nil {
		return err
	}
	if _, err := c.pods.PatchStatus(ctx, pod.Namespace, pod.Name, types.StrategicMergePatchType, patch); err != nil {
		return err
	}
	uid := pod.UID
	return c.pods.Delete(ctx, pod.Namespace, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
}
