package garbage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// desk is a collector over views that the test fills, and a server that answers as the test says.
type desk struct {
	server  *clienttest.Server
	made    *reconcile.Controller
	answers map[string]error       // of reads, by kind and name; an error to answer with
	stored  map[string]kind.Object // what the server has where the view shows something else, or nothing
	writes  []string
}

func newDesk() *desk {
	d := &desk{server: &clienttest.Server{}, answers: map[string]error{}, stored: map[string]kind.Object{}}
	d.server.Answer = d.answer
	b := reconcile.NewBuilder("garbage-collector-controller", d.server)
	b.Events, b.Kinds, b.Options = client.NewRecorder(d.server, "test"), reconcile.FixedKinds(api.Kinds()), []any{&Options{Enabled: true}}
	var err error
	if d.made, err = b.Make(New); err != nil {
		panic(err)
	}
	return d
}

func (d *desk) answer(_ context.Context, r client.Request) (runtime.Object, error) {
	at := r.Kind.Plural + " " + r.Namespace + "/" + r.Name
	if r.Verb != kind.Get {
		if r.Kind.Plural != "events" {
			d.writes = append(d.writes, string(r.Verb)+" "+at)
		}
		return nil, nil
	}
	if err := d.answers[at]; err != nil {
		return nil, err
	}
	if o := d.stored[at]; o != nil {
		return o, nil
	}
	if o, shown := d.server.View(r.Kind).Get(r.Namespace, r.Name); shown {
		return o, nil
	}
	return nil, apierrors.NewNotFound(r.Kind.GR(), r.Name)
}

func (d *desk) judge(t *testing.T, o kind.Object) (string, error) {
	t.Helper()
	d.writes = nil
	k := kindOfObject(o)
	_, err := d.made.Reconcile(t.Context(), keyOf(k, o))
	return strings.Join(d.writes, ", "), err
}

func kindOfObject(o kind.Object) *kind.Kind {
	switch o.(type) {
	case *rbacv1.ClusterRole:
		return api.Of[*rbacv1.ClusterRole]()
	case *corev1.Node:
		return api.Of[*corev1.Node]()
	}
	return api.Of[*corev1.ConfigMap]()
}

func (d *desk) put(list ...kind.Object) {
	for _, o := range list {
		d.server.Put(kindOfObject(o), o)
	}
}

func ref(kind, name string, uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: kind, Name: name, UID: uid}
}

func owned(namespace, name string, refs ...metav1.OwnerReference) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid of " + name), ResourceVersion: "7", OwnerReferences: refs}}
}

// TestOnlyProofCollects: an owner that the view does not show is gone only if the server proves it.
func TestOnlyProofCollects(t *testing.T) {
	const owner = "configmaps ga/owner"
	maps := schema.GroupResource{Resource: "configmaps"}
	unreadable := apierrors.NewInternalError(errors.New("odd"))
	unreadable.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeUnexpectedServerResponse, Field: "/registry/configmaps/ga/owner"}}
	for _, c := range []struct {
		name    string
		answer  error
		present kind.Object
		want    string
		fails   bool
	}{
		{name: "gone", want: "delete configmaps ga/child"},
		{name: "another took its name", present: owned("ga", "owner"), want: "delete configmaps ga/child"},
		{name: "the view lags", present: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ga", Name: "owner", UID: "u"}}},
		{name: "forbidden", answer: apierrors.NewForbidden(maps, "owner", errors.New("no")), fails: true},
		{name: "unreadable", answer: unreadable, fails: true},
		{name: "no such path", answer: apierrors.NewGenericServerResponse(404, "get", maps, "owner", "404 page not found", 0, true), fails: true},
		{name: "no namespace", answer: apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "ga"), fails: true},
		{name: "late", answer: context.DeadlineExceeded, fails: true},
		{name: "not loaded", answer: apierrors.NewServiceUnavailable("starting"), fails: true},
	} {
		d := newDesk()
		child := owned("ga", "child", ref("ConfigMap", "owner", "u"))
		d.put(child)
		d.answers[owner] = c.answer
		if c.present != nil {
			d.stored[owner] = c.present
		}
		got, err := d.judge(t, child)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// TestForgedReferences: what was proven for one place says nothing of another.
func TestForgedReferences(t *testing.T) {
	d := newDesk()
	d.stored["configmaps ga/owner"] = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ga", Name: "owner", UID: "u"}}
	victim := owned("ga", "victim", ref("ConfigMap", "owner", "u"))
	forged := owned("gb", "forged", ref("ConfigMap", "owner", "u"))
	renamed := owned("ga", "renamed", ref("ConfigMap", "other", "u"))
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "role", UID: "r", OwnerReferences: []metav1.OwnerReference{ref("ConfigMap", "owner", "u")}}}
	both := role.DeepCopy()
	both.Name, both.OwnerReferences = "both", append(both.OwnerReferences, ref("Node", "gone", "n"))
	unserved := owned("ga", "unserved", metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Ship", Name: "x", UID: "x"}, ref("ConfigMap", "other", "u"))
	d.put(victim, forged, renamed, role, both, unserved)
	for _, c := range []struct {
		o    kind.Object
		want string
	}{
		{forged, "delete configmaps gb/forged"}, {renamed, "delete configmaps ga/renamed"},
		{role, ""}, {both, ""}, {victim, ""}, {unserved, ""}, {forged, "delete configmaps gb/forged"}, {role, ""},
	} {
		if got, err := d.judge(t, c.o); got != c.want || err != nil {
			t.Errorf("%s: %q, %v", c.o.GetName(), got, err)
		}
	}
}

// TestMemoryYields: an owner of a kind of which something cannot be read is asked for again.
func TestMemoryYields(t *testing.T) {
	d := newDesk()
	one, two := owned("ga", "one", ref("ConfigMap", "owner", "u")), owned("ga", "two", ref("ConfigMap", "owner", "u"))
	d.put(one, two)
	if got, err := d.judge(t, one); got == "" || err != nil {
		t.Fatal(got, err)
	}
	d.answers["configmaps ga/owner"] = errors.New("asked again")
	if got, err := d.judge(t, two); got == "" || err != nil {
		t.Errorf("not from memory: %q, %v", got, err)
	}
	d.server.Blur(api.Of[*corev1.ConfigMap](), errors.New("odd"))
	if got, err := d.judge(t, two); got != "" || err == nil {
		t.Errorf("from memory: %q, %v", got, err)
	}
}

// TestUnseenDependents: an owner neither lets go of its dependents nor goes before them while some cannot be read.
func TestUnseenDependents(t *testing.T) {
	for _, finalizer := range []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents} {
		d := newDesk()
		owner := owned("ga", "owner")
		owner.DeletionTimestamp, owner.Finalizers = ptr.To(metav1.Unix(1, 0)), []string{finalizer}
		d.put(owner)
		d.server.Blur(api.Of[*corev1.Secret](), errors.New("odd"))
		if got, err := d.judge(t, owner); got != "" || err == nil {
			t.Errorf("%s: %q, %v", finalizer, got, err)
		}
		d.server.Blur(api.Of[*corev1.Secret](), nil)
		d.server.Blur(api.Of[*corev1.Node](), errors.New("odd")) // it cannot be held by what is in a namespace
		if got, err := d.judge(t, owner); got != "patch configmaps ga/owner" || err != nil {
			t.Errorf("%s: %q, %v", finalizer, got, err)
		}
	}
}

// TestForgedBlock: an object elsewhere does not keep an owner from going by naming it.
func TestForgedBlock(t *testing.T) {
	d := newDesk()
	owner := owned("ga", "owner")
	owner.DeletionTimestamp, owner.Finalizers = ptr.To(metav1.Unix(1, 0)), []string{metav1.FinalizerDeleteDependents}
	blocking := ref("ConfigMap", "owner", owner.UID)
	blocking.BlockOwnerDeletion = ptr.To(true)
	d.put(owner, owned("gb", "forged", blocking))
	if got, err := d.judge(t, owner); got != "patch configmaps ga/owner" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	d.put(owned("ga", "child", blocking))
	if got, err := d.judge(t, owner); strings.Contains(got, "owner") || err != nil {
		t.Errorf("with a dependent of its own: %q, %v", got, err)
	}
}

// TestBlocksBySecondReference: a dependent that names its owner twice blocks if one of the references does.
func TestBlocksBySecondReference(t *testing.T) {
	d := newDesk()
	owner := owned("ga", "owner")
	owner.DeletionTimestamp, owner.Finalizers = ptr.To(metav1.Unix(1, 0)), []string{metav1.FinalizerDeleteDependents}
	plain, blocking := ref("ConfigMap", "owner", owner.UID), ref("ConfigMap", "owner", owner.UID)
	blocking.BlockOwnerDeletion = ptr.To(true)
	d.put(owner, owned("ga", "child", plain, blocking))
	if got, err := d.judge(t, owner); strings.Contains(got, "owner") || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestUnblocked: a dependent that stops blocking wakes the owner that waits for it.
func TestUnblocked(t *testing.T) {
	d := newDesk()
	owner := owned("ga", "owner")
	owner.DeletionTimestamp, owner.Finalizers = ptr.To(metav1.Unix(1, 0)), []string{metav1.FinalizerDeleteDependents}
	d.put(owner)
	plain, blocking := ref("ConfigMap", "owner", owner.UID), ref("ConfigMap", "owner", owner.UID)
	blocking.BlockOwnerDeletion = ptr.To(true)
	soft := plain
	soft.BlockOwnerDeletion = ptr.To(false)
	changed := d.made.AllReads[0].Now().Of(api.Of[*corev1.ConfigMap]()).Keys
	for _, c := range []struct {
		name     string
		old, new []metav1.OwnerReference
		wakes    bool
	}{
		{"turns false", []metav1.OwnerReference{blocking}, []metav1.OwnerReference{soft}, true},
		{"is left out", []metav1.OwnerReference{blocking}, []metav1.OwnerReference{plain}, true},
		{"drops the reference", []metav1.OwnerReference{blocking}, nil, true},
		{"replaces the reference", []metav1.OwnerReference{blocking}, []metav1.OwnerReference{ref("ConfigMap", "else", "e")}, true},
		{"still blocks", []metav1.OwnerReference{blocking}, []metav1.OwnerReference{blocking}, false},
		{"never blocked", []metav1.OwnerReference{soft}, []metav1.OwnerReference{plain}, false},
	} {
		woken := map[string]bool{}
		changed(client.Delta{Old: owned("ga", "child", c.old...), New: owned("ga", "child", c.new...)}, func(k reconcile.Key) { woken[fmt.Sprint(k.Name)] = true })
		if woken["owner"] != c.wakes {
			t.Errorf("%s: woken %v", c.name, woken)
		}
	}
}
