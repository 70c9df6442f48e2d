package membership

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// files are one master's.
type files struct {
	mu   sync.Mutex
	data map[string][]byte // guarded by mu
	keep map[string][]byte // what stays, whatever is installed; guarded by mu
}

func (f *files) Files() (map[string][]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.data), nil
}

func (f *files) Install(data map[string][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data = maps.Clone(data)
	maps.Copy(f.data, f.keep)
	return nil
}

// cluster of masters that share a store and files.
type cluster struct {
	all  map[string]*Shares
	of   map[string]*files
	dead map[string]bool
}

func newCluster(s store.Store, names ...string) *cluster {
	c := &cluster{all: map[string]*Shares{}, of: map[string]*files{}, dead: map[string]bool{}}
	masters := func() []Master {
		var live []Master
		for _, name := range names {
			if !c.dead[name] {
				live = append(live, Master{Name: name})
			}
		}
		return live
	}
	for _, name := range names {
		c.of[name] = &files{data: map[string][]byte{"key": []byte("1")}}
		c.all[name] = &Shares{
			Store: s, Key: "/shared", Parts: []Shared{c.of[name]}, Self: name, Masters: masters, Log: func(string, ...any) {},
			Fetch: func(_ context.Context, m Master) (Bundle, error) { return c.all[m.Name].Bundle() },
			Ask: func(_ context.Context, m Master) (Uses, error) {
				return c.all[m.Name].Uses(), nil
			},
		}
	}
	return c
}

func (c *cluster) key(name string) string {
	data, _ := c.of[name].Files()
	return string(data["key"])
}

// TestShares: what one master publishes all use when Publish returns; who was away catches up; and of two that change
// files at the same time one is told.
func TestShares(t *testing.T) {
	s := memory.New()
	defer s.Close()
	c := newCluster(s, "a", "b", "c")
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	c.dead["c"] = true
	for _, name := range []string{"a", "b"} {
		following.Go(func() { c.all[name].Follow(ctx) })
	}
	c.of["a"].Install(map[string][]byte{"key": []byte("2")})
	if err := c.all["a"].Publish(ctx); err != nil || c.key("b") != "2" {
		t.Fatalf("%v, b has %s", err, c.key("b"))
	}
	// Publishing what is there already is no change.
	if err := c.all["a"].Publish(ctx); err != nil || c.all["a"].Generation() != 1 {
		t.Errorf("%v, generation %d", err, c.all["a"].Generation())
	}
	// c has been away, and changes its old files before it has caught up.
	if err := c.all["c"].Publish(ctx); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("a master that is behind published: %v", err)
	}
	if err := c.all["c"].CatchUp(ctx); err != nil || c.key("c") != "2" {
		t.Errorf("%v, c has %s", err, c.key("c"))
	}
	// c lives, but does not follow: Publish says so.
	c.dead["c"] = false
	c.of["b"].Install(map[string][]byte{"key": []byte("3")})
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	if err := c.all["b"].Publish(short); err == nil || !strings.Contains(err.Error(), "not use the new files yet: c") {
		t.Errorf("a master that does not follow: %v", err)
	}
	if c.key("a") != "3" {
		t.Errorf("a has %s", c.key("a"))
	}
}

// TestSharesFail: files that cannot be had leave what is there.
func TestSharesFail(t *testing.T) {
	s := memory.New()
	defer s.Close()
	c := newCluster(s, "a", "b")
	c.of["a"].Install(map[string][]byte{"key": []byte("2")})
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := c.all["a"].Publish(short); err == nil {
		t.Error("nobody follows, and nothing is said")
	}
	c.all["b"].Fetch = func(context.Context, Master) (Bundle, error) { return Bundle{}, errors.New("broken") }
	if err := c.all["b"].CatchUp(t.Context()); err == nil || !strings.Contains(err.Error(), "broken") || c.key("b") != "1" {
		t.Errorf("%v, b has %s", err, c.key("b"))
	}
	c.all["b"].Fetch = func(context.Context, Master) (Bundle, error) {
		return Bundle{Generation: 1, Files: map[string][]byte{"key": []byte("forged")}}, nil
	}
	if err := c.all["b"].CatchUp(t.Context()); err == nil || c.key("b") != "1" {
		t.Errorf("files that are not those announced: %v, b has %s", err, c.key("b"))
	}
}

// TestSharesMeet: two masters that lack the same files and ask each other for them do not wait for each other.
func TestSharesMeet(t *testing.T) {
	s := memory.New()
	defer s.Close()
	c := newCluster(s, "a", "b", "c")
	c.dead["a"], c.dead["b"] = true, true
	c.of["c"].data["key"] = []byte("2")
	if err := c.all["c"].Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	clear(c.dead)
	fetch := c.all["a"].Fetch
	asked := map[string]bool{}
	meet := func(ctx context.Context, m Master) (Bundle, error) {
		if asked[m.Name] = true; m.Name == "c" {
			return Bundle{}, errors.New("it does not answer")
		}
		if m.Name == "b" { // at this moment b asks a, too
			if err := c.all["b"].CatchUp(ctx); err == nil || !strings.Contains(err.Error(), "a has not got it either") {
				t.Errorf("b catches up: %v", err)
			}
		}
		return fetch(ctx, m)
	}
	c.all["a"].Fetch, c.all["b"].Fetch = meet, meet
	done := make(chan error, 1)
	go func() { done <- c.all["a"].CatchUp(t.Context()) }()
	select {
	case err := <-done:
		if err == nil || !asked["a"] || !asked["b"] || !asked["c"] {
			t.Errorf("a catches up: %v, asked %v", err, asked)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a and b wait for each other")
	}
	c.all["a"].Fetch, c.all["b"].Fetch = fetch, fetch
	for _, name := range []string{"b", "a"} {
		if err := c.all[name].CatchUp(t.Context()); err != nil || c.key(name) != "2" {
			t.Errorf("%s has %q: %v", name, c.key(name), err)
		}
	}
}

// TestSharesStray: a master that changed its files and was cut off before it could announce them takes over what the next announces; one that
// keeps files of its own is no obstacle.
func TestSharesStray(t *testing.T) {
	s := memory.New()
	defer s.Close()
	c := newCluster(s, "a", "b", "c")
	for _, name := range []string{"b", "c"} {
		go c.all[name].Follow(t.Context())
	}
	if err := c.all["a"].Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.of["b"].Install(map[string][]byte{"key": []byte("cut off")}); err != nil {
		t.Fatal(err)
	}
	if err := c.all["a"].Publish(t.Context()); err != nil || c.key("b") != "1" {
		t.Errorf("b has %q: %v", c.key("b"), err)
	}
	at := c.all["a"].Generation()
	if err := c.all["a"].Publish(t.Context()); err != nil || c.all["a"].Generation() != at {
		t.Errorf("generation %d after %d, though all have the same: %v", c.all["a"].Generation(), at, err)
	}
	c.of["c"].mu.Lock()
	c.of["c"].keep = map[string][]byte{"own": []byte("c's")}
	c.of["c"].mu.Unlock()
	if err := c.of["c"].Install(map[string][]byte{"key": []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := c.all["a"].Publish(t.Context()); err != nil || c.key("c") != "1" {
		t.Errorf("c has %q: %v", c.key("c"), err)
	}
}
