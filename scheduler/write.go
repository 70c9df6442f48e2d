package scheduler

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/scheduler/placement"
)

const (
	// noteMax is the longest message of an event.
	noteMax = 1024
	// freshMax is how long one question for the state of the store may take, and freshRetry when it is asked again.
	freshMax   = 15 * time.Second
	freshRetry = time.Second
)

// patching is what the loop has to say in a pod's status.
type patching struct {
	// condition to write next, nil for none.
	condition *corev1.PodCondition
	// queued in the list of patches; busy while one is in flight.
	queued, busy bool
	// bindAfter: the binding waits for the patch in flight, which would otherwise undo the condition of the binding.
	bindAfter bool
}

// bindWhenQuiet writes the binding as soon as no patch of the pod is in flight.
func (r *run) bindWhenQuiet(ctx context.Context, queued *queuedPod) {
	r.binding++
	queued.patch.condition = nil
	if queued.patch.busy {
		queued.patch.bindAfter = true
		return
	}
	pod, node := queued.pod(), queued.bind.node
	r.crew.Go(func() error {
		_, err := r.client.Act(ctx, pod.Namespace, pod.Name, "binding", &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: node},
		})
		if err == nil {
			r.tellBound(pod, node)
		}
		r.catchUp(ctx, err)
		r.inbox.put(report{queued: queued, of: stepBind, err: err})
		return nil
	})
}

func (r *run) tellBound(pod *corev1.Pod, node string) {
	r.recorder.Action(reference(pod), corev1.EventTypeNormal, "Scheduled", "Binding",
		"Successfully assigned "+pod.Namespace+"/"+pod.Name+" to "+node)
}

// catchUp waits, after a write of unknown outcome, until the view of pods shows what has become of it: a node's room is not given
// away while a binding to it may yet be made. It runs beside the loop.
func (r *run) catchUp(ctx context.Context, err error) {
	if !client.OutcomeUnknown(err) {
		return
	}
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, freshMax)
		err := r.transport.Fresh(limited, r.client.Kind())
		cancel()
		if err == nil {
			return
		}
		pause := time.NewTimer(freshRetry)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// outcomeShown tells, after catchUp, whether the view shows that a pod was bound, or that it is gone: the report that says so is on
// its way.
func (r *run) outcomeShown(queued *queuedPod) bool {
	now, ok := r.client.Live().Get(queued.pod().Namespace, queued.pod().Name)
	return !ok || now.UID != queued.uid || now.Spec.NodeName != ""
}

// refuse parks a pod that no node can take until one of the events, and says why.
func (r *run) refuse(queued *queuedPod, why *placement.Explanation, helpedBy placement.Events) {
	queued.bind = binding{}
	r.queue.park(queued, helpedBy, r.now())
	r.queue.track(queued)
	r.say(queued, corev1.PodReasonUnschedulable, why.String())
}

// say tells in an event and in the pod's status why it has no node.
func (r *run) say(queued *queuedPod, reason, message string) {
	pod := queued.pod()
	note := message
	if len(note) > noteMax {
		note = note[:noteMax-4] + " ..."
	}
	r.recorder.Action(reference(pod), corev1.EventTypeWarning, "FailedScheduling", "Scheduling", note)
	condition := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		ObservedGeneration: pod.Generation, LastTransitionTime: metav1.NewTime(r.now())}
	for i := range pod.Status.Conditions {
		old := &pod.Status.Conditions[i]
		if old.Type != condition.Type {
			continue
		}
		if old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
		}
		if old.Status == condition.Status && old.Reason == reason && old.Message == message &&
			old.ObservedGeneration == pod.Generation {
			queued.patch.condition = nil
			return
		}
	}
	queued.patch.condition = &condition
	if !queued.patch.queued && !queued.patch.busy {
		queued.patch.queued = true
		r.patches = append(r.patches, queued)
	}
}

// sendPatches writes waiting conditions.
func (r *run) sendPatches(ctx context.Context) {
	for r.patching < r.options.PatchesMax && len(r.patches) > 0 {
		queued := r.patches[0]
		r.patches[0] = nil
		r.patches = r.patches[1:]
		queued.patch.queued = false
		if queued.patch.condition == nil || r.queue.byUID[queued.uid] != queued {
			continue // it found a node, or is gone
		}
		condition := queued.patch.condition
		queued.patch.condition = nil
		queued.patch.busy = true
		r.patching++
		pod := queued.pod()
		r.crew.Go(func() error {
			_, err := r.client.PatchStatus(ctx, pod.Namespace, pod.Name, types.StrategicMergePatchType, statusPatch(pod, condition))
			r.catchUp(ctx, err) // a binding that followed would be undone
			r.inbox.put(report{queued: queued, patched: true, err: err})
			return nil
		})
	}
}

// patched takes the outcome of a status patch.
func (r *run) patched(ctx context.Context, queued *queuedPod, err error) {
	r.patching--
	queued.patch.busy = false
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		slog.Warn("writing why a pod has no node failed", "namespace", queued.pod().Namespace, "pod", queued.pod().Name, "error", err)
	}
	if queued.patch.bindAfter {
		queued.patch.bindAfter = false
		r.binding--
		if r.assumed[queued.uid] == queued {
			r.bindWhenQuiet(ctx, queued)
		}
		return
	}
	if queued.patch.condition != nil && !queued.patch.queued {
		queued.patch.queued = true
		r.patches = append(r.patches, queued)
	}
}

// statusPatch sets one condition of one very pod.
func statusPatch(pod *corev1.Pod, condition *corev1.PodCondition) []byte {
	type meta struct {
		UID types.UID `json:"uid"`
	}
	type status struct {
		Conditions []corev1.PodCondition `json:"conditions"`
	}
	patch, err := json.Marshal(struct {
		Metadata meta   `json:"metadata"`
		Status   status `json:"status"`
	}{meta{pod.UID}, status{[]corev1.PodCondition{*condition}}})
	if err != nil {
		panic(err) // strings and times always encode
	}
	return patch
}

func reference(pod *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion}
}

func sameLabels(a, b *corev1.Pod) bool { return maps.Equal(a.Labels, b.Labels) }
