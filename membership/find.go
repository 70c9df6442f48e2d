package membership

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Find the member that the operator means: by its name or ID, or by what member list shows of where it is, as far as that is one
// member's alone: a URL of its API or of its store, their host and port, their host, or the part of its name that is the
// host's.
func Find(s State, who string) (MemberState, error) {
	var found []MemberState
	var names []string
	for _, m := range s.Members {
		if m.Name == who && who != "" || FormatID(m.ID) == strings.ToLower(who) {
			return m, nil
		}
		if slices.Contains(s.addressesOf(m), strings.TrimSuffix(who, "/")) {
			found = append(found, m)
		}
		names = append(names, cmp.Or(m.Name, FormatID(m.ID)))
	}
	switch len(found) {
	case 0:
		return MemberState{}, notFound("there is no master %s: they are %s", who, strings.Join(names, ", "))
	case 1:
		return found[0], nil
	}
	return MemberState{}, conflict("%s stands for several masters: give the whole name or the ID that wheelhouse member list shows", who)
}

// addressesOf are the ways to call a member by where it is. The URL of its API is known only while it lives.
func (s *State) addressesOf(m MemberState) []string {
	var addresses []string
	if host, _, ok := strings.Cut(m.Name, "_"); ok && host != "" {
		addresses = append(addresses, host)
	}
	urls := []string{m.PeerURL}
	for _, live := range s.Masters {
		if m.Name != "" && live.Name == m.Name {
			urls = append(urls, live.URL)
		}
	}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			continue
		}
		addresses = append(addresses, strings.TrimSuffix(text, "/"), u.Host, u.Hostname())
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.To4() == nil {
			addresses = append(addresses, "["+u.Hostname()+"]")
		}
	}
	return addresses
}
