package auth

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Reviews answers the kinds that ask who somebody is and what somebody may do.
type Reviews struct {
	Authenticator *Authenticator
	Authorizer    *Authorizer
}

// Review answers obj, which is decoded and defaulted; the answer is obj with its status.
func (r *Reviews) Review(ctx context.Context, u user.Info, _ *kind.Kind, namespace string, obj kind.Object) (runtime.Object, error) {
	switch o := obj.(type) {
	case *authorizationv1.SubjectAccessReview:
		if err := invalid(validateAccessReview(&o.Spec, &o.ObjectMeta, false)); err != nil {
			return nil, err
		}
		r.access(ctx, subjectOfReview(&o.Spec), o.Spec.ResourceAttributes, o.Spec.NonResourceAttributes, &o.Status)
	case *authorizationv1.LocalSubjectAccessReview:
		if err := validateLocal(o, namespace); err != nil {
			return nil, err
		}
		r.access(ctx, subjectOfReview(&o.Spec), o.Spec.ResourceAttributes, o.Spec.NonResourceAttributes, &o.Status)
	case *authorizationv1.SelfSubjectAccessReview:
		if err := invalid(validateSelfAccessReview(o)); err != nil {
			return nil, err
		}
		r.access(ctx, u, o.Spec.ResourceAttributes, o.Spec.NonResourceAttributes, &o.Status)
	case *authorizationv1.SelfSubjectRulesReview:
		return r.rules(ctx, u, o)
	case *authenticationv1.SelfSubjectReview:
		o.Status.UserInfo = userInfo(u)
	case *authenticationv1.TokenReview:
		return r.token(ctx, o)
	default:
		return nil, apierrors.NewInternalError(fmt.Errorf("%T is not a review", obj))
	}
	return obj, nil
}

// invalid is the answer to a review that cannot be understood; upstream names neither kind nor object in it.
func invalid(problems field.ErrorList) error {
	if len(problems) == 0 {
		return nil
	}
	return bounds.Invalid(schema.GroupKind{Group: authorizationv1.GroupName}, "", problems)
}

func subjectOfReview(s *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: s.User, UID: s.UID, Groups: s.Groups}
	if len(s.Extra) > 0 {
		u.Extra = make(map[string][]string, len(s.Extra))
		for k, v := range s.Extra {
			u.Extra[k] = v
		}
	}
	return u
}

func (r *Reviews) access(ctx context.Context, u user.Info, resource *authorizationv1.ResourceAttributes, other *authorizationv1.NonResourceAttributes, status *authorizationv1.SubjectAccessReviewStatus) {
	a := authorizer.AttributesRecord{User: u}
	if resource != nil {
		a = resourceAttributes(u, resource)
	} else {
		a.Verb, a.Path = other.Verb, other.Path
	}
	// An error does not mean no: it stands beside what the rest of the rules decided.
	decision, reason, err := r.Authorizer.Authorize(ctx, a)
	*status = authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason,
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
}

func (r *Reviews) rules(ctx context.Context, u user.Info, o *authorizationv1.SelfSubjectRulesReview) (runtime.Object, error) {
	if o.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	resource, other, incomplete, err := r.Authorizer.RulesFor(ctx, u, o.Spec.Namespace)
	o.Status = authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}, Incomplete: incomplete,
	}
	for _, rule := range resource {
		o.Status.ResourceRules = append(o.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames(),
		})
	}
	for _, rule := range other {
		o.Status.NonResourceRules = append(o.Status.NonResourceRules, authorizationv1.NonResourceRule{
			Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs(),
		})
	}
	if err != nil {
		o.Status.EvaluationError = err.Error()
	}
	return o, nil
}

func (r *Reviews) token(ctx context.Context, o *authenticationv1.TokenReview) (runtime.Object, error) {
	if o.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	audiences := authenticator.Audiences(o.Spec.Audiences)
	if len(audiences) == 0 {
		audiences = r.Authenticator.audiences
	}
	if len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	response, ok, err := r.Authenticator.AuthenticateToken(ctx, o.Spec.Token)
	if !ok && err == nil {
		err = errWrongToken
	}
	o.Status = authenticationv1.TokenReviewStatus{Authenticated: ok}
	if err != nil {
		o.Status.Error = err.Error()
	}
	if !ok {
		return o, nil
	}
	// An authenticator that knows of no audiences vouches for the server's own.
	held := response.Audiences
	if len(held) == 0 {
		held = r.Authenticator.audiences.Intersect(audiences)
	}
	if len(audiences) > 0 && len(held) == 0 {
		o.Status = authenticationv1.TokenReviewStatus{Error: fmt.Sprintf("the token is not for any of the audiences %q", audiences)}
		return o, nil
	}
	o.Status.User, o.Status.Audiences = userInfo(response.User), held
	return o, nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	for k, v := range u.GetExtra() {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[k] = v
	}
	return info
}
