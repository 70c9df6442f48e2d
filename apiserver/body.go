package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/wheelhouse-k8s/wheelhouse/codec"
)

// bodies are the buffers of request bodies. Decoded objects share no bytes with them.
var bodies = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

const bodyMax = 256 << 10

// decode reads the body into an object. Besides want, the group versions in also may be claimed by the body.
func (x *exchange) decode(s *Server, into runtime.Object, want schema.GroupVersionKind, fieldValidation string, warn *warnings, also ...schema.GroupVersion) error {
	format, ok := codec.FormatOf(x.r.Header.Get("Content-Type"))
	if !ok {
		return unsupportedMediaType(codec.Supported)
	}
	p := bodies.Get().(*[]byte)
	body, err := x.readBody((*p)[:0])
	if err != nil {
		return err
	}
	if x.heavy() {
		err = x.compute(s, func() error { return decodeBody(format, body, into, want, fieldValidation, warn, also) })
	} else {
		err = decodeBody(format, body, into, want, fieldValidation, warn, also)
	}
	if cap(body) <= bodyMax && x.ctx.Err() == nil { // else it may still be read
		*p = body
		bodies.Put(p)
	}
	return err
}

func decodeBody(format codec.Format, body []byte, into runtime.Object, want schema.GroupVersionKind, fieldValidation string, warn *warnings, also []schema.GroupVersion) error {
	got, texts, err := codec.Decode(format, body, into, want, fieldValidation)
	if err != nil {
		return undecodable(err, got, want, body)
	}
	warn.add(texts...)
	if got == want {
		return nil
	}
	if got.Kind != want.Kind {
		return undecodable(fmt.Errorf("the path is for %s", want.Kind), got, want, body)
	}
	for _, gv := range also {
		if gv == got.GroupVersion() {
			return nil
		}
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", got.GroupVersion(), want.GroupVersion()))
}

// undecodable says what is wrong with a body, in the form that kubectl shows.
func undecodable(err error, got, want schema.GroupVersionKind, body []byte) error {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return err // beyond the bounds of what is decoded
	}
	if got.Kind != "" {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", got.Kind, got.Version, want.Kind, err))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, codec.Summary(body)))
}

// readOptions reads the query into options with one of the generated conversions.
func readOptions[T any](x *exchange, into *T, convert func(*url.Values, *T) error) error {
	q := x.values()
	if len(q) == 0 {
		return nil
	}
	if err := convert(&q, into); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// includeObject is what a table's rows carry besides their cells.
func (x *exchange) includeObject() (metav1.IncludeObjectPolicy, error) {
	if x.media.Form != codec.Table {
		return "", nil
	}
	switch v := metav1.IncludeObjectPolicy(x.values().Get("includeObject")); v {
	case "", metav1.IncludeNone, metav1.IncludeMetadata, metav1.IncludeObject:
		return v, nil
	default:
		return "", apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: includeObject: Invalid value: %q: must be 'Metadata', 'Object', 'None', or empty", v))
	}
}

// contextWithUser is for handlers that are no resource and may ask who the user is.
func (x *exchange) contextWithUser() context.Context {
	return request.WithUser(x.ctx, x.user)
}
