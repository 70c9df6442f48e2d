// Package ownership decides which objects a workload controls: those that name it as their controller and still match
// its selector, those without a controller that match (adopted), and those that no longer match (released).
package ownership

import (
	"context"
	"encoding/json"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// Claim is the decision about a workload's objects.
type Claim[T kind.Object] struct {
	// Owned are controlled already.
	Owned []T
	// Adopt match, and have no controller yet.
	Adopt []T
	// Release are controlled but no longer match.
	Release []T
}

// Decide sorts candidates for an owner. A workload that is being deleted neither adopts nor releases.
func Decide[T kind.Object](owner kind.Object, selector labels.Selector, candidates []T) Claim[T] {
	var c Claim[T]
	deleting := owner.GetDeletionTimestamp() != nil
	for _, o := range candidates {
		ref := metav1.GetControllerOfNoCopy(o)
		matches := selector.Matches(labels.Set(o.GetLabels()))
		switch {
		case ref != nil && ref.UID != owner.GetUID():
		case ref != nil && matches:
			c.Owned = append(c.Owned, o)
		case ref != nil && !deleting:
			c.Release = append(c.Release, o)
		case ref == nil && matches && !deleting && o.GetDeletionTimestamp() == nil && o.GetNamespace() == owner.GetNamespace():
			c.Adopt = append(c.Adopt, o)
		}
	}
	return c
}

// AdoptAndRelease adopts and releases, and returns all objects that the owner controls afterwards. fresh reads the owner from
// the server: nobody adopts in the name of an owner that is gone or going.
func (c Claim[T]) AdoptAndRelease(ctx context.Context, objects client.Client[T], owner kind.Object, gvk schema.GroupVersionKind, fresh func(context.Context) (kind.Object, error)) ([]T, error) {
	if len(c.Adopt) > 0 {
		now, err := fresh(ctx)
		if apierrors.IsNotFound(err) || err == nil && (now.GetUID() != owner.GetUID() || now.GetDeletionTimestamp() != nil) {
			c.Adopt = nil
		} else if err != nil {
			return nil, err
		}
	}
	owned := c.Owned
	for _, o := range c.Adopt {
		adopted, err := objects.Patch(ctx, o.GetNamespace(), o.GetName(), types.StrategicMergePatchType, adoption(o, owner, gvk))
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		owned = append(owned, adopted)
	}
	for _, o := range c.Release {
		_, err := objects.Patch(ctx, o.GetNamespace(), o.GetName(), types.StrategicMergePatchType, WithoutOwners(o.GetUID(), owner.GetUID()))
		// Invalid: the object's own owner references had become unacceptable, or its UID is another now.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) && !apierrors.IsConflict(err) {
			return nil, err
		}
	}
	return owned, nil
}

// Names tells whether a reference is to an owner of the kind: of that group and version, too. There may be other kinds of the
// same name.
func Names(ref *metav1.OwnerReference, gvk schema.GroupVersionKind) bool {
	return ref != nil && ref.Kind == gvk.Kind && ref.APIVersion == gvk.GroupVersion().String()
}

func adoption(o, owner kind.Object, gvk schema.GroupVersionKind) []byte {
	return mustMarshal(map[string]any{"metadata": map[string]any{
		"uid": o.GetUID(), "ownerReferences": []metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)},
	}})
}

// WithoutOwners is the strategic merge patch that takes owners off the object that has the uid.
func WithoutOwners(uid types.UID, owners ...types.UID) []byte {
	gone := make([]map[string]any, len(owners))
	for i, owner := range owners {
		gone[i] = map[string]any{"$patch": "delete", "uid": owner}
	}
	return mustMarshal(map[string]any{"metadata": map[string]any{"uid": uid, "ownerReferences": gone}})
}

// mustMarshal is for values that are made of maps and strings.
func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// Orphans remembers which objects of a kind have no controller, so that a workload that looks for some to adopt need
// not look at every object of its namespace. Feed it all deltas of the kind.
type Orphans struct {
	mu     sync.Mutex
	byName map[string]map[string]struct{} // namespace, name; guarded by mu
}

// Note takes a change in.
func (o *Orphans) Note(d client.Delta) {
	was := d.Old != nil && metav1.GetControllerOfNoCopy(d.Old) == nil
	is := d.New != nil && metav1.GetControllerOfNoCopy(d.New) == nil
	if was == is {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if is {
		if o.byName == nil {
			o.byName = map[string]map[string]struct{}{}
		}
		if o.byName[d.New.GetNamespace()] == nil {
			o.byName[d.New.GetNamespace()] = map[string]struct{}{}
		}
		o.byName[d.New.GetNamespace()][d.New.GetName()] = struct{}{}
		return
	}
	in := o.byName[d.Old.GetNamespace()]
	delete(in, d.Old.GetName())
	if len(in) == 0 {
		delete(o.byName, d.Old.GetNamespace())
	}
}

// In lists the names of a namespace's orphans.
func (o *Orphans) In(namespace string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	names := make([]string, 0, len(o.byName[namespace]))
	for name := range o.byName[namespace] {
		names = append(names, name)
	}
	return names
}

// Candidates are the objects that an owner controls or might adopt: those that it owns, and the namespace's orphans.
func Candidates[T kind.Object](live client.Live[T], orphans *Orphans, owner kind.Object) []T {
	var found []T
	for o := range live.OwnedBy(owner.GetUID()) {
		found = append(found, o)
	}
	for _, name := range orphans.In(owner.GetNamespace()) {
		o, ok := live.Get(owner.GetNamespace(), name)
		if ok && metav1.GetControllerOfNoCopy(o) == nil {
			found = append(found, o)
		}
	}
	return dedupe(found)
}

// dedupe drops what was found twice: an object may name the owner without being controlled by it.
func dedupe[T kind.Object](list []T) []T {
	seen := make(map[types.UID]struct{}, len(list))
	unique := list[:0]
	for _, o := range list {
		if _, twice := seen[o.GetUID()]; !twice {
			seen[o.GetUID()] = struct{}{}
			unique = append(unique, o)
		}
	}
	return unique
}

// Matches tells whether a label selector that selects something matches labels; a selector that cannot be parsed, or
// that is empty, matches nothing. It is fast for labels that do not match.
func Matches(selector *metav1.LabelSelector, set map[string]string) bool {
	if selector == nil || len(selector.MatchLabels) == 0 && len(selector.MatchExpressions) == 0 {
		return false
	}
	for k, v := range selector.MatchLabels {
		if have, ok := set[k]; !ok || have != v {
			return false
		}
	}
	if len(selector.MatchExpressions) == 0 {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(set))
}
