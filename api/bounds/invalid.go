package bounds

import (
	"fmt"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// MaxErrors that are told of one object: whoever has more reads the first.
	MaxErrors = 100
	// maxShown is how much of a value an error shows.
	maxShown = 1 << 10
	// maxShownValues is how many values that what an error shows may have.
	maxShownValues = 500
)

// Invalid is the answer to an object with errors, as apierrors.NewInvalid makes it. That joins the errors at a cost that
// grows with their square, so of many only the first are told, and how many more there are.
func Invalid(gk schema.GroupKind, name string, errs field.ErrorList) *apierrors.StatusError {
	more := max(0, len(errs)-MaxErrors)
	shown := make(field.ErrorList, 0, min(len(errs), MaxErrors))
	for _, e := range errs[:len(errs)-more] {
		shown = append(shown, shorten(e))
	}
	err := apierrors.NewInvalid(gk, Shorten(name), shown)
	if more > 0 {
		err.ErrStatus.Message += fmt.Sprintf(" and %d more errors", more)
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: fmt.Sprintf("and %d more errors", more)})
	}
	return err
}

// shorten cuts the value that an error shows, and what is said of it.
func shorten(e *field.Error) *field.Error {
	short := *e
	switch value := e.BadValue.(type) {
	case string:
		short.BadValue = Shorten(value)
	case nil, field.OmitValueType:
	default:
		if size(value) > maxShownValues {
			short.BadValue = field.OmitValueType{}
		}
	}
	short.Detail, short.Field = Shorten(e.Detail), Shorten(e.Field)
	return &short
}

// Shorten cuts a text that a message shows.
func Shorten(text string) string {
	if len(text) <= maxShown {
		return text
	}
	n := maxShown
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "..."
}
