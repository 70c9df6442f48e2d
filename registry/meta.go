package registry

import (
	"context"
	"math/rand/v2"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var metadata = field.NewPath("metadata")

// Generated names: the prefix, cut so that everything fits, and random letters and digits that spell no words.
const (
	generatedMax    = 63
	generatedRandom = 5
	generatedFrom   = "bcdfghjklmnpqrstvwxz2456789"
)

func generateName(prefix string) string {
	if end := generatedMax - generatedRandom; len(prefix) > end {
		for end > 0 && !utf8.RuneStart(prefix[end]) { // half a letter is no text: nobody could name such an object
			end--
		}
		prefix = prefix[:end]
	}
	b := make([]byte, 0, generatedMax)
	b = append(b, prefix...)
	for range generatedRandom {
		b = append(b, generatedFrom[rand.IntN(len(generatedFrom))])
	}
	return string(b)
}

// seconds is the time as it is stored: in whole seconds.
func seconds(t time.Time) metav1.Time { return metav1.Unix(t.Unix(), 0) }

// born gives a new object the metadata that the server sets, and takes away what a client may not set.
func (r *Resource) born(o kind.Object) {
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(seconds(r.reg.now()))
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetSelfLink("")
	if !r.info.Namespaced {
		o.SetNamespace("")
	}
}

func pathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

// checkNew judges a new object.
func (r *Resource) checkNew(ctx context.Context, o kind.Object, judge Judge) error {
	errs := validation.ValidateObjectMetaAccessor(o, r.info.Namespaced, r.info.ValidName, metadata)
	errs = append(errs, r.info.Validate(o)...)
	if judge != nil {
		errs = judge(ctx, o, nil, errs)
	}
	if len(errs) == 0 {
		// Whatever a kind allows, a name must be one part of a path.
		for _, msg := range pathSegment(o.GetName(), false) {
			errs = append(errs, field.Invalid(metadata.Child("name"), o.GetName(), msg))
		}
	}
	return r.invalid(o, errs)
}

func (r *Resource) invalid(o kind.Object, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return bounds.Invalid(r.info.GVK.GroupKind(), o.GetName(), errs)
}

// carryOver makes an updated object keep what no update may change, has the kind prepare it and counts its generation.
// part is nil for the main resource.
func (r *Resource) carryOver(next, old kind.Object, part *kind.AnyPart) error {
	if err := r.sameNamespace(next, old.GetNamespace()); err != nil {
		return err
	}
	prepare := r.info.PrepareUpdate
	if part != nil {
		prepare = part.Prepare
	}
	next.SetGeneration(old.GetGeneration())
	prepare(next, old)
	if r.info.HasGeneration {
		generation := old.GetGeneration()
		if (part == nil || part.Name != "status") && r.info.SpecChanged(next, old) {
			generation++
		}
		next.SetGeneration(generation)
	}
	if next.GetUID() == "" {
		next.SetUID(old.GetUID())
	}
	if created := old.GetCreationTimestamp(); !created.IsZero() {
		next.SetCreationTimestamp(created)
	}
	if deleted := old.GetDeletionTimestamp(); !deleted.IsZero() {
		next.SetDeletionTimestamp(deleted)
	}
	if grace := old.GetDeletionGracePeriodSeconds(); grace != nil && next.GetDeletionGracePeriodSeconds() == nil {
		next.SetDeletionGracePeriodSeconds(grace)
	}
	return nil
}

// checkUpdate judges an updated object.
func (r *Resource) checkUpdate(ctx context.Context, next, old kind.Object, u *updating) error {
	validate := r.info.ValidateUpdate
	if u.part != nil {
		validate = u.part.ValidateUpdate
	}
	errs := validation.ValidateObjectMetaAccessor(next, r.info.Namespaced, pathSegment, metadata)
	errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(next, old, metadata)...)
	errs = append(errs, validate(next, old)...)
	if u.o.Judge != nil {
		errs = u.o.Judge(ctx, next, old, errs)
	}
	return r.invalid(next, errs)
}

// sameNamespace fills in the namespace of the request, or refuses another one.
func (r *Resource) sameNamespace(o kind.Object, namespace string) error {
	switch {
	case !r.info.Namespaced:
		o.SetNamespace("")
	case o.GetNamespace() == "":
		o.SetNamespace(namespace)
	case o.GetNamespace() != namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// onlyTimes tells whether two lists of managed fields differ, but in their times only.
func onlyTimes(next, old []metav1.ManagedFieldsEntry) bool {
	if len(next) != len(old) || len(next) == 0 {
		return false
	}
	differ := false
	for n := range next {
		a, b := next[n], old[n]
		if !a.Time.Equal(b.Time) {
			differ = true
		}
		if a.Manager != b.Manager || a.Operation != b.Operation || a.APIVersion != b.APIVersion ||
			a.FieldsType != b.FieldsType || a.Subresource != b.Subresource || !sameFields(a.FieldsV1, b.FieldsV1) {
			return false
		}
	}
	return differ
}

func sameFields(a, b *metav1.FieldsV1) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}
