package admission

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/admission"
)

// runtimeClass refuses pods that ask for a runtime class. None can exist, because their kind is not served: a pod that
// names one would run with another runtime than it asks for.
type runtimeClass struct{ operations }

func newRuntimeClass(*Options) admission.Interface { return &runtimeClass{onCreate} }

func (*runtimeClass) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	pod, ok := podOf(a)
	if !ok {
		return nil
	}
	switch name := pod.Spec.RuntimeClassName; {
	case name != nil && *name == "":
		return errors.New("resource name may not be empty")
	case name != nil:
		return admission.NewForbidden(a, fmt.Errorf("pod rejected: RuntimeClass %q not found", *name))
	case len(pod.Spec.Overhead) > 0:
		return admission.NewForbidden(a, errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
	}
	return nil
}
