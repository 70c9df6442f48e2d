package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
)

// alwaysPullImages makes nodes ask for every image anew, with the pod's own credentials: else whoever knows an image's name
// could run what somebody else's credentials have brought to the node.
type alwaysPullImages struct{ operations }

func newAlwaysPullImages(*Options) admission.Interface { return &alwaysPullImages{onCreate | onUpdate} }

// pulling is the pod that a request brings images with, nil if it brings none.
func pulling(a admission.Attributes) *corev1.Pod {
	if !is(a, "", "pods") || a.GetSubresource() != "" && a.GetSubresource() != "ephemeralcontainers" {
		return nil
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return nil
	}
	old, ok := a.GetOldObject().(*corev1.Pod)
	if a.GetOperation() != admission.Update || !ok {
		return pod
	}
	// A pod from before the plugin was switched on may stay as it is.
	had := map[string]bool{}
	eachImage(&old.Spec, func(_ *field.Path, image string, _ *corev1.PullPolicy) { had[image] = true })
	var some *corev1.Pod
	eachImage(&pod.Spec, func(_ *field.Path, image string, _ *corev1.PullPolicy) {
		if !had[image] {
			some = pod
		}
	})
	return some
}

// eachImage shows all images that a node pulls for a pod, with their policies.
func eachImage(s *corev1.PodSpec, see func(at *field.Path, image string, policy *corev1.PullPolicy)) {
	at := field.NewPath("spec")
	container := func(list string, n int, image string, policy *corev1.PullPolicy) {
		see(at.Child(list).Index(n).Child("imagePullPolicy"), image, policy)
	}
	for n := range s.InitContainers {
		container("initContainers", n, s.InitContainers[n].Image, &s.InitContainers[n].ImagePullPolicy)
	}
	for n := range s.Containers {
		container("containers", n, s.Containers[n].Image, &s.Containers[n].ImagePullPolicy)
	}
	for n := range s.EphemeralContainers {
		container("ephemeralContainers", n, s.EphemeralContainers[n].Image, &s.EphemeralContainers[n].ImagePullPolicy)
	}
	for n := range s.Volumes {
		if source := s.Volumes[n].Image; source != nil {
			see(at.Child("volumes").Index(n).Child("image", "pullPolicy"), source.Reference, &source.PullPolicy)
		}
	}
}

func (*alwaysPullImages) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if pod := pulling(a); pod != nil {
		eachImage(&pod.Spec, func(_ *field.Path, _ string, policy *corev1.PullPolicy) { *policy = corev1.PullAlways })
	}
	return nil
}

// Validate looks again: what changes objects later must not take it back.
func (*alwaysPullImages) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := pulling(a)
	if pod == nil {
		return nil
	}
	var errs field.ErrorList
	eachImage(&pod.Spec, func(at *field.Path, _ string, policy *corev1.PullPolicy) {
		if *policy != corev1.PullAlways {
			errs = append(errs, field.NotSupported(at, *policy, []corev1.PullPolicy{corev1.PullAlways}))
		}
	})
	if len(errs) == 0 {
		return nil
	}
	return admission.NewForbidden(a, errs.ToAggregate())
}
