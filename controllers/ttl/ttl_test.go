package ttl

import "testing"

func TestStep(t *testing.T) {
	at := 0
	for _, c := range []struct{ nodes, seconds int }{
		{1, 0}, {100, 0}, {101, 15}, {95, 15}, {89, 0}, {600, 30}, {460, 30}, {440, 15}, {5000, 300}, {1900, 300}, {1700, 60}, {0, 0},
	} {
		if at = step(at, c.nodes); steps[at].seconds != c.seconds {
			t.Errorf("%d nodes: %d seconds, want %d", c.nodes, steps[at].seconds, c.seconds)
		}
	}
}
