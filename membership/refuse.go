package membership

import (
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func status(code int32, reason metav1.StatusReason, format string, args []any) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: fmt.Sprintf(format, args...),
	}}
}

// conflict refuses for good: what was asked does not go together with what is.
func conflict(format string, args ...any) error {
	return status(http.StatusConflict, metav1.StatusReasonConflict, format, args)
}

// busy refuses for a moment.
func busy(format string, args ...any) error {
	return status(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, format, args)
}

// unavailable refuses because this master cannot act; another might.
func unavailable(format string, args ...any) error {
	return status(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, format, args)
}

func unauthorized(format string, args ...any) error {
	return status(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, format, args)
}

func forbidden(format string, args ...any) error {
	return status(http.StatusForbidden, metav1.StatusReasonForbidden, format, args)
}

func notFound(format string, args ...any) error {
	return status(http.StatusNotFound, metav1.StatusReasonNotFound, format, args)
}
