package kind

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// documented is what every type of k8s.io/api offers: the documentation of its fields by JSON name.
type documented interface{ SwaggerDoc() map[string]string }

// Doc is the documentation of a field, for the description of a column.
func Doc(of documented, field string) string { return of.SwaggerDoc()[field] }

// NameColumn is the first column of nearly every kind.
func NameColumn[T Object]() Column[T] {
	return Column[T]{Name: "Name", Type: "string", Format: "name", Description: Doc(metav1.ObjectMeta{}, "name"),
		Cell: func(o T, _ time.Time) any { return o.GetName() }}
}

// AgeColumn is the time since creation.
func AgeColumn[T Object]() Column[T] {
	return Column[T]{Name: "Age", Type: "string", Description: Doc(metav1.ObjectMeta{}, "creationTimestamp"),
		Cell: func(o T, now time.Time) any { return Age(o.GetCreationTimestamp(), now) }}
}

// plainColumns are the columns of kinds that declare none.
func plainColumns[T Object]() []Column[T] {
	return []Column[T]{NameColumn[T](), {
		Name: "Created At", Type: "date", Description: Doc(metav1.ObjectMeta{}, "creationTimestamp"),
		Cell: func(o T, _ time.Time) any { return o.GetCreationTimestamp().UTC().Format(time.RFC3339) },
	}}
}
