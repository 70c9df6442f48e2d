package discovery

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// validateIP wants an address of the slice's family that other machines can reach. A wrong family is reported at the
// list, as upstream does.
func validateIP(text string, v4 bool, at, list *field.Path) field.ErrorList {
	var ps kind.Problems
	ps.Add(validation.IsValidIPForLegacyField(at, text, true, nil))
	ip := utilnet.ParseIPSloppy(text)
	if ip == nil {
		return ps.List
	}
	if v4 != (ip.To4() != nil) {
		family := "IPv6"
		if v4 {
			family = "IPv4"
		}
		ps.Invalid(list, "", text, "must be a valid "+family+" address")
	}
	reason := ""
	switch {
	case ip.IsUnspecified():
		reason = "may not be unspecified (0.0.0.0 or ::)"
	case ip.IsLoopback():
		reason = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
	case ip.IsLinkLocalUnicast():
		reason = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
	case ip.IsLinkLocalMulticast():
		reason = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
	}
	if reason != "" {
		ps.Invalid(at, "", text, reason)
	}
	return ps.List
}

// canonical tells cheaply that an address needs no warning.
func canonical(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && a.String() == ip && !a.Is4In6()
}
