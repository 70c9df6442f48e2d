// Package garbage deletes objects whose owners are gone, and carries out foreground and orphaning deletions.
//
// The live views of all kinds, with their index by owner, are the graph of owners; none is kept here. A change is
// looked at only if it can call for something: an object that went away and had dependents, one that began to be
// deleted with a finalizer that concerns dependents, one that names an owner that is not there.
package garbage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/ownership"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// absentLimit bounds the owners that are remembered to be gone for good.
const absentLimit = 4096

// recheckUnknown is when an object is judged again whose owner is of a kind that the server does not know.
const recheckUnknown = 5 * time.Minute

var errUnknownKind = errors.New("the server does not know the owner's kind")

type controller struct {
	transport client.Transport
	// kinds are all that the server keeps. The watched ones may have owners; any may be one.
	kinds  *reconcile.Views
	events *client.Recorder

	mu sync.Mutex
	// absent are owners that the server has proven to be gone. Where a uid was seen to be gone it never comes back, but who made
	// the reference may have invented the place: only the same reference from the same place is answered from memory.
	absent map[coordinates]struct{} // guarded by mu
}

// coordinates say which owner a reference means: all that it says, and where the owner would have to be.
type coordinates struct {
	apiVersion, kind, namespace, name string
	uid                               types.UID
}

// Options of the controller, with the meaning of kube-controller-manager's flags.
type Options struct {
	ConcurrentSyncs int
	Enabled         bool
}

// AddFlags adds the flags, and sets the defaults: upstream's, but for more workers.
func (o *Options) AddFlags(s *pflag.FlagSet) {
	s.IntVar(&o.ConcurrentSyncs, "concurrent-gc-syncs", 64, "Objects that the garbage collector works on at once.")
	s.BoolVar(&o.Enabled, "enable-garbage-collector", true, "Delete dependents of deleted objects.")
}

// New declares the garbage collector.
func New(b *reconcile.Builder) *reconcile.Controller {
	o := reconcile.Option[Options](b)
	if !o.Enabled {
		return nil
	}
	c := &controller{transport: b.Transport(), events: b.Events, absent: map[coordinates]struct{}{}}
	stored := reconcile.Matching{What: "all that is stored", Has: (*kind.Kind).Stored}
	c.kinds = reconcile.WatchKinds(b, stored, c.keysOf, reconcile.Writes(kind.Patch, kind.Update, kind.Delete))
	c.kinds.OnShift(c.shifted)
	return &reconcile.Controller{
		Workers: o.ConcurrentSyncs, Pace: reconcile.Pace{Burst: 5, Interval: 20 * time.Millisecond}, Reconcile: c.reconcile,
	}
}

// keysOf watches what can be collected.
func (c *controller) keysOf(k *kind.Kind) reconcile.Keys {
	if !k.Serves("delete") || k.Plural == "events" {
		return nil
	}
	return func(d client.Delta, enqueue func(reconcile.Key)) { c.changed(k, d, enqueue) }
}

func keyOf(k *kind.Kind, o metav1.Object) reconcile.Key {
	return reconcile.Key{Kind: k, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}
}

// changed finds what a change calls for.
func (c *controller) changed(k *kind.Kind, d client.Delta, enqueue func(reconcile.Key)) {
	kinds := c.kinds.Now()
	if d.Old != nil && (d.New == nil || d.New.GetUID() != d.Old.GetUID()) {
		eachDependent(kinds, d.Old.GetUID(), func(k *kind.Kind, o kind.Object) bool {
			enqueue(keyOf(k, o))
			return true
		})
		wakeWaitingOwners(kinds, d.Old, enqueue)
	}
	if d.New == nil {
		return
	}
	if holds(d.New) {
		enqueue(keyOf(k, d.New))
	}
	if d.Old != nil && unblocks(d.Old, d.New) {
		wakeWaitingOwners(kinds, d.Old, enqueue)
	}
	if slices.ContainsFunc(d.New.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return calls(kinds, d.New, ref) }) {
		enqueue(keyOf(k, d.New))
	}
}

// shifted looks for what no change of an object will tell of, now that a kind has gone or one that came late is seen whole. Owners
// that wait may wait for objects of that kind, which nobody followed meanwhile. And what names an owner of the late kind was
// judged when nobody knew whether that owner exists, or not at all when it went meanwhile.
func (c *controller) shifted(late *reconcile.KindView, enqueue func(reconcile.Key)) {
	kinds := c.kinds.Now()
	for _, k := range kinds.All() {
		if k.Keys == nil {
			continue
		}
		for o := range k.All("") {
			if holds(o) || late != nil && lacksOwner(kinds, o, late) {
				enqueue(keyOf(k.Kind, o))
			}
		}
	}
}

// holds tells that an object is being deleted and waits for this controller.
func holds(o metav1.Object) bool {
	return o.GetDeletionTimestamp() != nil && (hasFinalizer(o, metav1.FinalizerOrphanDependents) || hasFinalizer(o, metav1.FinalizerDeleteDependents))
}

// lacksOwner tells that an object names an owner of a kind that is not there, or is going.
func lacksOwner(kinds *reconcile.Moment, o metav1.Object, k *reconcile.KindView) bool {
	return slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
		return kindOf(kinds, ref) == k && calls(kinds, o, ref)
	})
}

// calls tells that an owner that a reference names is not to be seen, or waits for its dependents to go.
func calls(kinds *reconcile.Moment, o metav1.Object, ref metav1.OwnerReference) bool {
	_, owner, exists := seen(kinds, o, ref)
	return !exists || stateOf(owner) == waiting
}

// unblocks tells that a change lets an owner go that had to wait for the object.
func unblocks(old, next metav1.Object) bool {
	still := map[types.UID]bool{}
	for _, ref := range next.GetOwnerReferences() {
		still[ref.UID] = still[ref.UID] || blocks(ref)
	}
	return slices.ContainsFunc(old.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return blocks(ref) && !still[ref.UID] })
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

// wakeWaitingOwners looks again at owners that may have waited for a dependent that went.
func wakeWaitingOwners(kinds *reconcile.Moment, o kind.Object, enqueue func(reconcile.Key)) {
	for _, ref := range o.GetOwnerReferences() {
		if k, owner, exists := seen(kinds, o, ref); exists && stateOf(owner) == waiting {
			enqueue(keyOf(k, owner))
		}
	}
}

// reconcile judges what a key stands for by one moment, and by one state of the object, on which all that is written is conditional: what
// is seen of it or of the kinds later belongs to the next run.
func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	kinds := c.kinds.Now()
	k := kinds.Of(key.Kind)
	if k == nil { // it has gone
		return reconcile.Result{}, nil
	}
	o, ok := k.Get(key.Namespace, key.Name)
	if !ok || o.GetUID() != key.UID {
		return reconcile.Result{}, nil
	}
	var owners []ownerState
	if o.GetDeletionTimestamp() == nil {
		for _, ref := range o.GetOwnerReferences() {
			state, err := c.look(ctx, kinds, o, ref)
			if errors.Is(err, errUnknownKind) {
				// Nobody knows what it names; its kind may be added one day.
				return reconcile.Result{After: recheckUnknown}, nil
			}
			if err != nil {
				return reconcile.Result{}, err
			}
			owners = append(owners, state)
		}
	}
	var unseen error
	dependents := func() (found []dependent) {
		found, unseen = allDependents(kinds, o)
		return found
	}
	p := makePlan(o, owners, dependents)
	if (p.verb == release || p.verb == orphan) && c.transport.Applied() < client.Revision(o) {
		if err := c.catchUp(ctx, kinds); err != nil {
			return reconcile.Result{}, err
		}
		p = makePlan(o, owners, dependents)
	}
	switch {
	case unseen != nil && p.verb == release:
		return reconcile.Result{}, unseen
	case unseen != nil && p.verb == remove: // it may have dependents, which its own owner waits for
		p.policy = metav1.DeletePropagationForeground
	}
	err := c.act(ctx, kinds, key, o, p)
	if client.FoundFree(err, key.Kind, key.Name) { // not if it is the kind that was not found
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, err
}

// look finds the state of an owner. That it is absent, or that it waits for its dependents to go, is only believed when the server has
// proven it: both have the object deleted, and a view may show an owner that has long been told to leave its dependents alone.
func (c *controller) look(ctx context.Context, kinds *reconcile.Moment, o kind.Object, ref metav1.OwnerReference) (ownerState, error) {
	if _, owner, exists := seen(kinds, o, ref); exists && stateOf(owner) == solid {
		return solid, nil
	}
	k := kindOf(kinds, ref)
	if k == nil {
		return solid, errUnknownKind
	}
	if k.Kind.Namespaced && o.GetNamespace() == "" {
		c.events.Eventf(o, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", "ownerRef %s %s with uid %s is namespaced and cannot own a cluster-scoped object", ref.Kind, ref.Name, ref.UID)
		return invalid, nil
	}
	namespace := ownerNamespace(k.Kind, o)
	at := coordinates{ref.APIVersion, ref.Kind, namespace, ref.Name, ref.UID}
	if c.isAbsent(at) && k.Whole(namespace) == nil {
		return absent, nil
	}
	found := client.Look(ctx, c.transport, k.Kind, namespace, ref.Name, ref.UID)
	gone, err := found.Gone()
	switch {
	case err != nil:
		return solid, err
	case gone:
		c.noteAbsent(at)
		return absent, nil
	}
	return stateOf(found.Object), nil
}

func (c *controller) isAbsent(at coordinates) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.absent[at]
	return ok
}

func (c *controller) noteAbsent(at coordinates) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.absent) >= absentLimit {
		clear(c.absent)
	}
	c.absent[at] = struct{}{}
}

func (c *controller) act(ctx context.Context, kinds *reconcile.Moment, key reconcile.Key, o kind.Object, p plan) error {
	switch p.verb {
	case keep:
		return c.dropOwners(ctx, key, o, p.drop...)
	case unblock:
		unblocked, err := c.unblock(ctx, key, o)
		if err != nil {
			return err
		}
		return c.delete(ctx, key, unblocked, metav1.DeletePropagationForeground)
	case remove:
		return c.delete(ctx, key, o, p.policy)
	case release:
		return c.dropFinalizer(ctx, key, o, metav1.FinalizerDeleteDependents)
	case await:
		return c.deleteDependents(ctx, kinds, o)
	case orphan:
		return c.orphanDependents(ctx, kinds, key, o)
	}
	return nil
}

// patch returns what the object is afterwards.
func (c *controller) patch(ctx context.Context, key reconcile.Key, t types.PatchType, patch []byte) (kind.Object, error) {
	answer, err := c.transport.Do(ctx, client.Request{Verb: kind.Patch, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name, PatchType: t, Patch: patch})
	o, _ := answer.(kind.Object)
	return o, err
}

// dropOwners takes owners off an object.
func (c *controller) dropOwners(ctx context.Context, key reconcile.Key, o kind.Object, owners ...types.UID) error {
	var err error
	if key.Kind.Form == kind.Tree {
		left := slices.DeleteFunc(slices.Clone(o.GetOwnerReferences()), func(ref metav1.OwnerReference) bool { return slices.Contains(owners, ref.UID) })
		_, err = c.patch(ctx, key, types.MergePatchType, withOwners(o, left))
	} else {
		_, err = c.patch(ctx, key, types.StrategicMergePatchType, ownership.WithoutOwners(o.GetUID(), owners...))
	}
	return err
}

// unblock lets every owner go before the object, if that is unchanged, and returns what it is afterwards.
func (c *controller) unblock(ctx context.Context, key reconcile.Key, o kind.Object) (kind.Object, error) {
	refs := slices.Clone(o.GetOwnerReferences())
	for n := range refs {
		if blocks(refs[n]) {
			refs[n].BlockOwnerDeletion = new(bool)
		}
	}
	return c.patch(ctx, key, types.MergePatchType, withOwners(o, refs))
}

// withOwners is the merge patch that gives an object these owners, if it is unchanged. Trees take no strategic one, which could name single ones.
func withOwners(o kind.Object, refs []metav1.OwnerReference) []byte {
	if refs == nil {
		refs = []metav1.OwnerReference{} // null would be no list
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": o.GetUID(), "resourceVersion": o.GetResourceVersion(), "ownerReferences": refs}})
	if err != nil {
		panic(err) // made of strings and booleans
	}
	return patch
}

// delete removes what the key names, if it is what it was when it was judged, or made so.
func (c *controller) delete(ctx context.Context, key reconcile.Key, o kind.Object, policy metav1.DeletionPropagation) error {
	if o == nil {
		return fmt.Errorf("nothing is known of %s after it was changed", key)
	}
	uid, revision := key.UID, o.GetResourceVersion()
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &revision}, PropagationPolicy: &policy}
	_, err := c.transport.Do(ctx, client.Request{Verb: kind.Delete, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name, Delete: options})
	return err
}

// dropFinalizer takes one finalizer off, of the very state that was judged.
func (c *controller) dropFinalizer(ctx context.Context, key reconcile.Key, o kind.Object, finalizer string) error {
	left := []string{}
	for _, f := range o.GetFinalizers() {
		if f != finalizer {
			left = append(left, f)
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": o.GetUID(), "resourceVersion": o.GetResourceVersion(), "finalizers": left}})
	if err != nil {
		return err
	}
	_, err = c.patch(ctx, key, types.MergePatchType, patch)
	return err
}

// deleteDependents judges each dependent of an owner that waits for them. Later changes of the dependents wake the
// owner again; dependents that are themselves waiting are left to their own turn.
func (c *controller) deleteDependents(ctx context.Context, kinds *reconcile.Moment, owner kind.Object) error {
	var children []reconcile.Key
	eachHeld(kinds, owner, func(k *kind.Kind, o kind.Object) {
		if o.GetDeletionTimestamp() == nil {
			children = append(children, keyOf(k, o))
		}
	})
	_, err := reconcile.Batch(ctx, len(children), func(ctx context.Context, i int) error {
		_, err := c.reconcile(ctx, children[i])
		if apierrors.IsConflict(err) {
			return nil
		}
		return err
	})
	return err
}

func (c *controller) orphanDependents(ctx context.Context, kinds *reconcile.Moment, key reconcile.Key, owner kind.Object) error {
	if err := whole(kinds, owner.GetNamespace()); err != nil {
		return err
	}
	type child struct {
		key    reconcile.Key
		object kind.Object
	}
	var children []child
	eachHeld(kinds, owner, func(k *kind.Kind, o kind.Object) { children = append(children, child{keyOf(k, o), o}) })
	_, err := reconcile.Batch(ctx, len(children), func(ctx context.Context, i int) error {
		one := children[i]
		err := c.dropOwners(ctx, one.key, one.object, owner.GetUID())
		if client.FoundFree(err, one.key.Kind, one.key.Name) {
			return nil
		}
		return err
	})
	if err == nil {
		err = complete(kinds, owner)
	}
	if err != nil {
		return err
	}
	return c.dropFinalizer(ctx, key, owner, metav1.FinalizerOrphanDependents)
}
