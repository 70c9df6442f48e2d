package deployment

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/dump"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
)

const (
	annotationRevision = "deployment.kubernetes.io/revision"
	annotationHistory  = "deployment.kubernetes.io/revision-history"
	annotationDesired  = "deployment.kubernetes.io/desired-replicas"
	annotationMax      = "deployment.kubernetes.io/max-replicas"
	annotationRollback = appsv1.DeprecatedRollbackTo
	labelHash          = appsv1.DefaultDeploymentUniqueLabelKey
	// historyLength bounds the text of annotationHistory.
	historyLength = 2000
)

// notCopied are the annotations of a Deployment that its ReplicaSets do not take over.
var notCopied = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true,
	annotationRevision:                 true, annotationHistory: true, annotationDesired: true, annotationMax: true, annotationRollback: true,
}

// revision of a ReplicaSet; 0 when it has none.
func revision(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[annotationRevision], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func intAnnotation(rs *appsv1.ReplicaSet, name string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[name], 10, 32)
	return int32(n), err == nil
}

// syncRevision gives the newest ReplicaSet the next revision and the Deployment's annotations, and the Deployment the same
// revision. If there is no newest ReplicaSet it plans to create one, when asked to.
func (p *planner) syncRevision(createMissing bool) {
	next := int64(0)
	for _, rs := range p.old {
		next = max(next, revision(rs))
	}
	next++
	if p.newest != nil {
		p.syncExisting(next)
		return
	}
	if createMissing {
		p.createNewest(next)
	}
}

func (p *planner) syncExisting(next int64) {
	changed := p.newest.DeepCopy()
	annotated := annotateRevision(changed, p.d, next)
	if annotated || changed.Spec.MinReadySeconds != p.d.Spec.MinReadySeconds {
		changed.Spec.MinReadySeconds = p.d.Spec.MinReadySeconds
		p.write(action{verb: update, set: changed})
	}
	setAnnotation(p.d, annotationRevision, p.newest.Annotations[annotationRevision])
	if hasDeadline(p.d) && condition(&p.d.Status, appsv1.DeploymentProgressing) == nil {
		p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, "FoundNewReplicaSet", fmt.Sprintf("Found new replica set %q", p.newest.Name))
	}
}

func (p *planner) createNewest(next int64) {
	hash := templateHash(&p.d.Spec.Template, p.d.Status.CollisionCount)
	template := *p.d.Spec.Template.DeepCopy()
	template.Labels = withLabel(template.Labels, hash)
	selector := p.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withLabel(selector.MatchLabels, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.d.Name + "-" + hash, Namespace: p.d.Namespace, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.d, gvk)},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(int32(0)), MinReadySeconds: p.d.Spec.MinReadySeconds, Selector: selector, Template: template},
	}
	rs.Spec.Replicas = ptr.To(p.growTo(rs))
	annotateRevision(rs, p.d, next)
	annotateSizes(rs, p.d)
	a := action{verb: create, set: rs}
	if *rs.Spec.Replicas > 0 {
		a.event = &event{corev1.EventTypeNormal, "ScalingReplicaSet", fmt.Sprintf("Scaled up replica set %s from 0 to %d", rs.Name, *rs.Spec.Replicas)}
	}
	p.plan.actions = append(p.plan.actions, a)
	p.newest = rs
	setAnnotation(p.d, annotationRevision, strconv.FormatInt(next, 10))
	if hasDeadline(p.d) {
		p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", rs.Name))
	}
}

func withLabel(labels map[string]string, hash string) map[string]string {
	with := maps.Clone(labels)
	if with == nil {
		with = map[string]string{}
	}
	with[labelHash] = hash
	return with
}

// templateHash names a ReplicaSet by its pod template, in a few letters that spell no words. collisions is how often
// the name was already taken by another template.
func templateHash(t *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%v", dump.ForHash(*t))
	if collisions != nil {
		b := make([]byte, 8)
		binary.LittleEndian.PutUint32(b, uint32(*collisions))
		h.Write(b)
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// sameTemplate compares pod templates, the hash label aside.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	return equality.Semantic.DeepEqual(withoutHash(a), withoutHash(b))
}

// withoutHash is a shallow copy without the hash label.
func withoutHash(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	if _, has := t.Labels[labelHash]; !has {
		return t
	}
	without := *t
	without.Labels = maps.Clone(t.Labels)
	delete(without.Labels, labelHash)
	return &without
}

// annotateRevision gives a ReplicaSet the Deployment's annotations and a revision that is not lower than it has; true if
// that changed anything.
func annotateRevision(rs *appsv1.ReplicaSet, d *appsv1.Deployment, next int64) bool {
	changed := false
	for k, v := range d.Annotations {
		if have, ok := rs.Annotations[k]; !notCopied[k] && (!ok || have != v) {
			changed = setAnnotation(rs, k, v) || changed
		}
	}
	before, had := rs.Annotations[annotationRevision]
	if had && before != "" && revision(rs) == 0 {
		// Someone wrote what is not a number: leave it to them.
		return changed
	}
	if revision(rs) >= next {
		return changed
	}
	if had && before != "" {
		setAnnotation(rs, annotationHistory, appendHistory(rs.Annotations[annotationHistory], before))
	}
	setAnnotation(rs, annotationRevision, strconv.FormatInt(next, 10))
	return true
}

// appendHistory keeps the latest revisions that fit.
func appendHistory(history, add string) string {
	list := append(strings.FieldsFunc(history, func(r rune) bool { return r == ',' }), add)
	for len(list) > 1 && len(strings.Join(list, ",")) > historyLength {
		list = list[1:]
	}
	return strings.Join(list, ",")
}

// annotateSizes notes what a ReplicaSet was sized for; true if that changed anything.
func annotateSizes(rs *appsv1.ReplicaSet, d *appsv1.Deployment) bool {
	desired := setAnnotation(rs, annotationDesired, strconv.Itoa(int(replicas(d))))
	return setAnnotation(rs, annotationMax, strconv.Itoa(int(replicas(d)+maxSurge(d)))) || desired
}

func setAnnotation(o metav1.Object, name, value string) bool {
	annotations := o.GetAnnotations()
	if have, ok := annotations[name]; ok && have == value {
		return false
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[name] = value
	o.SetAnnotations(annotations)
	return true
}

// rollbackRevision is the revision that the Deployment's annotation asks to go back to; 0 means the one before.
func rollbackRevision(d *appsv1.Deployment) (int64, bool) {
	v, ok := d.Annotations[annotationRollback]
	if !ok || v == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	return n, err == nil
}

// rollBack plans to give the Deployment the template of an earlier revision; the rollout follows from that.
func (p *planner) rollBack(to int64) {
	p.syncRevision(true)
	if to == 0 {
		to = previousRevision(p.all())
	}
	back := p.d.DeepCopy()
	delete(back.Annotations, annotationRollback)
	back.Status = p.deployment.Status
	told := event{corev1.EventTypeWarning, "DeploymentRollbackRevisionNotFound", "Unable to find the revision to rollback to."}
	for _, rs := range p.all() {
		if to == 0 || revision(rs) != to {
			continue
		}
		if sameTemplate(&rs.Spec.Template, &p.d.Spec.Template) {
			told = event{corev1.EventTypeWarning, "DeploymentRollbackTemplateUnchanged", fmt.Sprintf("The rollback revision contains the same template as current deployment %q", p.d.Name)}
			break
		}
		back.Spec.Template = *withoutHash(&rs.Spec.Template).DeepCopy()
		takeAnnotations(back, rs)
		told = event{corev1.EventTypeNormal, "DeploymentRollback", fmt.Sprintf("Rolled back deployment %q to revision %d", p.d.Name, to)}
		break
	}
	p.plan.actions = append(p.plan.actions, action{verb: revert, deployment: back, event: &told})
	// The status is written when the reverted Deployment is seen.
	p.d = p.deployment
}

// previousRevision is the second highest revision, 0 if there is none.
func previousRevision(sets []*appsv1.ReplicaSet) int64 {
	highest, second := int64(0), int64(0)
	for _, rs := range sets {
		switch r := revision(rs); {
		case r >= highest:
			highest, second = r, highest
		case r > second:
			second = r
		}
	}
	return second
}

// takeAnnotations gives the Deployment the annotations that its ReplicaSet has kept from that revision.
func takeAnnotations(d *appsv1.Deployment, rs *appsv1.ReplicaSet) {
	kept := map[string]string{}
	for k, v := range d.Annotations {
		if notCopied[k] {
			kept[k] = v
		}
	}
	for k, v := range rs.Annotations {
		if !notCopied[k] {
			kept[k] = v
		}
	}
	d.Annotations = kept
}
