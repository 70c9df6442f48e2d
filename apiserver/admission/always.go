package admission

import (
	"context"
	"errors"

	"k8s.io/apiserver/pkg/admission"
)

// alwaysAdmit has nothing against anything.
type alwaysAdmit struct{}

func newAlwaysAdmit(*Options) admission.Interface { return alwaysAdmit{} }

func (alwaysAdmit) Handles(admission.Operation) bool { return false }

// alwaysDeny lets nobody change anything.
type alwaysDeny struct{}

func newAlwaysDeny(*Options) admission.Interface { return alwaysDeny{} }

func (alwaysDeny) Handles(admission.Operation) bool { return true }

func (alwaysDeny) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	return admission.NewForbidden(a, errors.New("admission control is denying all modifications"))
}

func (p alwaysDeny) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.Admit(ctx, a, o)
}
