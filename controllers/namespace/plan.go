package namespace

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/podstate"
)

// content is what is left of one kind in a namespace that is being deleted.
type content struct {
	// kind is nil for what no kind explains: it may be content, and nobody can delete it.
	kind *kind.Kind
	// count of the objects, and of those that nobody has asked to delete yet.
	count, fresh int
	// finalizers that hold objects back, with the number of objects that each holds.
	finalizers map[string]int
	// hidden is set while there may be objects that cannot be read: they are left, and nobody knows what they need.
	hidden error
	// grace is the longest time that objects may still take to stop.
	grace time.Duration
}

// plan is the next step of a namespace's deletion.
type plan struct {
	// Delete are the kinds whose objects are to be deleted now.
	Delete []*kind.Kind
	// Done: nothing is left, the namespace's finalizer may go.
	Done bool
	// After is when to look again if nothing is heard; 0 is never.
	After time.Duration
}

// makePlan decides on what is left. Pods go first: whatever they need (secrets, claims) stays until they have stopped.
func makePlan(left []content) plan {
	var p plan
	total, grace := 0, time.Duration(0)
	podsLeft := slices.ContainsFunc(left, func(c content) bool { return isPod(c.kind) && (c.count > 0 || c.hidden != nil) })
	for _, c := range left {
		total += c.count
		if c.hidden != nil {
			total++
		}
		grace = max(grace, c.grace)
		if c.fresh > 0 && (!podsLeft || isPod(c.kind)) {
			p.Delete = append(p.Delete, c.kind)
		}
	}
	p.Done = total == 0
	if !p.Done {
		p.After = grace/2 + time.Second
	}
	return p
}

func isPod(k *kind.Kind) bool { return k != nil && k.GVK.Group == "" && k.Plural == "pods" }

// podGrace is how long a pod may still take to stop.
func podGrace(p *corev1.Pod) time.Duration {
	if podstate.Finished(p) || p.Spec.NodeName == "" {
		return 0
	}
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if p.Spec.TerminationGracePeriodSeconds != nil {
		seconds = *p.Spec.TerminationGracePeriodSeconds
	}
	if p.DeletionGracePeriodSeconds != nil {
		seconds = *p.DeletionGracePeriodSeconds
	}
	return time.Duration(seconds) * time.Second
}

// conditions are the namespace's conditions, given what is left and what failed. Those that report trouble are there
// from the first look on, and turn False when the trouble is over.
func conditions(have []corev1.NamespaceCondition, left []content, failed error, now time.Time) []corev1.NamespaceCondition {
	next := slices.Clone(have)
	remaining, finalizers := describe(left)
	set := func(t corev1.NamespaceConditionType, reason, message string, ok bool, reasonOK, messageOK string) {
		c := corev1.NamespaceCondition{Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message}
		if ok {
			c.Status, c.Reason, c.Message = corev1.ConditionFalse, reasonOK, messageOK
		}
		next = setCondition(next, c, now)
	}
	set(corev1.NamespaceDeletionDiscoveryFailure, "DiscoveryFailed", "", true, "ResourcesDiscovered", "All resources successfully discovered")
	set(corev1.NamespaceDeletionGVParsingFailure, "GroupVersionParsingFailed", "", true, "ParsedGroupVersions", "All legacy kube types successfully parsed")
	set(corev1.NamespaceDeletionContentFailure, "ContentDeletionFailed", "Failed to delete all resource types, some remaining: "+text(failed),
		failed == nil, "ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	set(corev1.NamespaceContentRemaining, "SomeResourcesRemain", "Some resources are remaining: "+remaining,
		remaining == "", "ContentRemoved", "All content successfully removed")
	set(corev1.NamespaceFinalizersRemaining, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+finalizers,
		finalizers == "", "ContentHasNoFinalizers", "All content-preserving finalizers finished")
	return next
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func describe(left []content) (remaining, finalizers string) {
	var counts, held []string
	holders := map[string]int{}
	for _, c := range left {
		if c.kind == nil {
			counts = append(counts, c.hidden.Error())
		} else if c.count > 0 {
			counts = append(counts, fmt.Sprintf("%s has %d resource instances", resourceName(c.kind), c.count))
		}
		for f, n := range c.finalizers {
			holders[f] += n
		}
	}
	for f, n := range holders {
		held = append(held, fmt.Sprintf("%s in %d resource instances", f, n))
	}
	sort.Strings(counts)
	sort.Strings(held)
	return strings.Join(counts, ", "), strings.Join(held, ", ")
}

// resourceName is resource.group, with a dot even when the group is empty.
func resourceName(k *kind.Kind) string {
	if k == nil {
		return "objects of kinds that are not served"
	}
	return k.Plural + "." + k.GVK.Group
}

func setCondition(list []corev1.NamespaceCondition, c corev1.NamespaceCondition, now time.Time) []corev1.NamespaceCondition {
	c.LastTransitionTime = metav1.NewTime(now)
	at := slices.IndexFunc(list, func(have corev1.NamespaceCondition) bool { return have.Type == c.Type })
	if at < 0 {
		return append(list, c)
	}
	have := list[at]
	if have.Status == c.Status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	list[at] = c
	return list
}
