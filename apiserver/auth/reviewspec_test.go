package auth

import (
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestReviewedRequest: a review is of the request that it describes. What a selector cannot say is left out, which only makes the request
// look broader; one that cannot be read is told, and selects nothing.
func TestReviewedRequest(t *testing.T) {
	on := func(operator metav1.FieldSelectorOperator, values ...string) []metav1.FieldSelectorRequirement {
		return []metav1.FieldSelectorRequirement{{Key: "spec.nodeName", Operator: operator, Values: values}}
	}
	for name, c := range map[string]struct {
		in     *authorizationv1.FieldSelectorAttributes
		want   []string
		failed bool
	}{
		"none":          {},
		"raw":           {in: &authorizationv1.FieldSelectorAttributes{RawSelector: "spec.nodeName=n1,a!=b"}, want: []string{"a!=b", "spec.nodeName=n1"}},
		"raw, unread":   {in: &authorizationv1.FieldSelectorAttributes{RawSelector: "spec.nodeName>n1"}, failed: true},
		"in":            {in: &authorizationv1.FieldSelectorAttributes{Requirements: on(metav1.FieldSelectorOpIn, "n1")}, want: []string{"spec.nodeName=n1"}},
		"not in":        {in: &authorizationv1.FieldSelectorAttributes{Requirements: on(metav1.FieldSelectorOpNotIn, "n1")}, want: []string{"spec.nodeName!=n1"}},
		"in two":        {in: &authorizationv1.FieldSelectorAttributes{Requirements: on(metav1.FieldSelectorOpIn, "n1", "n2")}},
		"exists":        {in: &authorizationv1.FieldSelectorAttributes{Requirements: on(metav1.FieldSelectorOpExists)}},
		"exists, value": {in: &authorizationv1.FieldSelectorAttributes{Requirements: on(metav1.FieldSelectorOpExists, "n1")}},
		"unknown":       {in: &authorizationv1.FieldSelectorAttributes{Requirements: on("Near", "n1")}},
	} {
		a := resourceAttributes(nil, &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods", FieldSelector: c.in})
		var got []string
		for _, r := range a.FieldSelectorRequirements {
			got = append(got, r.Field+string(r.Operator)+r.Value)
		}
		if !slices.Equal(got, c.want) || (a.FieldSelectorParsingErr != nil) != c.failed || a.APIVersion != "*" {
			t.Errorf("%s: %v, %v", name, got, a.FieldSelectorParsingErr)
		}
	}
	for name, c := range map[string]struct {
		in     authorizationv1.LabelSelectorAttributes
		want   []string
		failed bool
	}{
		"raw":         {in: authorizationv1.LabelSelectorAttributes{RawSelector: "a in (b,c),d"}, want: []string{"a in (b,c)", "d"}},
		"raw, unread": {in: authorizationv1.LabelSelectorAttributes{RawSelector: "a in"}, failed: true},
		"parsed": {in: authorizationv1.LabelSelectorAttributes{Requirements: []metav1.LabelSelectorRequirement{
			{Key: "a", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"b"}}}}, want: []string{"a notin (b)"}},
		"unknown": {in: authorizationv1.LabelSelectorAttributes{Requirements: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}, failed: true},
	} {
		a := resourceAttributes(nil, &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods", LabelSelector: &c.in})
		var got []string
		for _, r := range a.LabelSelectorRequirements {
			got = append(got, r.String())
		}
		if !slices.Equal(got, c.want) || (a.LabelSelectorParsingErr != nil) != c.failed {
			t.Errorf("%s: %v, %v", name, got, a.LabelSelectorParsingErr)
		}
	}
}

// TestReviewedSubject: who is asked about is who is named, with all that an authorizer may look at.
func TestReviewedSubject(t *testing.T) {
	u := subjectOfReview(&authorizationv1.SubjectAccessReviewSpec{
		User: "u", UID: "1", Groups: []string{"g", "h"}, Extra: map[string]authorizationv1.ExtraValue{"scopes": {"a", "b"}},
	})
	if u.GetName() != "u" || u.GetUID() != "1" || !slices.Equal(u.GetGroups(), []string{"g", "h"}) || !slices.Equal(u.GetExtra()["scopes"], []string{"a", "b"}) {
		t.Errorf("%+v", u)
	}
}
