package client

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// OutcomeUnknown tells of the errors of a write that leave open whether it came, or will yet come, into effect: no answer at all
// (a timeout, a lost connection, the end of a context), and answers by which a server says that it does not know. Who made
// such a write must not decide anew before the views show what has become of it: see Transport.Fresh.
func OutcomeUnknown(err error) bool {
	if err == nil {
		return false
	}
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return true
	}
	code := answer.Status().Code
	return code < http.StatusBadRequest || code == http.StatusRequestTimeout || code >= http.StatusInternalServerError
}
