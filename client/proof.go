package client

import (
	"context"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Presence is what a consistent read found out about one object. Only Absent and Replaced prove that something is gone; a
// decision that deletes rests on nothing else. The zero value proves nothing.
type Presence int

const (
	// Unknown: the server could not be asked, did not answer, has not loaded yet, or does not serve the kind.
	Unknown Presence = iota
	// Present: the object is there, and is the one that was meant.
	Present
	// Absent: the server read its store and found no value of any form under the object's key.
	Absent
	// Replaced: the name belongs to an object with another uid than the one that was meant, which is gone therefore.
	Replaced
	// Unreadable: something is stored under the key that the server cannot decrypt or decode.
	Unreadable
	// Forbidden: this identity may not know.
	Forbidden
)

var presences = [...]string{"unknown", "present", "absent", "replaced", "unreadable", "forbidden"}

func (p Presence) String() string {
	if p < 0 || int(p) >= len(presences) {
		return presences[Unknown]
	}
	return presences[p]
}

// Finding is the answer of Look.
type Finding struct {
	Presence Presence
	// Object that has the name now: set when Present or Replaced, shared, never to be changed.
	Object kind.Object
	// Err says why nothing is proven: set when Unknown, Unreadable or Forbidden.
	Err error
}

// Gone tells whether the object is proven to be gone. The error is set whenever neither that nor the contrary is proven: whoever
// would delete must not, and may try again.
func (f Finding) Gone() (bool, error) {
	switch f.Presence {
	case Absent, Replaced:
		return true, nil
	case Present:
		return false, nil
	}
	if f.Err == nil {
		return false, errors.New("nothing has been asked")
	}
	return false, f.Err
}

// Look asks the server by a consistent read whether an object exists: the one of that uid, or with uid "" any that has
// the name. It never asks a view, which may lag.
func Look(ctx context.Context, t Transport, k *kind.Kind, namespace, name string, uid types.UID) Finding {
	unproven := func(p Presence, err error) Finding {
		return Finding{Presence: p, Err: fmt.Errorf("whether %s exists is %s: %w", describe(k, namespace, name), p, err)}
	}
	if name == "" || k.Namespaced != (namespace != "") {
		return unproven(Unknown, errors.New("no object can have this key"))
	}
	answer, err := t.Do(ctx, Request{Verb: kind.Get, Kind: k, Namespace: namespace, Name: name})
	switch {
	case err == nil:
	case FoundFree(err, k, name):
		return Finding{Presence: Absent}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return unproven(Forbidden, err)
	case IsUnreadable(err):
		return unproven(Unreadable, err)
	default:
		return unproven(Unknown, err)
	}
	o, ok := answer.(kind.Object)
	switch {
	case !ok || reflect.TypeOf(o) != reflect.TypeOf(k.New()) || o.GetName() != name || o.GetNamespace() != namespace || o.GetUID() == "":
		return unproven(Unknown, fmt.Errorf("the answer is not the object that was asked for (%T)", answer))
	case uid != "" && o.GetUID() != uid:
		return Finding{Presence: Replaced, Object: o}
	}
	return Finding{Presence: Present, Object: o}
}

// Look asks the server by a consistent read whether an object exists: the one of that uid, or with uid "" any that has the name.
func (c Client[T]) Look(ctx context.Context, namespace, name string, uid types.UID) Finding {
	return Look(ctx, c.transport, c.info, namespace, name, uid)
}

// LookEmpty asks the server by a consistent read whether a namespace ("" for all) holds no object of a kind in any form. It fails
// whenever neither that nor the contrary is proven.
func LookEmpty(ctx context.Context, t Transport, k *kind.Kind, namespace string) (bool, error) {
	answer, err := t.Do(ctx, Request{Verb: kind.List, Kind: k, Namespace: namespace, Limit: 1})
	if err != nil {
		return false, fmt.Errorf("whether there are %s in namespace %q: %w", k.GR(), namespace, err)
	}
	list, err := meta.ListAccessor(answer)
	if err != nil || reflect.TypeOf(answer) != reflect.TypeOf(k.NewList()) || list.GetResourceVersion() == "" {
		return false, fmt.Errorf("whether there are %s in namespace %q: the answer is not their list (%T)", k.GR(), namespace, answer)
	}
	return meta.LenList(answer) == 0 && list.GetContinue() == "", nil
}

func describe(k *kind.Kind, namespace, name string) string {
	if namespace == "" {
		return k.GR().String() + " " + name
	}
	return k.GR().String() + " " + namespace + "/" + name
}

// FoundFree tells the one "not found" that is about the object from those that are about its kind, its path or a gateway: it
// names the object, and the server meant to say it.
func FoundFree(err error, k *kind.Kind, name string) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Name == name && d.Group == k.GVK.Group && d.Kind == k.Plural && !unexpected(d)
}

func unexpected(d *metav1.StatusDetails) bool {
	return slices.ContainsFunc(d.Causes, func(c metav1.StatusCause) bool { return c.Type == metav1.CauseTypeUnexpectedServerResponse })
}

// MayConcern tells whether an error of IsUnreadable may be about an object: it names the object's key, or not all keys.
func MayConcern(err error, namespace, name string) bool {
	return MayConcernAny(err, namespace, func(other string) bool { return other == name })
}

// MayConcernAny tells whether an error of IsUnreadable may be about an object of a namespace ("" for objects without one) whose
// name matches.
func MayConcernAny(err error, namespace string, matches func(name string) bool) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return true
	}
	named := 0
	for _, c := range status.Status().Details.Causes {
		prefix, name := path.Split(c.Field)
		if c.Field == "" || (namespace == "" || strings.HasSuffix(prefix, "/"+namespace+"/")) && matches(name) {
			return true
		}
		named++
	}
	return named == 0
}

// IsUnreadable tells of errors that name a key whose value the server cannot read.
func IsUnreadable(err error) bool {
	if apierrors.IsStoreReadError(err) {
		return true
	}
	var status apierrors.APIStatus
	if !apierrors.IsInternalError(err) || !errors.As(err, &status) {
		return false
	}
	d := status.Status().Details
	return d != nil && slices.ContainsFunc(d.Causes, func(c metav1.StatusCause) bool {
		return c.Type == metav1.CauseTypeUnexpectedServerResponse && c.Field != ""
	})
}
