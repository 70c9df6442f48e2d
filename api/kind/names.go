package kind

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// DNSLabel gives the complaints about a DNS label. Names of the everyday form are recognized without the
// regular expression that words the complaints.
func DNSLabel(s string) []string {
	if len(s) <= validation.DNS1123LabelMaxLength && plainLabel(s) {
		return nil
	}
	return validation.IsDNS1123Label(s)
}

// DNSSubdomain gives the complaints about a DNS subdomain.
func DNSSubdomain(s string) []string {
	if len(s) <= validation.DNS1123SubdomainMaxLength && plainLabel(s) {
		return nil
	}
	return validation.IsDNS1123Subdomain(s)
}

// QualifiedName gives the complaints about a qualified name. Those about a long one depend on its first and last letter and on whether
// all others are allowed, so that a short name with the same faults stands in for it: the regular expression that words the
// complaints takes 0.1 s for 3 MB.
func QualifiedName(s string) []string {
	at := strings.LastIndexByte(s, '/') + 1
	name := s[at:]
	if len(name) <= 2*qualifiedNameMax {
		return validation.IsQualifiedName(s)
	}
	inner := "a"
	for i := 0; i < len(name) && inner == "a"; i++ {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			inner = "!"
		}
	}
	return validation.IsQualifiedName(s[:at] + name[:1] + strings.Repeat(inner, qualifiedNameMax) + name[len(name)-1:])
}

// qualifiedNameMax is how many letters a qualified name may have after its prefix.
const qualifiedNameMax = 63

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

// NameSet is a set of strings. While it is small, as nearly all are, it costs no allocation; when a request makes it
// large, looking up stays cheap.
type NameSet struct {
	few  [8]string
	n    int
	many map[string]struct{}
}

// Add puts a name into the set and tells whether it is new.
func (s *NameSet) Add(name string) bool {
	if s.Has(name) {
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

// Has tells whether the name is in the set.
func (s *NameSet) Has(name string) bool {
	for i := 0; i < s.n; i++ {
		if s.few[i] == name {
			return true
		}
	}
	_, ok := s.many[name]
	return ok
}
