// Package admin is a master's door for operators: it serves the commands of all rooms (membership, certificates, encryption, backup) below
// one path of the API, and calls them for the command line and for other masters.
//
// Authentication and authorization are those of any path that is no resource: a caller needs a role with nonResourceURLs.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Root is the path below which all commands of a master lie.
const Root = "/wheelhouse/v1/"

// bodyMax bounds what a command may carry, in bytes.
const bodyMax = 8 << 20

// Command is one thing that a master can be asked to do.
type Command struct {
	// Method and Path below Root, such as "members"; a path that ends with a slash stands for all below it.
	Method, Path string
	Handler      http.Handler
	// Long exempts the path from the API server's time limit. A handler that streams must cut off who does not read.
	Long bool
}

// Mux serves commands. A wrong method or path is answered with a Status.
func Mux(commands []Command) http.Handler {
	mux := http.NewServeMux()
	for _, c := range commands {
		mux.Handle(c.Method+" "+Root+c.Path, c.Handler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			WriteError(w, &apierrors.StatusError{ErrStatus: metav1.Status{
				Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
				Message: "this master does not know the command " + r.Method + " " + r.URL.Path,
			}})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Handle serves one command: In is read from the JSON body if there is one, Out is answered as JSON. Errors that are no
// StatusError are answered as an internal error with their text.
func Handle[In, Out any](f func(ctx context.Context, in In) (Out, error)) http.Handler {
	return HandleRequest(func(r *http.Request, in In) (Out, error) { return f(r.Context(), in) })
}

// HandleRequest is Handle for commands that read the path or the caller from the request.
func HandleRequest[In, Out any](f func(r *http.Request, in In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
		if err == nil && len(data) > 0 {
			err = json.Unmarshal(data, &in)
		}
		if err != nil {
			WriteError(w, apierrors.NewBadRequest("the command's body cannot be read: "+err.Error()))
			return
		}
		out, err := f(r, in)
		if err != nil {
			WriteError(w, err)
			return
		}
		write(w, http.StatusOK, out)
	})
}

// WriteError answers with a Status.
func WriteError(w http.ResponseWriter, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	write(w, int(status.Code), status)
}

// Refused is the error of a command that cannot be done now: 409 with the reason Conflict.
func Refused(message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusConflict, Reason: metav1.StatusReasonConflict, Message: message,
	}}
}

func write(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the caller has gone
}
