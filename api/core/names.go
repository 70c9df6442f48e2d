package core

import (
	"k8s.io/apimachinery/pkg/util/validation"
)

// dnsLabel gives the complaints about a DNS label. Names of the everyday form are recognized without the
// regular expression that words the complaints.
func dnsLabel(s string) []string {
	if len(s) <= validation.DNS1123LabelMaxLength && plainLabel(s) {
		return nil
	}
	return validation.IsDNS1123Label(s)
}

// dnsSubdomain gives the complaints about a DNS subdomain.
func dnsSubdomain(s string) []string {
	if len(s) <= validation.DNS1123SubdomainMaxLength && plainLabel(s) {
		return nil
	}
	return validation.IsDNS1123Subdomain(s)
}

// plainLabel accepts lower-case letters, digits and inner hyphens.
func plainLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// names is a set of strings. While it is small, as nearly all are, it costs no allocation; when a request makes it
// large, looking up stays cheap.
type names struct {
	few  [8]string
	n    int
	many map[string]struct{}
}

// add puts a name into the set and tells whether it is new.
func (s *names) add(name string) bool {
	if s.has(name) {
		return false
	}
	if s.many == nil && s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	if s.many == nil {
		s.many = make(map[string]struct{}, 2*len(s.few))
	}
	s.many[name] = struct{}{}
	return true
}

func (s *names) has(name string) bool {
	for i := 0; i < s.n; i++ {
		if s.few[i] == name {
			return true
		}
	}
	_, ok := s.many[name]
	return ok
}
