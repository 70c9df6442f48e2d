package kind

import (
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Problems gathers what is wrong with an object, in the order in which it is found. The methods take the path of the parent
// (nil for the object) and the name of the child ("" for the parent itself), so that a path is only built for what is wrong:
// most objects are right.
type Problems struct{ List field.ErrorList }

func below(at *field.Path, child string) *field.Path {
	if child == "" {
		return at
	}
	return at.Child(child)
}

// Add takes over what another judge has found.
func (p *Problems) Add(list field.ErrorList) {
	if len(list) > 0 {
		p.List = append(p.List, list...)
	}
}

// Required reports a value that must be given and is not.
func (p *Problems) Required(at *field.Path, child, detail string) {
	p.List = append(p.List, field.Required(below(at, child), detail))
}

// Invalid reports a value that may not be what it is.
func (p *Problems) Invalid(at *field.Path, child string, value any, detail string) {
	p.List = append(p.List, field.Invalid(below(at, child), value, detail))
}

// Forbidden reports a value that may not be given.
func (p *Problems) Forbidden(at *field.Path, child, detail string) {
	p.List = append(p.List, field.Forbidden(below(at, child), detail))
}

// Duplicate reports a value that was there before.
func (p *Problems) Duplicate(at *field.Path, child string, value any) {
	p.List = append(p.List, field.Duplicate(below(at, child), value))
}

// NotFound reports a value that names nothing.
func (p *Problems) NotFound(at *field.Path, child string, value any) {
	p.List = append(p.List, field.NotFound(below(at, child), value))
}

// TooLong reports a text of more than limit bytes.
func (p *Problems) TooLong(at *field.Path, child string, limit int) {
	p.List = append(p.List, field.TooLong(below(at, child), "", limit))
}

// TooMany reports a list of more than limit items.
func (p *Problems) TooMany(at *field.Path, child string, n, limit int) {
	p.List = append(p.List, field.TooMany(below(at, child), n, limit))
}

// Messages reports one invalid value for each message about it.
func (p *Problems) Messages(at *field.Path, child, value string, messages []string) {
	for _, m := range messages {
		p.Invalid(at, child, value, m)
	}
}

// Label complains about what is no DNS label.
func (p *Problems) Label(at *field.Path, child, value string) {
	p.Messages(at, child, value, DNSLabel(value))
}

// Subdomain complains about what is no DNS subdomain.
func (p *Problems) Subdomain(at *field.Path, child, value string) {
	p.Messages(at, child, value, DNSSubdomain(value))
}

// Needs complains about an empty text.
func (p *Problems) Needs(at *field.Path, child, value string) {
	if value == "" {
		p.Required(at, child, "")
	}
}

// NeedsSegment complains about an empty text, and about one that cannot stand in a path by itself, as a name must.
func (p *Problems) NeedsSegment(at *field.Path, child, value string) {
	if value == "" {
		p.Required(at, child, "")
		return
	}
	p.Messages(at, child, value, path.IsValidPathSegmentName(value))
}

// NotNegative complains about a number below zero.
func (p *Problems) NotNegative(at *field.Path, child string, n int64) {
	if n < 0 {
		p.Invalid(at, child, n, "must be greater than or equal to 0")
	}
}

// Unsupported reports a value that is none of the supported ones.
func Unsupported[T ~string](p *Problems, at *field.Path, child string, value T, supported ...T) {
	p.List = append(p.List, field.NotSupported(below(at, child), value, supported))
}

// OneOf complains about a value that is none of the supported ones.
func OneOf[T ~string](p *Problems, at *field.Path, child string, value T, supported ...T) {
	for _, s := range supported {
		if value == s {
			return
		}
	}
	Unsupported(p, at, child, value, supported...)
}

// RequiredOneOf is OneOf for a field that may not be empty.
func RequiredOneOf[T ~string](p *Problems, at *field.Path, child string, value T, supported ...T) {
	if value == "" {
		p.Required(at, child, "")
		return
	}
	OneOf(p, at, child, value, supported...)
}
