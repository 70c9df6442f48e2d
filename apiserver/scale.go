package apiserver

import (
	"context"
	"net/http"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/patch"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

func readScale(x *exchange, c *call) error {
	if err := x.readUpdateOptions(&c.UpdateOptions); err != nil {
		return err
	}
	scale := &autoscalingv1.Scale{}
	c.Object = scale
	return x.decode(c.s, scale, scaleKind.GVK, c.UpdateOptions.FieldValidation, c.warn)
}

func (c *call) getScale(ctx context.Context) (*Response, error) {
	item, err := c.rt.resource.Get(ctx, c.Namespace, c.Name, c.GetOptions.ResourceVersion)
	if err != nil {
		return nil, err
	}
	return c.scaleResponse(item.Object()), nil
}

func (c *call) scaleResponse(o kind.Object) *Response {
	return &Response{Code: http.StatusOK, Object: scaleOf(c.rt.info, o), GVK: scaleKind.GVK}
}

// scaleOf is an object's scale.
func scaleOf(info *kind.Kind, o kind.Object) *autoscalingv1.Scale {
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
			ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp()},
		Spec:   autoscalingv1.ScaleSpec{Replicas: info.Scale.SpecReplicas(o)},
		Status: autoscalingv1.ScaleStatus{Replicas: info.Scale.StatusReplicas(o), Selector: info.Scale.Selector(o)},
	}
}

// updateScale sets the number of replicas.
func (c *call) updateScale(ctx context.Context) (*Response, error) {
	scale, ok := c.Object.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest("the request has no Scale")
	}
	if err := setNamespace(scale, c.Namespace); err != nil {
		return nil, err
	}
	if err := sameName(scale, c.Name); err != nil {
		return nil, err
	}
	scale.TypeMeta = metav1.TypeMeta{}
	s := c.scaling(c.UpdateOptions.FieldManager, c.UpdateOptions.FieldValidation, c.UpdateOptions.DryRun)
	return s.run(ctx, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return scale.DeepCopy(), nil })
}

// patchScale changes the number of replicas by a patch of the scale.
func (c *call) patchScale(ctx context.Context) (*Response, error) {
	s := c.scaling(c.PatchOptions.FieldManager, c.PatchOptions.FieldValidation, c.PatchOptions.DryRun)
	if c.PatchType == types.ApplyYAMLPatchType && c.s.Tracker != nil {
		s.applied = true
		return s.run(ctx, s.configured)
	}
	return s.run(ctx, func(old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		patched, err := c.patched(scaleKind, old)
		if err != nil {
			return nil, err
		}
		return patched.(*autoscalingv1.Scale), nil
	})
}

// scaling is a change of an object through its scale. Admission sees the scale, the registry the object.
type scaling struct {
	*call
	manager  string
	admitted admitted
	// applied: the scale carries managed fields, which become the object's.
	applied bool
}

func (c *call) scaling(fieldManager, fieldValidation string, dryRun []string) *scaling {
	options := &metav1.UpdateOptions{TypeMeta: typed("UpdateOptions"), DryRun: dryRun, FieldManager: fieldManager, FieldValidation: fieldValidation}
	s := &scaling{call: c, manager: fieldManager, admitted: c.admission(admission.Update, options, dryRun)}
	s.admitted.gvk = scaleKind.GVK
	return s
}

func (s *scaling) run(ctx context.Context, change func(old *autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (*Response, error) {
	info := s.rt.info
	o := registry.UpdateOptions{DryRun: s.admitted.dryRun}
	if s.validates(s.admitted) {
		o.Admit = func(ctx context.Context, next, old kind.Object) error {
			return s.validate(ctx, s.admitted, scaleOf(info, next), scaleOf(info, old))
		}
	}
	item, _, err := s.rt.resource.Update(ctx, s.Namespace, s.Name, func(ctx context.Context, old kind.Object) (kind.Object, error) {
		if old == nil {
			return nil, apierrors.NewNotFound(info.GR(), s.Name)
		}
		before := scaleOf(info, old)
		fields := managedfields.NewScaleHandler(old.GetManagedFields(), info.GVK.GroupVersion(), replicasPaths(info))
		if s.applied {
			var err error
			if before.ManagedFields, err = fields.ToSubresource(); err != nil {
				return nil, err
			}
		}
		scale, err := change(before.DeepCopy())
		if err != nil {
			return nil, err
		}
		if err := s.mutate(ctx, s.admitted, scale, before); err != nil {
			return nil, err
		}
		if err := checkScale(scale, s.Name); err != nil {
			return nil, err
		}
		if scale.UID != "" && scale.UID != old.GetUID() {
			return nil, apierrors.NewConflict(info.GR(), s.Name, preconditionFailed("UID", string(scale.UID), string(old.GetUID())))
		}
		next := kind.Copy(old)
		info.Scale.SetReplicas(next, scale.Spec.Replicas)
		next.SetResourceVersion(scale.ResourceVersion)
		if !s.applied {
			return next, s.track(next, old, s.manager)
		}
		entries, err := fields.ToParent(scale.ManagedFields)
		next.SetManagedFields(entries)
		return next, err
	}, o)
	if err != nil {
		return nil, err
	}
	return s.scaleResponse(item.Object()), nil
}

// replicasPaths tell where the replicas of a scale stand in the object, whose managers are the scale's managers of it.
func replicasPaths(info *kind.Kind) managedfields.ResourcePathMappings {
	return managedfields.ResourcePathMappings{info.GVK.GroupVersion().String(): fieldpath.MakePathOrDie("spec", "replicas")}
}

// configured is the scale that server-side apply makes of the present one.
func (s *scaling) configured(old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
	force := s.PatchOptions.Force
	next, texts, err := s.s.Tracker.Apply(patch.Configuration{Kind: scaleKind, Namespace: s.Namespace, Name: s.Name, Subresource: "scale", Data: s.Patch,
		Manager: s.manager, Force: force != nil && *force, FieldValidation: s.PatchOptions.FieldValidation, Now: s.s.Now()}, old)
	if err != nil {
		return nil, err
	}
	s.warn.add(texts...)
	return next.(*autoscalingv1.Scale), nil
}

func checkScale(scale *autoscalingv1.Scale, name string) error {
	errs := validation.ValidateObjectMeta(&scale.ObjectMeta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if n := scale.Spec.Replicas; n < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "replicas"), n, validation.IsNegativeErrorMsg).WithOrigin("minimum"))
	}
	if len(errs) > 0 {
		return bounds.Invalid(scaleKind.GVK.GroupKind(), name, errs)
	}
	return nil
}
