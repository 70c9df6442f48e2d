package apiserver_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Nobody tells of another namespace's objects, in neither form of events.
func TestEventsStayInTheirNamespace(t *testing.T) {
	client := newHouse(t, nil).client("application/json")
	event := func(namespace string) *eventsv1.Event {
		return &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{GenerateName: "e-"}, EventTime: metav1.NowMicro(), ReportingController: "example.com/c", ReportingInstance: "i",
			Action: "a", Reason: "r", Type: "Normal", Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: "p"}}
	}
	for namespace, fine := range map[string]bool{"default": true, "": true, "kube-system": false} {
		_, err := client.EventsV1().Events("default").Create(context.Background(), event(namespace), metav1.CreateOptions{})
		if fine && err != nil || !fine && !apierrors.IsInvalid(err) {
			t.Errorf("an event about %q: %v", namespace, err)
		}
		e := event(namespace)
		_, err = client.CoreV1().Events("default").Create(context.Background(), &corev1.Event{ObjectMeta: e.ObjectMeta, EventTime: e.EventTime, ReportingController: "example.com/c",
			ReportingInstance: "i", Action: "a", Reason: "r", Type: "Normal", InvolvedObject: e.Regarding}, metav1.CreateOptions{})
		if fine && err != nil || !fine && !apierrors.IsInvalid(err) {
			t.Errorf("an old event about %q: %v", namespace, err)
		}
	}
}

// A Binding to nowhere is the client's mistake.
func TestBindingToNowhere(t *testing.T) {
	client := newHouse(t, nil).client("application/json")
	if _, err := client.CoreV1().Pods("default").Create(context.Background(), pod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := client.CoreV1().Pods("default").Bind(context.Background(), &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Error(err)
	}
}

// A resourceVersion of an object to be created is refused, but by a dry run, which shows it again, as upstream's does.
func TestCreateWithRevision(t *testing.T) {
	h := newHouse(t, nil)
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		maps := h.client(contentType).CoreV1().ConfigMaps("default")
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", ResourceVersion: "5"}}
		got, err := maps.Create(context.Background(), o, metav1.CreateOptions{DryRun: []string{"All"}})
		if err != nil || got.ResourceVersion != "5" || got.UID == "" {
			t.Errorf("dry run: %v, %v", got, err)
		}
		if _, err := maps.Create(context.Background(), o, metav1.CreateOptions{}); err == nil || apierrors.ReasonForError(err) != metav1.StatusReasonUnknown {
			t.Errorf("create: %v", err)
		}
		if _, err := maps.Get(context.Background(), "c", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("left: %v", err)
		}
	}
}
