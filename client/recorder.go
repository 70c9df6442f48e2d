package client

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
	"k8s.io/utils/clock"
)

const (
	// recorderQueue bounds the events that wait to be written; further ones are dropped.
	recorderQueue = 10_000
	// Events are written at recorderRate a second after a burst, so that those of a large batch of pods do not
	// compete with the batch itself.
	recorderRate  = 250
	recorderBurst = 100
	recorderTries = 3
	// Upstream's bounds of the events from one source about one object.
	spamObjects = 4096
	spamBurst   = 25
	spamRefill  = 5 * time.Minute
)

// Recorder writes Events for people to read. It never blocks and never fails its caller: similar events are
// aggregated and floods from one source about one object are cut off as upstream does it, and when too many wait
// to be written, new ones are dropped.
type Recorder struct {
	component string
	events    chan *corev1.Event
	client    Client[*corev1.Event]
	correlate *record.EventCorrelator
	// spam is the correlator's own filter, asked first: the correlator works out the patch of an event before it
	// drops it, which is far too much work for one of thousands.
	spam *record.EventSourceObjectSpamFilter
}

// NewRecorder is a recorder that names component as the events' source. It writes while Run runs.
func NewRecorder(t Transport, component string) *Recorder {
	return &Recorder{
		component: component, events: make(chan *corev1.Event, recorderQueue), client: For[*corev1.Event](t),
		correlate: record.NewEventCorrelator(clock.RealClock{}),
		spam:      record.NewEventSourceObjectSpamFilter(spamObjects, spamBurst, float32(1/spamRefill.Seconds()), clock.RealClock{}, spamKey),
	}
}

// spamKey is what floods are counted by: the source, the object and the type.
func spamKey(e *corev1.Event) string {
	o := &e.InvolvedObject
	return strings.Join([]string{e.Source.Component, o.Kind, o.Namespace, o.Name, string(o.UID), e.Type}, "/")
}

// Event records what happened to an object; kind is corev1.EventTypeNormal or EventTypeWarning.
func (r *Recorder) Event(about runtime.Object, kind, reason, message string) {
	r.Action(about, kind, reason, "", message)
}

// Eventf is Event with a format.
func (r *Recorder) Eventf(about runtime.Object, kind, reason, format string, args ...any) {
	r.Event(about, kind, reason, fmt.Sprintf(format, args...))
}

// Action is Event with the action that was taken ("Binding").
func (r *Recorder) Action(about runtime.Object, kind, reason, action, message string) {
	ref, ok := about.(*corev1.ObjectReference)
	if !ok {
		var err error
		if ref, err = reference.GetReference(scheme.Scheme, about); err != nil {
			slog.Error("cannot record an event", "reason", reason, "error", err)
			return
		}
	}
	now := metav1.Now()
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: util.GenerateEventName(ref.Name, now.UnixNano()), Namespace: namespace},
		InvolvedObject: *ref, Reason: reason, Message: message, Type: kind, Action: action,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source: corev1.EventSource{Component: r.component}, ReportingController: r.component,
	}
	select {
	case r.events <- e:
	default:
	}
}

// Run writes events until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	pace := newBucket(recorderRate, recorderBurst)
	for {
		select {
		case e := <-r.events:
			if r.spam.Filter(e) {
				continue
			}
			result, err := r.correlate.EventCorrelate(e)
			if err != nil {
				slog.Error("cannot correlate an event", "error", err)
				continue
			}
			if result.Skip {
				continue
			}
			pause(ctx, pace.take(time.Now()))
			r.write(ctx, result.Event, result.Patch)
		case <-ctx.Done():
			return
		}
	}
}

// write creates the event, or raises the count of the one that it repeats.
func (r *Recorder) write(ctx context.Context, e *corev1.Event, patch []byte) {
	for range recorderTries {
		stored, err := r.store(ctx, e, patch)
		if err == nil {
			r.correlate.UpdateState(stored)
			return
		}
		if _, answered := err.(apierrors.APIStatus); answered || ctx.Err() != nil {
			slog.Debug("event refused", "event", e.Name, "namespace", e.Namespace, "error", err)
			return
		}
		pause(ctx, time.Second)
	}
}

func (r *Recorder) store(ctx context.Context, e *corev1.Event, patch []byte) (*corev1.Event, error) {
	if e.Count > 1 && len(patch) > 0 {
		stored, err := r.client.Patch(ctx, e.Namespace, e.Name, types.StrategicMergePatchType, patch)
		if !apierrors.IsNotFound(err) {
			return stored, err
		}
	}
	e = e.DeepCopy()
	e.ResourceVersion = ""
	return r.client.Create(ctx, e)
}

// bucket lets a burst pass and then a steady rate. It is not safe for concurrent use.
type bucket struct {
	interval, depth time.Duration
	next            time.Time // when the bucket would have been empty if it had no depth
}

func newBucket(perSecond, burst int) *bucket {
	interval := time.Second / time.Duration(perSecond)
	return &bucket{interval: interval, depth: interval * time.Duration(burst)}
}

// take is how long to wait for the next token, which is taken.
func (b *bucket) take(now time.Time) time.Duration {
	if earliest := now.Add(-b.depth); b.next.Before(earliest) {
		b.next = earliest
	}
	b.next = b.next.Add(b.interval)
	return b.next.Sub(now)
}
