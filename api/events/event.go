// Package events defines the kinds of events.k8s.io: a second, stricter shape of the core group's events.
package events

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/core"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Event is the kind of events as events.k8s.io serves them; the core group's Event is what is stored.
var Event = kind.Define(kind.Resource{
	GroupVersion: eventsv1.SchemeGroupVersion, Plural: "events", ShortNames: []string{"ev"}, Namespaced: true, TTL: core.EventTTL,
	List: kind.ListOf[eventsv1.EventList], CreateOnUpdate: true,
	Via: &kind.Conversion{
		Stored: schema.GroupResource{Resource: "events"}, StoredVersion: "v1",
		ToStored: func(o kind.Object) (kind.Object, error) {
			e, ok := o.(*eventsv1.Event)
			if !ok {
				return nil, fmt.Errorf("cannot convert %T to a core event", o)
			}
			return ToCore(e), nil
		},
		FromStored: func(o kind.Object) (kind.Object, error) {
			e, ok := o.(*corev1.Event)
			if !ok {
				return nil, fmt.Errorf("cannot convert %T to an event of events.k8s.io", o)
			}
			return FromCore(e), nil
		},
	},
}, kind.Rules[eventsv1.Event]{
	Validate: func(e, _ *eventsv1.Event) field.ErrorList { return core.ValidateNewEvent(ToCore(e)) },
	ValidateUpdate: func(next, old *eventsv1.Event) field.ErrorList {
		return core.ValidateNewEventUpdate(ToCore(next), ToCore(old))
	},
	Fields:  fields(),
	Columns: columns(),
})

// ToCore gives the stored shape of an event. It shares what the event points to.
func ToCore(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		ObjectMeta: e.ObjectMeta, InvolvedObject: e.Regarding, Reason: e.Reason, Message: e.Note,
		Source: e.DeprecatedSource, FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp,
		Count: e.DeprecatedCount, Type: e.Type, EventTime: e.EventTime, Action: e.Action, Related: e.Related,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
	}
	if e.Series != nil {
		out.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

// FromCore gives the shape of events.k8s.io of a stored event. It shares what the event points to.
func FromCore(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		ObjectMeta: e.ObjectMeta, Regarding: e.InvolvedObject, Reason: e.Reason, Note: e.Message,
		DeprecatedSource: e.Source, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp,
		DeprecatedCount: e.Count, Type: e.Type, EventTime: e.EventTime, Action: e.Action, Related: e.Related,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
	}
	if e.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

// renamed are the field selectors whose name differs from the stored shape's.
var renamed = map[string]string{
	"involvedObject.kind": "regarding.kind", "involvedObject.namespace": "regarding.namespace",
	"involvedObject.name": "regarding.name", "involvedObject.uid": "regarding.uid",
	"involvedObject.apiVersion": "regarding.apiVersion", "involvedObject.resourceVersion": "regarding.resourceVersion",
	"involvedObject.fieldPath": "regarding.fieldPath", "reportingComponent": "reportingController",
	"reason": "reason", "type": "type",
}

func fields() []kind.Field[eventsv1.Event] {
	var out []kind.Field[eventsv1.Event]
	for _, f := range core.EventFields {
		name, ok := renamed[f.Name]
		if !ok {
			continue
		}
		value := f.Value
		out = append(out, kind.Field[eventsv1.Event]{Name: name, Value: func(e *eventsv1.Event) string { return value(ToCore(e)) }})
	}
	return out
}

func columns() []kind.Column[eventsv1.Event] {
	out := make([]kind.Column[eventsv1.Event], 0, len(core.EventColumns))
	for _, c := range core.EventColumns {
		cell := c.Cell
		out = append(out, kind.Column[eventsv1.Event]{Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description,
			Priority: c.Priority, Cell: func(e *eventsv1.Event, now time.Time) any { return cell(ToCore(e), now) }})
	}
	return out
}
