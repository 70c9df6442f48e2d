package identity

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// TestSuperseded: a master notes who is of another store, and ends for good, with the reason in its folder and in the store, when its own
// was given up.
func TestSuperseded(t *testing.T) {
	s := memory.New()
	defer s.Close()
	dir := t.TempDir()
	open := func() *Identity {
		id := New(Options{
			DataDir: dir, Servers: "https://etcd", Self: func() (name, url string) { return "one", "https://one" },
			Proven: func(*http.Request) bool { return true }, Now: time.Now, Warn: t.Logf,
		})
		id.Open(s, nil)
		return id
	}
	id := open()
	if err := id.Establish(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	own := id.Card()
	if own.Store.ID == "" || own.Store.Origin != membership.OriginNew || own.Master != "one" {
		t.Fatalf("the identity is %+v", own)
	}
	if again := open(); again.Establish(t.Context(), false) != nil || again.StoreID() != own.Store.ID {
		t.Errorf("the next start finds the store %s, not %s", again.StoreID(), own.Store.ID)
	}
	other := &membership.Card{Store: membership.NewStore(membership.OriginNew, time.Now()), Master: "other"}
	id.Meet(other)
	id.Meet(other)
	if foreign, superseded := id.Count(); foreign != 1 || superseded != 0 || id.Why() != nil {
		t.Fatalf("%d foreign, %d superseded, %v", foreign, superseded, id.Why())
	}
	id.Meet(&membership.Card{Store: own.Store.Next(membership.OriginRecovered, "", nil, time.Now()), Master: "two"})
	<-id.Over().Done()
	if why := id.Why(); why == nil || !strings.Contains(why.Error(), "was given up for store") {
		t.Errorf("it ends because of %v", why)
	}
	id.End(errors.New("another reason"))
	if kept, err := datafolder.ReadKept(dir); err != nil || kept.Successor == nil || kept.Successor.Master != "two" {
		t.Errorf("the folder remembers %+v, %v", kept, err)
	}
	// Another master of the store, with a folder of its own, learns it from the store.
	dir = t.TempDir()
	if err := open().Establish(t.Context(), false); err == nil || !strings.Contains(err.Error(), "was given up for store") {
		t.Errorf("another start: %v", err)
	}
}
