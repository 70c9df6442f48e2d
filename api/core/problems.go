package core

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// problems gathers what is wrong with an object. Every method takes the path of the parent and the name of the
// child ("" for the parent itself), so that a path is only built for what is wrong: most objects are right.
type problems struct{ list field.ErrorList }

func below(at *field.Path, child string) *field.Path {
	if child == "" {
		return at
	}
	return at.Child(child)
}

func (p *problems) add(list field.ErrorList) {
	if len(list) > 0 {
		p.list = append(p.list, list...)
	}
}

func (p *problems) required(at *field.Path, child, detail string) {
	p.list = append(p.list, field.Required(below(at, child), detail))
}

func (p *problems) invalid(at *field.Path, child string, value any, detail string) {
	p.list = append(p.list, field.Invalid(below(at, child), value, detail))
}

func (p *problems) forbidden(at *field.Path, child, detail string) {
	p.list = append(p.list, field.Forbidden(below(at, child), detail))
}

func (p *problems) duplicate(at *field.Path, child, value string) {
	p.list = append(p.list, field.Duplicate(below(at, child), value))
}

func (p *problems) notFound(at *field.Path, child, value string) {
	p.list = append(p.list, field.NotFound(below(at, child), value))
}

// messages reports one invalid value for each message about it.
func (p *problems) messages(at *field.Path, child, value string, messages []string) {
	for _, m := range messages {
		p.invalid(at, child, value, m)
	}
}

// label complains about what is no DNS label.
func (p *problems) label(at *field.Path, child, value string) {
	p.messages(at, child, value, dnsLabel(value))
}

// subdomain complains about what is no DNS subdomain.
func (p *problems) subdomain(at *field.Path, child, value string) {
	p.messages(at, child, value, dnsSubdomain(value))
}

// oneOf complains about a value that is none of the supported ones.
func oneOf[T ~string](p *problems, at *field.Path, child string, value T, supported ...T) {
	for _, s := range supported {
		if value == s {
			return
		}
	}
	p.list = append(p.list, field.NotSupported(below(at, child), value, supported))
}

// requiredOneOf is oneOf for a field that may not be empty.
func requiredOneOf[T ~string](p *problems, at *field.Path, child string, value T, supported ...T) {
	if value == "" {
		p.required(at, child, "")
		return
	}
	oneOf(p, at, child, value, supported...)
}
