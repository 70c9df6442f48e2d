package admission

import (
	"context"

	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// roleEscalation keeps users from granting by RBAC objects what they do not have themselves.
type roleEscalation struct {
	operations
	authorizer Authorizer
}

func newRoleEscalation(o *Options) admission.Interface {
	return &roleEscalation{onCreate | onUpdate, o.Authorizer}
}

// Admit changes nothing; it runs with those who do, because what is refused here must not be told of by validation.
func (p *roleEscalation) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Group != "rbac.authorization.k8s.io" {
		return nil
	}
	obj, ok := a.GetObject().(kind.Object)
	if !ok {
		return nil
	}
	old, _ := a.GetOldObject().(kind.Object)
	return p.authorizer.ConfirmNoEscalation(ctx, a.GetUserInfo(), a.GetNamespace(), obj, old)
}
