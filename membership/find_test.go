package membership

import (
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	s := state("v+ v+ v+ v+")
	s.Members[2].Name = "h2_y"
	s.Members[3].Name = "" // it has not started yet
	for i, peer := range []string{"https://10.0.0.1:2380", "https://10.0.0.2:2380", "https://10.0.0.2:2390", "https://[fd00::4]:2380"} {
		s.Members[i].PeerURL = peer
	}
	s.Masters = []Master{{Name: "h1_x", URL: "https://192.0.2.1:6443"}, {Name: "h2_x", URL: "https://10.0.0.2:6443"}, {Name: "", URL: "https://192.0.2.4:6443"}}
	for who, want := range map[string]string{
		"h1": "h1_x", "h1_x": "h1_x", "h2_y": "h2_y", "3": "h2_y", "h2": "several masters", "h9": "they are h1_x, h2_x, h2_y, 4", "": "there is no master",
		"https://10.0.0.1:2380": "h1_x", "https://10.0.0.1:2380/": "h1_x", "10.0.0.1:2380": "h1_x", "10.0.0.1": "h1_x",
		"https://192.0.2.1:6443": "h1_x", "192.0.2.1:6443": "h1_x", "192.0.2.1": "h1_x",
		"10.0.0.2:2390": "h2_y", "10.0.0.2:2380": "h2_x", "10.0.0.2:6443": "h2_x", "10.0.0.2": "several masters",
		"[fd00::4]:2380": "", "[fd00::4]": "", "fd00::4": "", "https://[fd00::4]:2380": "",
		"10.0.0.1:1": "there is no master", "192.0.2.4": "there is no master", "http://10.0.0.1:2380": "there is no master", "/": "there is no master",
	} {
		m, err := Find(s, who)
		if err != nil && (want == "" || !strings.Contains(err.Error(), want)) || err == nil && m.Name != want {
			t.Errorf("%q: %q, %v; want %q", who, m.Name, err, want)
		}
	}
}
