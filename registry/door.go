package registry

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/canonical"
	"github.com/wheelhouse-k8s/wheelhouse/codec/stored"
)

// Enter is the registry's door: an object that a caller hands in is defaulted and becomes what it decodes to once encoded,
// before anything looks at it. A caller in the process would otherwise compare, validate and keep what no reader will ever
// see: half seconds that a patch rounds, lists that are empty and not absent.
//
// What cannot be encoded is refused, unless it has been stored so (present, which may be nil): then it is no more than kept.
// Create and Update call it unless they are told that it has been called.
func (r *Resource) Enter(o kind.Object, present *Item) error {
	var old kind.Object
	if present != nil {
		old = present.Object()
	}
	r.info.Default(o)
	return r.makeExact(o, old)
}

// enter of an object that has entered before only fills in what the server's own changes (admission) left open.
func (r *Resource) enter(o, old kind.Object, entered bool) error {
	r.info.Default(o)
	if entered {
		return nil
	}
	return r.makeExact(o, old)
}

// makeExact makes an object exact. Nothing that is exact is written to, so that it may share parts with one that is stored.
func (r *Resource) makeExact(o, old kind.Object) error {
	err := canonical.MakeExact(o, exactly(r.table.info))
	if err == nil {
		return nil
	}
	if old != nil && canonical.MakeExact(kind.Copy(old), exactly(r.table.info)) != nil {
		r.table.makeExactAgain(o) // all but what cannot be
		return nil
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%s %q cannot be encoded: %v", r.info.GVK.Kind, o.GetName(), err))
}

// exactly: what expires by itself tells of others, whose words may be no text. Better garbled than lost.
func exactly(info *kind.Kind) canonical.Options {
	return canonical.Options{ReplaceInvalid: info.TTL > 0}
}

// exact tells that a value decodes to what is exact already. A tree's bytes are kept as they are only if they are certainly what the tree is
// written as again (stored.Format.Sound); any other is not readable. Only defaults may add what is not.
func (f *layout) exact(v *stored.Value) bool {
	return f.info.Form == kind.Tree && v.Readable() && !f.info.Defaults
}

// makeExact makes an object exact that has been decoded: an update shares parts of the present object (the spec, when the status
// changes), and nothing may be written there.
func (f *layout) makeExact(o kind.Object) {
	options := exactly(f.info)
	// What is no text must not keep the rest from becoming exact. JSON has none, but numbers that others write in their own ways.
	options.Again = !options.ReplaceInvalid && f.info.Form != kind.Tree
	_ = canonical.MakeExact(o, options)
}

// makeExactAgain makes an object exact once more that is about to be stored: admission and the kind's preparations have changed it.
// It has passed the door, or has been stored with what the door would refuse.
func (f *layout) makeExactAgain(o kind.Object) {
	again := exactly(f.info)
	again.Again = true
	_ = canonical.MakeExact(o, again)
}
