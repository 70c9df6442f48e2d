package kind

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Column is one column of a Table.
type Column[E any] struct {
	Name, Type, Format, Description string
	// Priority 0 is always shown, 1 with -o wide.
	Priority int32
	// Cell is the value shown: a string, int64, bool or nil. now is for ages (use Age).
	Cell func(o *E, now time.Time) any
}

// object is the pointer to a Go type that a kind can have.
type object[E any] interface {
	*E
	Object
}

// documented is what every type of k8s.io/api offers: the documentation of its fields by JSON name.
type documented interface{ SwaggerDoc() map[string]string }

// Doc is the documentation of a field, for the description of a column.
func Doc(of documented, field string) string { return of.SwaggerDoc()[field] }

// Columns are those of nearly every kind: Name, the kind's own, Age, and what follows it.
func Columns[E any, P object[E]](own []Column[E], afterAge ...Column[E]) []Column[E] {
	list := append([]Column[E]{NameColumn[E, P]()}, own...)
	return append(append(list, AgeColumn[E, P]()), afterAge...)
}

// NameColumn is the first column of nearly every kind.
func NameColumn[E any, P object[E]]() Column[E] {
	return Column[E]{Name: "Name", Type: "string", Format: "name", Description: Doc(metav1.ObjectMeta{}, "name"),
		Cell: func(o *E, _ time.Time) any { return P(o).GetName() }}
}

// AgeColumn is the time since creation.
func AgeColumn[E any, P object[E]]() Column[E] {
	return Column[E]{Name: "Age", Type: "string", Description: Doc(metav1.ObjectMeta{}, "creationTimestamp"),
		Cell: func(o *E, now time.Time) any { return Age(P(o).GetCreationTimestamp(), now) }}
}

// Text is a column of strings.
func Text[E any](name, description string, cell func(*E) string) Column[E] {
	return Column[E]{Name: name, Type: "string", Description: description, Cell: func(o *E, _ time.Time) any { return cell(o) }}
}

// Int is a column of numbers.
func Int[E any](name, description string, cell func(*E) int32) Column[E] {
	return Column[E]{Name: name, Type: "integer", Description: description, Cell: func(o *E, _ time.Time) any { return int64(cell(o)) }}
}

// Count is a column of numbers that upstream declares as strings.
func Count[E any](name, description string, cell func(*E) int32) Column[E] {
	c := Int(name, description, cell)
	c.Type = "string"
	return c
}

// Wide is the column with -o wide only.
func (c Column[E]) Wide() Column[E] {
	c.Priority = 1
	return c
}

// plainColumns are the columns of kinds that declare none.
func plainColumns[E any, P object[E]]() []Column[E] {
	if formOf[E]() == Tree {
		return Columns[E, P](nil) // as of custom resources
	}
	return []Column[E]{NameColumn[E, P](), {
		Name: "Created At", Type: "date", Description: Doc(metav1.ObjectMeta{}, "creationTimestamp"),
		Cell: func(o *E, _ time.Time) any { return P(o).GetCreationTimestamp().UTC().Format(time.RFC3339) },
	}}
}
