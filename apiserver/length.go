package apiserver

import (
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The bounds of what is looked at before it is known who asks, in bytes, and of selectors. What is longer costs others.
const (
	maxPath     = 8 << 10
	maxQuery    = 128 << 10
	maxSelector = 64 << 10
	// maxNaming bounds the field selectors in which the name of a single object is looked for before authorization.
	maxNaming = 1 << 10
	// maxHeaders are the lines of a request's header.
	maxHeaders = 1000
	// maxLogged bounds what a log's line repeats of a request.
	maxLogged = 256
)

// limitLength refuses what is too long.
func (s *Server) limitLength(next handler) handler {
	return func(x *exchange) {
		if x.tooLong != nil {
			x.farewell()
			x.fail(x.tooLong)
			return
		}
		next(x)
	}
}

// tooLong tells what is too long about a request.
func tooLong(r *http.Request) error {
	lines := 0
	for _, values := range r.Header {
		lines += len(values)
	}
	switch {
	case len(r.URL.Path) > maxPath:
		return lengthError(http.StatusRequestURITooLong, fmt.Sprintf("the request's path is too long: at most %d bytes are read", maxPath))
	case len(r.URL.RawQuery) > maxQuery:
		return lengthError(http.StatusRequestURITooLong, fmt.Sprintf("the request's query is too long: at most %d bytes are read", maxQuery))
	case lines > maxHeaders:
		return lengthError(http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the request has too many header lines: at most %d are read", maxHeaders))
	}
	return nil
}

func lengthError(code int32, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: metav1.StatusReasonBadRequest, Message: message}}
}

// checkSelectors refuses selectors that would take long to parse.
func checkSelectors(o *metav1.ListOptions) error {
	for name, s := range map[string]string{"labelSelector": o.LabelSelector, "fieldSelector": o.FieldSelector} {
		if len(s) > maxSelector {
			return apierrors.NewBadRequest(fmt.Sprintf("%s is too long: %d bytes, and at most %d are read", name, len(s), maxSelector))
		}
	}
	return nil
}

// logged is the path as a log's line shows it.
func (t *target) logged() string { return t.path[:min(len(t.path), maxLogged)] }
