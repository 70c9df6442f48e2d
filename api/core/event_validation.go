package core

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Most characters of an event's texts, for events that give an eventTime.
const (
	eventTextMax = 128
	eventNoteMax = 1024
)

// validateOldEvent is what the core group asks of events. Those without an eventTime come from old clients and may say
// nearly anything. controller is the name of the field that holds ReportingController in the served shape.
func validateOldEvent(e *corev1.Event, controller string) field.ErrorList {
	var ps kind.Problems
	about := e.InvolvedObject.Namespace
	fits := about == e.Namespace
	switch {
	case !e.EventTime.IsZero():
		// What belongs to no namespace has its events in one of these. Nobody tells of objects of other namespaces: those who look
		// for an object's events would believe it.
		fits = fits || about == "" && (e.Namespace == metav1.NamespaceDefault || e.Namespace == metav1.NamespaceSystem)
		ps.Add(validateEventTexts(e, controller))
	case about == "":
		fits = e.Namespace == metav1.NamespaceNone || e.Namespace == metav1.NamespaceDefault
	}
	if !fits {
		ps.Invalid(field.NewPath("involvedObject", "namespace"), "", about, "does not match event.namespace")
	}
	if !plainNamespace(e.Namespace) {
		ps.Messages(nil, "namespace", e.Namespace, validation.IsDNS1123Subdomain(e.Namespace))
	}
	return ps.List
}

// plainNamespace spares the regular expression for nearly all namespaces.
func plainNamespace(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for n := range len(s) {
		if c := s[n]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func validateEventTexts(e *corev1.Event, controller string) field.ErrorList {
	var ps kind.Problems
	if e.ReportingController == "" {
		ps.Required(field.NewPath(controller), "", "")
	}
	ps.Messages(nil, controller, e.ReportingController, kind.QualifiedName(e.ReportingController))
	text := func(child, value string) {
		if value == "" {
			ps.Required(field.NewPath(child), "", "")
		}
		if len(value) > eventTextMax {
			ps.Invalid(field.NewPath(child), "", "", fmt.Sprintf("may have at most %d characters", eventTextMax))
		}
	}
	text("reportingInstance", e.ReportingInstance)
	text("action", e.Action)
	text("reason", e.Reason)
	if len(e.Message) > eventNoteMax {
		ps.Invalid(nil, "message", "", fmt.Sprintf("may have at most %d characters", eventNoteMax))
	}
	return ps.List
}

// ValidateNewEvent is what events.k8s.io asks of a new event, given in its stored shape.
func ValidateNewEvent(e *corev1.Event) field.ErrorList {
	var ps kind.Problems
	ps.Add(validateOldEvent(e, "reportingController"))
	ps.Add(validateSeries(e))
	if e.EventTime.IsZero() {
		ps.Required(nil, "eventTime", "")
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		ps.Invalid(nil, "type", e.Type, "must be Normal or Warning")
	}
	unset := func(child string, empty bool) {
		if !empty {
			ps.Invalid(field.NewPath(child), "", "", "must be left out")
		}
	}
	unset("firstTimestamp", e.FirstTimestamp.IsZero())
	unset("lastTimestamp", e.LastTimestamp.IsZero())
	unset("count", e.Count == 0)
	unset("source", e.Source == corev1.EventSource{})
	return ps.List
}

func validateSeries(e *corev1.Event) field.ErrorList {
	if e.Series == nil {
		return nil
	}
	var ps kind.Problems
	if e.Series.Count < 2 {
		ps.Invalid(nil, "series.count", e.Series.Count, "must be at least 2")
	}
	if e.Series.LastObservedTime.IsZero() {
		ps.Required(nil, "series.lastObservedTime", "")
	}
	return ps.List
}

// ValidateNewEventUpdate is what events.k8s.io asks of a change: only the series and metadata may change.
func ValidateNewEventUpdate(next, old *corev1.Event) field.ErrorList {
	var ps kind.Problems
	ps.Add(validateOldEvent(next, "reportingController"))
	if !apiequality.Semantic.DeepEqual(next.Series, old.Series) {
		ps.Add(validateSeries(next))
	}
	keep := func(child string, a, b any) {
		ps.Add(apivalidation.ValidateImmutableField(a, b, field.NewPath(child)))
	}
	keep("involvedObject", next.InvolvedObject, old.InvolvedObject)
	keep("reason", next.Reason, old.Reason)
	keep("message", next.Message, old.Message)
	keep("source", next.Source, old.Source)
	keep("firstTimestamp", next.FirstTimestamp, old.FirstTimestamp)
	keep("lastTimestamp", next.LastTimestamp, old.LastTimestamp)
	keep("count", next.Count, old.Count)
	keep("type", next.Type, old.Type)
	// Clients that encode nanoseconds must be able to write what they read.
	if !next.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		keep("eventTime", next.EventTime, old.EventTime)
	}
	keep("action", next.Action, old.Action)
	keep("related", next.Related, old.Related)
	keep("reportingController", next.ReportingController, old.ReportingController)
	keep("reportingInstance", next.ReportingInstance, old.ReportingInstance)
	return ps.List
}
