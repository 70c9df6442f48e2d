package deployment

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// noLimit is what a limit of a Deployment says when it is off.
const noLimit = math.MaxInt32

func replicas(d *appsv1.Deployment) int32 { return ptr.Deref(d.Spec.Replicas, 1) }

// active are the ReplicaSets that ask for pods.
func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var found []*appsv1.ReplicaSet
	for _, rs := range sets {
		if *rs.Spec.Replicas > 0 {
			found = append(found, rs)
		}
	}
	return found
}

// total is how many pods ReplicaSets ask for.
func total(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += *rs.Spec.Replicas
	}
	return n
}

// running is how many pods ReplicaSets have.
func running(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += rs.Status.Replicas
	}
	return n
}

func available(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += rs.Status.AvailableReplicas
	}
	return n
}

// observed tells that a ReplicaSet's status was counted for the size that it has now.
func observed(rs *appsv1.ReplicaSet) bool { return rs.Status.ObservedGeneration >= rs.Generation }

// sure is how many available pods a ReplicaSet is sure to keep. A status may still count pods that its size no longer asks for;
// and one that was counted for another size tells nothing: pods may be on their way out because of a size in between.
func sure(rs *appsv1.ReplicaSet) int32 {
	if !observed(rs) {
		return 0
	}
	return min(rs.Status.AvailableReplicas, *rs.Spec.Replicas)
}

// most is how many pods a ReplicaSet may have: as many as it asks for, or those that its status still counts because they have not
// been taken away yet. It is not known while the status was counted for another size: pods of a larger one may be on their way.
// Pods that nobody will take away, because the ReplicaSet is going itself, its deletions fail or its controller has not looked at it
// for long, hold nothing up.
func (p *planner) most(rs *appsv1.ReplicaSet) (n int32, known bool) {
	size := *rs.Spec.Replicas
	switch {
	case rs.DeletionTimestamp != nil, observed(rs) && fails(rs):
		return size, true
	case observed(rs):
		return max(size, rs.Status.Replicas), true
	}
	return size, rs.Generation <= 1 || p.heard(rs) // the first: it never had another size
}

// fails tells that a ReplicaSet could not make or remove pods when it last tried.
func fails(rs *appsv1.ReplicaSet) bool {
	return slices.ContainsFunc(rs.Status.Conditions, func(c appsv1.ReplicaSetCondition) bool {
		return c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue
	})
}

// byAge orders the older first.
func byAge(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

func byRevision(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revision(a), revision(b)) }

// bounds are maxSurge and maxUnavailable in pods. Not both are zero: else a rollout could not move.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	r := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || r == nil {
		return 0, 0
	}
	count := func(v *intstr.IntOrString, roundUp bool) int32 {
		n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), int(replicas(d)), roundUp)
		if err != nil {
			return 0
		}
		return int32(n)
	}
	surge, unavailable = count(r.MaxSurge, true), count(r.MaxUnavailable, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func maxSurge(d *appsv1.Deployment) int32 {
	surge, _ := bounds(d)
	return surge
}

func maxUnavailable(d *appsv1.Deployment) int32 {
	_, unavailable := bounds(d)
	return min(unavailable, replicas(d))
}

// growTo is the size that the newest ReplicaSet may have now, given the others: pods that are still to go count, as maxSurge
// promises, and a ReplicaSet of which that is not known is waited for, but not for ever.
func (p *planner) growTo(newest *appsv1.ReplicaSet) int32 {
	if p.d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return replicas(p.d)
	}
	size := *newest.Spec.Replicas
	room := replicas(p.d) + maxSurge(p.d)
	for _, rs := range p.old {
		n, known := p.most(rs)
		if !known {
			return size
		}
		room -= n
	}
	return max(size, min(room, replicas(p.d)))
}

// scale sizes the ReplicaSets after spec.replicas changed, or while the Deployment is paused. With one ReplicaSet that
// has pods it gets them all; in the middle of a rollout all share the change in proportion to their size.
func (p *planner) scale() {
	if only := p.activeOrLatest(); only != nil {
		// Even if it has the size, its annotations must say so: else the Deployment would look scaled for ever.
		p.size(only, replicas(p.d))
		return
	}
	if p.saturated() {
		for _, rs := range active(p.old) {
			p.resize(rs, 0)
		}
		return
	}
	if p.d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		p.scaleInProportion()
	}
}

// activeOrLatest is the only ReplicaSet with pods, or, when none has any, the newest; nil if several have pods.
func (p *planner) activeOrLatest() *appsv1.ReplicaSet {
	switch have := active(p.all()); {
	case len(have) == 1:
		return have[0]
	case len(have) > 1:
		return nil
	case p.newest != nil:
		return p.newest
	case len(p.old) > 0:
		return p.old[len(p.old)-1]
	}
	return nil
}

// saturated tells that the newest ReplicaSet has all pods that are wanted, available.
func (p *planner) saturated() bool {
	if p.newest == nil {
		return false
	}
	desired, ok := intAnnotation(p.newest, annotationDesired)
	return ok && desired == replicas(p.d) && *p.newest.Spec.Replicas == replicas(p.d) && sure(p.newest) == replicas(p.d)
}

func (p *planner) scaleInProportion() {
	sets := active(p.all())
	allowed := int32(0)
	if replicas(p.d) > 0 {
		allowed = replicas(p.d) + maxSurge(p.d)
	}
	add := allowed - total(sets)
	// The largest comes first and takes what rounding leaves over; of equal ones, the newer when growing.
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		bySize := cmp.Compare(*b.Spec.Replicas, *a.Spec.Replicas)
		if add > 0 {
			return cmp.Or(bySize, byAge(b, a))
		}
		return cmp.Or(bySize, byAge(a, b))
	})
	sizes := make([]int32, len(sets))
	added := int32(0)
	for i, rs := range sets {
		share := p.share(rs, add, added)
		sizes[i] = *rs.Spec.Replicas + share
		added += share
	}
	if len(sets) > 0 {
		sizes[0] = max(0, sizes[0]+add-added)
	}
	if add > 0 && !p.mayHave(allowed, sets, sizes) {
		return // until the pods that are to go have gone
	}
	for i, rs := range sets {
		p.size(rs, sizes[i])
	}
}

// mayHave tells that no more pods than a limit can exist once these ReplicaSets have these sizes, and all others that they have.
func (p *planner) mayHave(limit int32, sets []*appsv1.ReplicaSet, sizes []int32) bool {
	for _, rs := range p.all() {
		n, known := p.most(rs)
		if at := slices.Index(sets, rs); at >= 0 {
			n = max(n, sizes[at])
		}
		if limit -= n; !known || limit < 0 {
			return false
		}
	}
	return true
}

// share is a ReplicaSet's part of the pods to add (or, negative, to remove), of which some have been given out.
func (p *planner) share(rs *appsv1.ReplicaSet, add, added int32) int32 {
	if add == 0 || add == added {
		return 0
	}
	part := p.fraction(rs)
	if add > 0 {
		return min(part, add-added)
	}
	return max(part, add-added)
}

// fraction is by how much a ReplicaSet's size would change if it changed as the whole Deployment does.
func (p *planner) fraction(rs *appsv1.ReplicaSet) int32 {
	size := *rs.Spec.Replicas
	if replicas(p.d) == 0 {
		return -size
	}
	before, ok := intAnnotation(rs, annotationMax)
	if !ok || before == 0 {
		// Without the annotation the best guess is what there is.
		before = p.d.Status.Replicas
	}
	if before == 0 {
		return 0
	}
	after := float64(size) * float64(replicas(p.d)+maxSurge(p.d)) / float64(before)
	return int32(math.Round(after)) - size
}
