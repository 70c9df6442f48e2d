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
func Find(s State, who string) (Standing, error) {
	var found []Standing
	var names []string
	for _, m := range s.Members {
		if m.Name == who && who != "" || FormatID(m.ID) == strings.ToLower(who) {
			return m, nil
		}
		if slices.Contains(s.placesOf(m), strings.TrimSuffix(who, "/")) {
			found = append(found, m)
		}
		names = append(names, cmp.Or(m.Name, FormatID(m.ID)))
	}
	switch len(found) {
	case 0:
		return Standing{}, notFound("there is no master %s: they are %s", who, strings.Join(names, ", "))
	case 1:
		return found[0], nil
	}
	return Standing{}, conflict("%s stands for several masters: give the whole name or the ID that wheelhouse member list shows", who)
}

// placesOf are the ways to call a member by where it is. The URL of its API is known only while it lives.
func (s *State) placesOf(m Standing) []string {
	var places []string
	if host, _, ok := strings.Cut(m.Name, "_"); ok && host != "" {
		places = append(places, host)
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
		places = append(places, strings.TrimSuffix(text, "/"), u.Host, u.Hostname())
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.To4() == nil {
			places = append(places, "["+u.Hostname()+"]")
		}
	}
	return places
}
