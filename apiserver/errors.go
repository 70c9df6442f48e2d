package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/codec"
)

// statusOf is the one place where an error becomes the Status that clients see.
func statusOf(err error) *metav1.Status {
	var known apierrors.APIStatus
	if errors.As(err, &known) {
		status := known.Status()
		status.TypeMeta = metav1.TypeMeta{}
		if status.Status == "" {
			status.Status = metav1.StatusFailure
		}
		if status.Code == 0 {
			status.Code = http.StatusInternalServerError
		}
		status.Message = shortMessage(status.Message)
		return &status
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return statusOf(apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0))
	case errors.Is(err, context.Canceled):
		return statusOf(apierrors.NewTimeoutError("the request was given up by the client", 0))
	case errors.Is(err, codec.ErrNotAcceptable):
		return statusOf(notAcceptable(codec.Supported))
	}
	// A plain error is a 500 without a reason: so do several mistakes of clients end upstream.
	return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: shortMessage(err.Error())}
}

// maxMessage is how much an answer says of what went wrong, whatever the request has put into it.
const maxMessage = 64 << 10

func shortMessage(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + "..."
}

// routing is the answer of the router itself: no kind and no name.
func routing(code int) error {
	return apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", "", 0, false)
}

func notFoundPath() error     { return routing(http.StatusNotFound) }
func methodNotAllowed() error { return routing(http.StatusMethodNotAllowed) }

func notAcceptable(accepted []string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + strings.Join(accepted, ", "),
	}}
}

func unsupportedMediaType(accepted []string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: " + strings.Join(accepted, ", "),
	}}
}

func invalidOptions(name string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return bounds.Invalid(schema.GroupKind{Group: metav1.GroupName, Kind: name}, "", errs)
}

// htmlSafe keeps messages with parts of the request in them from being taken for HTML.
var htmlSafe = strings.NewReplacer(`&`, "&amp;", `<`, "&lt;", `>`, "&gt;")

// forbidden says who may not do what.
func forbidden(a *authorizer.AttributesRecord, reason string) error {
	name := ""
	if a.User != nil {
		name = a.User.GetName()
	}
	var text string
	switch {
	case !a.ResourceRequest:
		text = fmt.Sprintf("User %q cannot %s path %q", name, a.Verb, a.Path)
	default:
		resource := a.Resource
		if a.Subresource != "" {
			resource += "/" + a.Subresource
		}
		text = fmt.Sprintf("User %q cannot %s resource %q in API group %q", name, a.Verb, resource, a.APIGroup)
		if a.Namespace != "" {
			text += fmt.Sprintf(" in the namespace %q", a.Namespace)
		} else {
			text += " at the cluster scope"
		}
	}
	text = htmlSafe.Replace(text)
	if reason != "" {
		text += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.APIGroup, Resource: a.Resource}, a.Name, errors.New(text))
}
