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
