package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// retrySeconds is what a client is told to wait after an error that passes by itself.
const retrySeconds = 2

// modified is upstream's text of a conflict; clients look for it.
const modified = "the object has been modified; please apply your changes to the latest version and try again"

// unspecified is an error that upstream answers with code 500 and no reason, though the client is at fault.
func unspecified(err error) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error(),
	}}
}

// tooLarge tells that the mirror did not reach a revision in time.
func tooLarge(revision, present int64) *apierrors.StatusError {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", revision, present), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return err
}

// expiredWatch tells that a watch can no longer be continued from a revision.
func expiredWatch(revision, oldest int64) *apierrors.StatusError {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", revision, oldest))
}

// precondition tells that an update's uid or resourceVersion does not match.
func precondition(gr schema.GroupResource, name, field string, want, have any) *apierrors.StatusError {
	return apierrors.NewConflict(gr, name, fmt.Errorf("Precondition failed: %s in precondition: %v, %s in object meta: %v", field, want, field, have))
}

// termEnded is the answer to a loop of a master whose leadership has passed to another: store.ErrFenced as a Status.
type termEnded struct{ *apierrors.StatusError }

func (e *termEnded) Unwrap() error { return store.ErrFenced }

// storeError makes what the store answered into what a client is told. A context's error is passed on as it is.
func storeError(err error, gr schema.GroupResource, verb kind.Verb) error {
	write := !verb.Reads()
	var told *apierrors.StatusError
	var lost *store.NoQuorum
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told):
		return err // made where the fact was known
	case errors.As(err, &lost) && lost.Unknown && write:
		return apierrors.NewTimeoutError(fmt.Sprintf("%v; whether the %s of %s happened is unknown", err, verb, gr), 0)
	case errors.As(err, &lost) && write:
		return apierrors.NewServiceUnavailable(fmt.Sprintf("the %s of %s was not made: %v", verb, gr, err))
	case errors.As(err, &lost):
		return apierrors.NewServiceUnavailable(err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, store.ErrFenced):
		return &termEnded{apierrors.NewServiceUnavailable(fmt.Sprintf("the %s of %s was not made: %v", verb, gr, err))}
	case errors.Is(err, store.ErrUnavailable) && write:
		return apierrors.NewTimeoutError(fmt.Sprintf("the store did not answer in time; whether the %s of %s happened is unknown", verb, gr), retrySeconds)
	case errors.Is(err, store.ErrUnavailable):
		return apierrors.NewServerTimeout(gr, string(verb), retrySeconds)
	case errors.Is(err, store.ErrClosed):
		return apierrors.NewServiceUnavailable("the server is shutting down")
	case errors.Is(err, store.ErrNoSpace):
		return unspecified(fmt.Errorf("%w: delete objects, then compact and defragment the store, or raise its quota", err))
	}
	return apierrors.NewInternalError(err)
}
