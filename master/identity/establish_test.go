package identity

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

// TestEstablish: what a start makes of what its folder remembers and what its store says. Commands:
//
//	folder id=s1 pending successor=s9   what the folder remembers; "torn" and "empty" are files that cannot be read
//	store id=s2 successor=s9            what the store says; "torn" cannot be read
//	object                              the store holds something of a cluster
//	start began external new            which store it is then: made by this start, in an external etcd, with --new-cluster
//	remembers                           what folder and store say now
func TestEstablish(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		p := &establishPlay{t: t, dir: t.TempDir(), store: memory.New()}
		t.Cleanup(func() { p.store.Close() })
		return p.answer
	})
}

type establishPlay struct {
	t     *testing.T
	dir   string
	store *memory.Store
}

func (p *establishPlay) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// storeOf reads a store's identity from a command.
func storeOf(args scenario.Args) membership.Store {
	s := membership.Store{Origin: membership.OriginNew, Incarnation: 1, Made: time.Unix(0, 0).UTC()}
	s.ID, _ = args.Get("id")
	if by, ok := args.Get("successor"); ok {
		s.Successor = &membership.Successor{ID: by, Incarnation: 2, Master: "two", At: time.Unix(0, 0).UTC()}
	}
	return s
}

func (p *establishPlay) answer(command string, args scenario.Args) string {
	p.t.Helper()
	file := filepath.Join(p.dir, datafolder.StoreFile)
	switch command {
	case "folder":
		switch args.Word(0) {
		case "torn":
			p.check(os.WriteFile(file, []byte(`{"id":"s`), 0o600))
		case "empty":
			p.check(os.WriteFile(file, []byte(`{}`), 0o600))
		default:
			kept := datafolder.Kept{Store: storeOf(args), Pending: args.Word(0) == "pending"}
			p.check(kept.Write(p.dir))
		}
	case "store":
		value, err := json.Marshal(storeOf(args))
		p.check(err)
		if args.Word(0) == "torn" {
			value = value[:len(value)/2]
		}
		e, _, err := p.store.Get(p.t.Context(), notes.Store, 0)
		if err == nil {
			_, err = p.store.Update(p.t.Context(), notes.Store, e.Revision, value, 0)
		} else {
			_, err = p.store.Create(p.t.Context(), notes.Store, value, 0)
		}
		p.check(err)
	case "object":
		_, err := p.store.Create(p.t.Context(), registry.Root+"configmaps/default/a", []byte("x"), 0)
		p.check(err)
	case "start":
		return p.start(args)
	case "remembers":
		folder, err := os.ReadFile(file)
		p.check(err)
		e, _, err := p.store.Get(p.t.Context(), notes.Store, 0)
		p.check(err)
		return p.words(fmt.Sprintf("folder %s\nstore %s", strings.TrimSpace(string(folder)), e.Value))
	default:
		p.t.Fatalf("no command %q", command)
	}
	return ""
}

func (p *establishPlay) start(args scenario.Args) string {
	p.t.Helper()
	flags := map[string]bool{}
	for _, flag := range args {
		flags[flag] = true
	}
	var said []string
	o := Options{
		DataDir: p.dir, NewCluster: flags["new"], Self: func() (name, url string) { return "one", "https://one" },
		Proven: func(*http.Request) bool { return true }, Now: func() time.Time { return time.Unix(0, 0) },
		Warn: func(format string, args ...any) { said = append(said, "warning: "+fmt.Sprintf(format, args...)) },
	}
	if flags["external"] {
		o.Servers = "https://etcd"
	}
	id := New(o)
	id.Open(p.store, nil)
	text := "refused: "
	if err := id.Establish(p.t.Context(), flags["began"]); err != nil {
		text += err.Error()
	} else {
		card := id.Card()
		text = fmt.Sprintf("store %s, %s, incarnation %d", card.Store.ID, card.Store.Origin, card.Store.Incarnation)
	}
	return p.words(strings.Join(append(said, text), "\n"))
}

// words replaces the identities that were made in this run.
func (p *establishPlay) words(text string) string {
	return made.ReplaceAllString(strings.ReplaceAll(text, p.dir, "DIR"), "NEW")
}
