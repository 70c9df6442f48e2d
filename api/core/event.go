package core

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// EventTTL is how long events are kept unless the operator says otherwise.
const EventTTL = time.Hour

// Event is the kind of events, in the shape in which both event groups are stored.
var Event = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "events", ShortNames: []string{"ev"}, Namespaced: true, TTL: EventTTL,
	List: kind.ListOf[corev1.EventList], CreateOnUpdate: true, FreeFinalizers: true, ValidName: path.ValidatePathSegmentName,
}, kind.Rules[corev1.Event]{
	Validate: func(e, _ *corev1.Event) field.ErrorList { return validateOldEvent(e, "reportingComponent") },
	Fields:   EventFields,
	Columns:  EventColumns,
})

// EventFields are the field selectors of events, on the stored shape.
var EventFields = []kind.Field[corev1.Event]{
	{Name: "involvedObject.kind", Value: func(e *corev1.Event) string { return e.InvolvedObject.Kind }},
	{Name: "involvedObject.namespace", Value: func(e *corev1.Event) string { return e.InvolvedObject.Namespace }},
	{Name: "involvedObject.name", Value: func(e *corev1.Event) string { return e.InvolvedObject.Name }},
	{Name: "involvedObject.uid", Value: func(e *corev1.Event) string { return string(e.InvolvedObject.UID) }},
	{Name: "involvedObject.apiVersion", Value: func(e *corev1.Event) string { return e.InvolvedObject.APIVersion }},
	{Name: "involvedObject.resourceVersion", Value: func(e *corev1.Event) string { return e.InvolvedObject.ResourceVersion }},
	{Name: "involvedObject.fieldPath", Value: func(e *corev1.Event) string { return e.InvolvedObject.FieldPath }},
	{Name: "reason", Value: func(e *corev1.Event) string { return e.Reason }},
	{Name: "reportingComponent", Value: func(e *corev1.Event) string { return e.ReportingController }},
	{Name: "source", Value: eventSource},
	{Name: "type", Value: func(e *corev1.Event) string { return e.Type }},
}

func eventSource(e *corev1.Event) string {
	if e.Source.Component == "" {
		return e.ReportingController
	}
	return e.Source.Component
}

// EventColumns are those of events, on the stored shape.
var EventColumns = []kind.Column[corev1.Event]{
	{Name: "Last Seen", Type: "string", Description: kind.Doc(corev1.Event{}, "lastTimestamp"), Cell: EventLastSeen},
	kind.Text("Type", kind.Doc(corev1.Event{}, "type"), func(e *corev1.Event) string { return e.Type }),
	kind.Text("Reason", kind.Doc(corev1.Event{}, "reason"), func(e *corev1.Event) string { return e.Reason }),
	{Name: "Object", Type: "string", Description: kind.Doc(corev1.Event{}, "involvedObject"), Cell: eventObject},
	kind.Text("Subobject", kind.Doc(corev1.ObjectReference{}, "fieldPath"), func(e *corev1.Event) string { return e.InvolvedObject.FieldPath }).Wide(),
	{Name: "Source", Type: "string", Priority: 1, Description: kind.Doc(corev1.Event{}, "source"), Cell: eventSourceCell},
	kind.Text("Message", kind.Doc(corev1.Event{}, "message"), func(e *corev1.Event) string { return strings.TrimSpace(e.Message) }),
	{Name: "First Seen", Type: "string", Priority: 1, Description: kind.Doc(corev1.Event{}, "firstTimestamp"), Cell: eventFirstSeen},
	{Name: "Count", Type: "string", Priority: 1, Description: kind.Doc(corev1.Event{}, "count"), Cell: eventCount},
	{Name: "Name", Type: "string", Format: "name", Priority: 1, Description: kind.Doc(metav1.ObjectMeta{}, "name"),
		Cell: func(e *corev1.Event, _ time.Time) any { return e.Name }},
}

func microAge(t metav1.MicroTime, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func eventFirstSeen(e *corev1.Event, now time.Time) any {
	if e.FirstTimestamp.IsZero() {
		return microAge(e.EventTime, now)
	}
	return kind.Age(e.FirstTimestamp, now)
}

// EventLastSeen is the age of an event's last occurrence.
func EventLastSeen(e *corev1.Event, now time.Time) any {
	if e.Series != nil {
		return microAge(e.Series.LastObservedTime, now)
	}
	if e.LastTimestamp.IsZero() {
		return eventFirstSeen(e, now)
	}
	return kind.Age(e.LastTimestamp, now)
}

func eventCount(e *corev1.Event, _ time.Time) any {
	switch {
	case e.Series != nil:
		return int64(e.Series.Count)
	case e.Count == 0:
		return int64(1)
	}
	return int64(e.Count)
}

func eventObject(e *corev1.Event, _ time.Time) any {
	kind := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name == "" {
		return kind
	}
	return kind + "/" + e.InvolvedObject.Name
}

func eventSourceCell(e *corev1.Event, _ time.Time) any {
	component, host := e.Source.Component, e.Source.Host
	if component == "" {
		component = e.ReportingController
	}
	if host == "" {
		host = e.ReportingInstance
	}
	if host == "" {
		return component
	}
	return component + ", " + host
}
