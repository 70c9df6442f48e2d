package deployment

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"
)

// world is what a plan is made from: a Deployment, the ReplicaSets that it controls, and what their pods do.
type world struct {
	deployment *appsv1.Deployment
	sets       []*appsv1.ReplicaSet
	// oldPods tells whether pods of another ReplicaSet than newest exist that have not finished.
	oldPods func(newest *appsv1.ReplicaSet) bool
	// availablePods counts the pods of a ReplicaSet that are available now.
	availablePods func(*appsv1.ReplicaSet) int32
	// silent is how long a ReplicaSet has not said that it knows its size.
	silent func(*appsv1.ReplicaSet) time.Duration
	now    time.Time
}

// verb is what an action does.
type verb string

const (
	create verb = "create" // a ReplicaSet
	update verb = "update" // a ReplicaSet
	remove verb = "delete" // a ReplicaSet
	revert verb = "revert" // the Deployment's own template, to an earlier revision
)

// action is one write, and the event that tells of it when it succeeded.
type action struct {
	verb       verb
	set        *appsv1.ReplicaSet
	deployment *appsv1.Deployment
	event      *event
}

type event struct{ kind, reason, message string }

// plan is what is to be done for a Deployment, in order.
type plan struct {
	actions []action
	// events are told whatever happens.
	events []event
	// deployment has the new status and revision, nil if they are as they should be. It is written last.
	deployment *appsv1.Deployment
	// after is when to look again though nothing changed; 0 is never.
	after time.Duration
}

// planner builds a plan. Its fields show the world as it will be when the plan's actions have been carried out.
type planner struct {
	world
	plan plan
	d    *appsv1.Deployment
	// newest is the ReplicaSet with the Deployment's template, nil if there is none. old are all others.
	newest *appsv1.ReplicaSet
	old    []*appsv1.ReplicaSet
}

// makePlan decides what a Deployment needs next.
func makePlan(w world) plan {
	p := &planner{world: w, d: w.deployment.DeepCopy()}
	p.run()
	if !equality.Semantic.DeepEqual(p.d.Status, w.deployment.Status) || !equality.Semantic.DeepEqual(p.d.Annotations, w.deployment.Annotations) {
		p.plan.deployment = p.d
	}
	return p.plan
}

func (p *planner) run() {
	if selectsAll(p.d) {
		p.tell(corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		p.d.Status.ObservedGeneration = p.d.Generation
		return
	}
	p.sortSets()
	if p.d.DeletionTimestamp != nil {
		p.syncRevision(false)
		p.finishStatus()
		return
	}
	p.notePause()
	if revision, asked := rollbackRevision(p.d); asked && !p.d.Spec.Paused {
		p.rollBack(revision)
		return
	}
	if p.d.Spec.Paused || p.scaled() {
		p.syncRevision(false)
		p.scale()
		if _, asked := rollbackRevision(p.d); p.d.Spec.Paused && !asked {
			p.cleanUp()
		}
		p.finishStatus()
		return
	}
	if p.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		p.recreate()
	} else {
		p.roll()
	}
	p.finishRollout()
}

func selectsAll(d *appsv1.Deployment) bool {
	s := d.Spec.Selector
	return s != nil && len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}

// sortSets splits the ReplicaSets into the newest and the old ones, each oldest first.
func (p *planner) sortSets() {
	sets := slices.Clone(p.sets)
	slices.SortFunc(sets, byAge)
	for _, rs := range sets {
		if p.newest == nil && sameTemplate(&rs.Spec.Template, &p.d.Spec.Template) {
			p.newest = rs
		} else {
			p.old = append(p.old, rs)
		}
	}
}

func (p *planner) all() []*appsv1.ReplicaSet {
	if p.newest == nil {
		return p.old
	}
	return append(slices.Clone(p.old), p.newest)
}

func (p *planner) tell(kind, reason, message string) {
	p.plan.events = append(p.plan.events, event{kind, reason, message})
}

// scaled tells that someone changed spec.replicas since the ReplicaSets were last sized.
func (p *planner) scaled() bool {
	for _, rs := range active(p.all()) {
		if desired, ok := intAnnotation(rs, annotationDesired); ok && desired != replicas(p.d) {
			return true
		}
	}
	return false
}

// roll moves pods from the old ReplicaSets to the newest within the bounds of maxSurge and maxUnavailable, one step.
func (p *planner) roll() {
	p.syncRevision(true)
	if p.growNewest() || p.shrinkOld() {
		return
	}
	if complete(p.d, &p.d.Status) {
		p.cleanUp()
	}
}

// growNewest sizes the newest ReplicaSet; true if it changed.
func (p *planner) growNewest() bool {
	size := *p.newest.Spec.Replicas
	want := replicas(p.d)
	switch {
	case size == want:
		return false
	case size < want:
		want = p.growTo(p.newest)
	}
	return p.resize(p.newest, want)
}

// shrinkOld takes pods from the old ReplicaSets, unhealthy ones first; true if anything changed. Each step counts on no more
// than what is sure to be left of the pods that are available, so that none takes what an earlier one has taken already: statuses
// lag behind sizes.
func (p *planner) shrinkOld() bool {
	old := active(p.old)
	if total(old) == 0 {
		return false
	}
	minAvailable := replicas(p.d) - maxUnavailable(p.d)
	newestUnavailable := *p.newest.Spec.Replicas - sure(p.newest)
	spare := total(p.all()) - minAvailable - newestUnavailable
	if spare <= 0 {
		return false
	}
	removed := int32(0)
	for _, rs := range old {
		if removed >= spare {
			break
		}
		if n := min(spare-removed, p.unhealthy(rs)); n > 0 {
			p.resize(rs, *rs.Spec.Replicas-n)
			removed += n
		}
	}
	spare = -minAvailable
	for _, rs := range p.all() {
		spare += sure(rs)
	}
	for _, rs := range active(p.old) {
		if spare <= 0 {
			break
		}
		n := min(*rs.Spec.Replicas, spare)
		p.resize(rs, *rs.Spec.Replicas-n)
		spare -= n
		removed += n
	}
	return removed > 0
}

// unhealthy is how many pods of a ReplicaSet are not available, and so can go without being missed. Its status may not tell
// yet of pods that have just become available: the pods themselves are asked.
func (p *planner) unhealthy(rs *appsv1.ReplicaSet) int32 {
	if !observed(rs) || sure(rs) >= *rs.Spec.Replicas {
		return 0
	}
	return *rs.Spec.Replicas - max(sure(rs), p.availablePods(rs))
}

// recreate lets all old pods go before the first new one is made.
func (p *planner) recreate() {
	p.syncRevision(false)
	if old := active(p.old); len(old) > 0 {
		for _, rs := range old {
			p.resize(rs, 0)
		}
		return
	}
	if running(p.old) > 0 || p.oldPods(p.newest) || slices.ContainsFunc(p.old, p.stillMaking) {
		return
	}
	p.syncRevision(true)
	p.resize(p.newest, replicas(p.d))
	if complete(p.d, &p.d.Status) {
		p.cleanUp()
	}
}

// stillMaking tells that pods of a ReplicaSet may be on their way that nobody sees yet: it was sized for none, but has not said since
// that it knows, and may still say it.
func (p *planner) stillMaking(rs *appsv1.ReplicaSet) bool {
	return rs.DeletionTimestamp == nil && !p.heard(rs)
}

// resize plans that a ReplicaSet gets a size, if it has another; true if it has.
func (p *planner) resize(rs *appsv1.ReplicaSet, size int32) bool {
	if *rs.Spec.Replicas == size {
		return false
	}
	p.size(rs, size)
	return true
}

// size plans that a ReplicaSet gets a size and the annotations that tell what it was sized for.
func (p *planner) size(rs *appsv1.ReplicaSet, size int32) {
	before := *rs.Spec.Replicas
	changed := rs.DeepCopy()
	changed.Spec.Replicas = ptr.To(size)
	annotated := annotateSizes(changed, p.d)
	if before == size && !annotated {
		return
	}
	a := action{verb: update, set: changed}
	if before != size {
		direction := "up"
		if size < before {
			direction = "down"
		}
		a.event = &event{corev1.EventTypeNormal, "ScalingReplicaSet", fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, rs.Name, before, size)}
	}
	p.write(a)
}

// write adds the action on a ReplicaSet to the plan, in place of an earlier update of the same one, and shows its
// result to the rest of the plan.
func (p *planner) write(a action) {
	merged := false
	for i := range p.plan.actions {
		before := &p.plan.actions[i]
		if before.set == nil || before.set.Name != a.set.Name || a.verb != update {
			continue
		}
		before.set = a.set
		if a.event != nil {
			if before.event != nil {
				p.plan.events = append(p.plan.events, *before.event)
			}
			before.event = a.event
		}
		merged = true
	}
	if !merged {
		p.plan.actions = append(p.plan.actions, a)
	}
	if p.newest != nil && p.newest.Name == a.set.Name {
		p.newest = a.set
	}
	for i, rs := range p.old {
		if rs.Name == a.set.Name {
			p.old[i] = a.set
		}
	}
}

// cleanUp plans to delete old ReplicaSets beyond the revision history limit, lowest revision first.
func (p *planner) cleanUp() {
	limit := p.d.Spec.RevisionHistoryLimit
	if limit == nil || *limit == noLimit {
		return
	}
	var candidates []*appsv1.ReplicaSet
	for _, rs := range p.old {
		if rs.DeletionTimestamp == nil {
			candidates = append(candidates, rs)
		}
	}
	surplus := len(candidates) - int(*limit)
	if surplus <= 0 {
		return
	}
	slices.SortStableFunc(candidates, byRevision)
	for _, rs := range candidates[:surplus] {
		if rs.Status.Replicas == 0 && *rs.Spec.Replicas == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			p.plan.actions = append(p.plan.actions, action{verb: remove, set: rs})
		}
	}
}
