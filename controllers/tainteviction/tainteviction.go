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

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

type controller struct {
	pods    client.Client[*corev1.Pod]
	livePod client.Live[*corev1.Pod]
	nodes   client.Live[*corev1.Node]
	events  *client.Recorder
	now     func() time.Time
}

// New declares the taint eviction controller.
func New(t client.Transport, events *client.Recorder) *reconcile.Controller {
	c := &controller{pods: client.For[*corev1.Pod](t), nodes: client.For[*corev1.Node](t).Live(), events: events, now: time.Now}
	c.livePod = c.pods.Live()
	nodes, pods := api.Of[*corev1.Node](), api.Of[*corev1.Pod]()
	return &reconcile.Controller{
		Name: "noexec_taint_pod", Workers: 8,
		Reads: []reconcile.Read{{Kind: nodes, Keys: c.nodeChanged}, {Kind: pods, Keys: c.podChanged}},
		Writes: []reconcile.Write{
			{Kind: pods, Verbs: []client.Verb{client.Delete}},
			{Kind: pods, Subresource: "status", Verbs: []client.Verb{client.Patch}},
		},
		Reconcile: c.reconcile,
	}
}

func drives(taints []corev1.Taint) bool {
	for i := range taints {
		if taints[i].Effect == corev1.TaintEffectNoExecute {
			return true
		}
	}
	return false
}

// nodeChanged judges all pods of a node whose taints changed and drive pods away.
func (c *controller) nodeChanged(d client.Delta, enqueue func(reconcile.Key)) {
	node := client.Typed[*corev1.Node](d)
	if node.New == nil || !drives(node.New.Spec.Taints) {
		return
	}
	if node.Old != nil && equality.Semantic.DeepEqual(node.Old.Spec.Taints, node.New.Spec.Taints) {
		return
	}
	for p := range c.livePod.ByField("spec.nodeName", node.New.Name) {
		enqueue(reconcile.KeyOf(p))
	}
}

// podChanged judges a pod that came to a node, or changed its tolerations.
func (c *controller) podChanged(d client.Delta, enqueue func(reconcile.Key)) {
	pod := client.Typed[*corev1.Pod](d)
	if pod.New == nil || pod.New.Spec.NodeName == "" {
		return
	}
	if pod.Old != nil && pod.Old.Spec.NodeName == pod.New.Spec.NodeName && len(pod.Old.Spec.Tolerations) == len(pod.New.Spec.Tolerations) {
		return
	}
	if node, ok := c.nodes.Get("", pod.New.Spec.NodeName); ok && drives(node.Spec.Taints) {
		enqueue(reconcile.KeyOf(pod.New))
	}
}

func tolerates(t corev1.Toleration, taint *corev1.Taint) bool {
	return t.ToleratesTaint(klog.Background(), taint, true)
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	pod, ok := c.livePod.Get(key.Namespace, key.Name)
	if !ok || pod.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	node, ok := c.nodes.Get("", pod.Spec.NodeName)
	if !ok {
		return reconcile.Result{}, nil
	}
	v := judge(pod, node.Spec.Taints, tolerates)
	if !v.evict {
		return reconcile.Result{}, nil
	}
	if wait := v.at.Sub(c.now()); wait > 0 {
		return reconcile.Result{After: wait}, nil
	}
	err := c.evict(ctx, pod)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, err
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
