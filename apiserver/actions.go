package apiserver

import (
	"context"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// action is a subresource whose body is of a kind of its own.
type action struct {
	// plural and name of the resource and the subresource; the group is that of kind.
	group, plural, name string
	gvk                 schema.GroupVersionKind
	// also are older versions of the body.
	also []schema.GroupVersion
	new  func() kind.Object
	act  func(*call, context.Context, kind.Object) (*Response, error)
}

// actions are those that take a body. Those that open a stream are in connect.go.
var actions = []action{
	{"", "pods", "binding", corev1.SchemeGroupVersion.WithKind("Binding"), nil, func() kind.Object { return &corev1.Binding{} }, (*call).bind},
	{"", "bindings", "", corev1.SchemeGroupVersion.WithKind("Binding"), nil, func() kind.Object { return &corev1.Binding{} }, (*call).bind},
	{"", "pods", "eviction", policyv1.SchemeGroupVersion.WithKind("Eviction"), []schema.GroupVersion{{Group: "policy", Version: "v1beta1"}},
		func() kind.Object { return &policyv1.Eviction{} }, (*call).evict},
	{"", "serviceaccounts", "token", authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), nil,
		func() kind.Object { return &authenticationv1.TokenRequest{} }, (*call).issueToken},
}

// actionFor finds the action of a subresource (or of a resource that is one), nil if there is none.
func actionFor(info *kind.Kind, subresource string) *action {
	for i := range actions {
		a := &actions[i]
		if a.group == info.GVK.Group && a.plural == info.Plural && a.name == subresource {
			return a
		}
	}
	return nil
}

func (a *action) row() endpoint { return endpoint{decode: a.read, do: a.do} }

// read decodes the action's body.
func (a *action) read(x *exchange, c *call) error {
	if err := x.readCreateOptions(&c.CreateOptions); err != nil {
		return err
	}
	obj := a.new()
	c.Object = obj
	return x.decode(c.s, obj, a.gvk, c.CreateOptions.FieldValidation, c.warn, a.also...)
}

// do does what the action stands for.
func (a *action) do(c *call, ctx context.Context) (*Response, error) {
	obj, ok := c.Object.(kind.Object)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the request has no %s", a.gvk.Kind))
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if err := setNamespace(obj, c.Namespace); err != nil {
		return nil, err
	}
	return a.act(c, ctx, obj)
}

// review answers a kind that is only created and never kept.
func (c *call) review(ctx context.Context) (*Response, error) {
	obj, err := c.body()
	if err != nil {
		return nil, err
	}
	if err := setNamespace(obj, c.Namespace); err != nil {
		return nil, err
	}
	c.rt.info.Default(obj)
	if err := c.admitAction(ctx, obj, c.rt.info.GVK); err != nil {
		return nil, err
	}
	answer, err := c.s.Reviewer.Review(ctx, c.User, c.rt.info, c.Namespace, obj)
	if err != nil {
		return nil, err
	}
	return &Response{Code: http.StatusCreated, Object: answer, GVK: c.rt.info.GVK}, nil
}

// admitAction shows the body of an action to admission.
func (c *call) admitAction(ctx context.Context, obj kind.Object, gvk schema.GroupVersionKind) error {
	c.CreateOptions.TypeMeta = typed("CreateOptions")
	a := c.admission(admission.Create, &c.CreateOptions, c.CreateOptions.DryRun)
	a.gvk = gvk
	if err := c.mutate(ctx, a, obj, nil); err != nil {
		return err
	}
	return c.validate(ctx, a, obj, nil)
}

// succeeded is the answer of an action that has none of its own.
func succeeded() *Response {
	return &Response{Code: http.StatusCreated, Object: &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}}
}

// The bounds of a token's life, in seconds.
const (
	tokenSecondsMin     = 600
	tokenSecondsMax     = 1 << 32
	tokenSecondsDefault = 3600
)

// issueToken makes a token for a service account.
func (c *call) issueToken(ctx context.Context, obj kind.Object) (*Response, error) {
	tr, ok := obj.(*authenticationv1.TokenRequest)
	if !ok || c.s.Tokens == nil {
		return nil, methodNotAllowed()
	}
	gvk := authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
	if tr.Name != "" && tr.Name != c.Name {
		return nil, bounds.Invalid(gvk.GroupKind(), c.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "name"), tr.Name, "must match the service account name if specified")})
	}
	item, err := c.rt.resource.Get(ctx, c.Namespace, c.Name, "")
	if err != nil {
		return nil, err
	}
	sa, ok := item.Object().(*corev1.ServiceAccount)
	if !ok {
		return nil, methodNotAllowed()
	}
	tr.Name, tr.Namespace, tr.Status = sa.Name, sa.Namespace, authenticationv1.TokenRequestStatus{}
	if tr.Spec.ExpirationSeconds == nil {
		hour := int64(tokenSecondsDefault)
		tr.Spec.ExpirationSeconds = &hour
	}
	path := field.NewPath("spec", "expirationSeconds")
	switch seconds := *tr.Spec.ExpirationSeconds; {
	case seconds < tokenSecondsMin:
		return nil, bounds.Invalid(gvk.GroupKind(), "", field.ErrorList{field.Invalid(path, seconds, "may not specify a duration less than 10 minutes")})
	case seconds > tokenSecondsMax:
		return nil, bounds.Invalid(gvk.GroupKind(), "", field.ErrorList{field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")})
	}
	if err := c.admitAction(ctx, tr, gvk); err != nil {
		return nil, err
	}
	answer, err := c.s.Tokens.Issue(ctx, c.User, sa, tr)
	if err != nil {
		return nil, err
	}
	return &Response{Code: http.StatusCreated, Object: answer, GVK: gvk}, nil
}

// scaleKind is the kind of the scale subresource.
var scaleKind = kind.Define(kind.Resource{GroupVersion: autoscalingv1.SchemeGroupVersion, Plural: "scales", Namespaced: true, Verbs: []kind.Verb{}},
	kind.Rules[autoscalingv1.Scale]{})
