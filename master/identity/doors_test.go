package identity

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder/foldertest"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

// made are identities of stores and cards that are new in each run.
var made = regexp.MustCompile(`\b[0-9a-f]{16,}\b|\b[0-9a-f]{8}-[0-9a-f-]{27}\b`)

// authorityAt makes an authority in a folder, and how a member of it is reached and reaches others.
func authorityAt(t *testing.T, dir string) (*pki.Authority, *etcd.Peer) {
	t.Helper()
	a, err := pki.Ensure(dir, pki.Options{Hostname: "localhost", AdvertiseIPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	peer := &etcd.Peer{URL: "https://127.0.0.1:1"}
	peer.CertFile, peer.KeyFile, peer.CAFile = a.PeerFiles()
	return a, peer
}

// door serves at the door of a store.
func door(t *testing.T, a *pki.Authority, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(answer)
	address := s.Listener.Addr().String()
	s.Listener = tls.NewListener(s.Listener, a.PeerTLS())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return "https://" + address
}

// known is the identity of a master of a store.
func known(t *testing.T, name string, s membership.Store) *Identity {
	t.Helper()
	id := New(Options{
		DataDir: t.TempDir(), Self: func() (string, string) { return name, "https://" + name },
		Proven: func(*http.Request) bool { return true }, Now: time.Now, Warn: t.Logf,
	})
	opened := memory.New()
	t.Cleanup(func() { opened.Close() })
	id.Open(opened, nil)
	id.Show(&membership.Card{Store: s, Cluster: "c", Member: name})
	return id
}

// TestDoors: masters of one authority show each other whose they are before either serves; what others answer there is no card.
func TestDoors(t *testing.T) {
	a, peer := authorityAt(t, filepath.Join(t.TempDir(), "pki"))
	stranger, _ := authorityAt(t, filepath.Join(t.TempDir(), "pki"))
	ours := membership.NewStore(membership.OriginNew, time.Now())
	foreign := known(t, "foreign", membership.NewStore(membership.OriginNew, time.Now()))
	foreign.Show(&membership.Card{Store: foreign.Card().Store, Cluster: "d", Member: "foreign"})
	same := known(t, "same", ours)
	hostile := map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for _, err := io.WriteString(w, "x"); err == nil; {
				_, err = io.WriteString(w, strings.Repeat("x", 1<<16))
			}
		},
		"garbage": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{") },
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"refuses": http.NotFound,
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	one := known(t, "one", ours)
	addresses := []string{door(t, a, same.AnswerPeer), door(t, a, foreign.AnswerPeer), door(t, stranger, foreign.AnswerPeer), "https://127.0.0.1:1"}
	for _, answer := range hostile {
		addresses = append(addresses, door(t, a, answer))
	}
	one.askPeers(t.Context(), peer, addresses, 10*time.Second)
	var s membership.Status
	one.Describe(&s)
	if len(s.Foreign) != 1 || s.Foreign[0].Master != "foreign" || one.Why() != nil || s.Identity.ID != ours.ID {
		t.Errorf("one has met %+v, and ends because of %v", s.Foreign, one.Why())
	}
	if met := foreign.Foreign(); len(met) != 1 || met[0].Master != "one" {
		t.Errorf("the other has met %+v", met)
	}
	if len(same.Foreign()) != 0 {
		t.Errorf("a master of the same store is foreign: %+v", same.Foreign())
	}

	// What comes to the door that is no card is no meeting; too much of it is not read.
	for body, want := range map[string]int{"{": http.StatusOK, "": http.StatusOK, strings.Repeat("x", peerCardMax+1): http.StatusBadRequest} {
		w := httptest.NewRecorder()
		one.AnswerPeer(w, httptest.NewRequest(http.MethodPost, peerStorePath, strings.NewReader(body)))
		if w.Code != want {
			t.Errorf("%d bytes: %d", len(body), w.Code)
		}
	}
	w := httptest.NewRecorder()
	if one.AnswerPeer(w, httptest.NewRequest(http.MethodGet, peerStorePath, nil)); w.Code != http.StatusNotFound || len(one.Foreign()) != 1 {
		t.Errorf("a wrong method: %d", w.Code)
	}

	// A member that answers as this one is this one's double; another, or none, is not.
	own := one.Card()
	if err := one.askDouble(t.Context(), peer, &own, door(t, a, one.AnswerPeer)); err == nil || !strings.Contains(err.Error(), "is a copy") {
		t.Errorf("a double: %v", err)
	}
	for _, address := range addresses {
		if err := one.askDouble(t.Context(), peer, &own, address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestAskMembers: a start asks the members that its folder knows, and does not go on if one of them gave its store up.
func TestAskMembers(t *testing.T) {
	f := foldertest.New(t)
	f.Answer("has", scenario.Args{"one"})
	id := New(Options{DataDir: f.Dir, Self: func() (string, string) { return "one", "" }, Now: time.Now, Warn: t.Logf})
	a, peer := authorityAt(t, filepath.Join(f.Dir, "pki"))
	etcdDir := filepath.Join(f.Dir, "etcd")
	f.Answer("others", scenario.Args{"https://127.0.0.1:1", "http://127.0.0.1:1"})
	for _, o := range []etcd.Options{{Dir: etcdDir}, {Dir: etcdDir, Peer: peer}, {Dir: etcdDir, Peer: peer, Join: &etcd.Join{}}} {
		if err := id.AskMembers(t.Context(), &o); err != nil || id.Card().Store.ID != "s1" {
			t.Errorf("nobody answers: %v, %+v", err, id.Card())
		}
	}
	successor := id.Card().Store.Next(membership.OriginRecovered, "", nil, time.Now())
	f.Answer("others", scenario.Args{door(t, a, known(t, "two", successor).AnswerPeer)})
	if err := id.AskMembers(t.Context(), &etcd.Options{Dir: etcdDir, Peer: peer}); err == nil || !strings.Contains(err.Error(), "was given up") {
		t.Errorf("a member that gave this store up: %v", err)
	}
	f.Answer("put", scenario.Args{"store-identity", "torn"})
	if err := id.AskMembers(t.Context(), &etcd.Options{Dir: etcdDir, Peer: peer}); err == nil {
		t.Error("a folder that cannot be read was gone on with")
	}
}

// TestIntroduce: with each command both sides learn whose the other is, the server of proven callers only.
func TestIntroduce(t *testing.T) {
	store := func() membership.Store { return membership.NewStore(membership.OriginNew, time.Now()) }
	here, there := known(t, "here", store()), known(t, "there", store())
	there.Show(&membership.Card{Store: there.Card().Store, Cluster: "d", Member: "there"})
	proven := false
	here.Proven = func(*http.Request) bool { return proven }
	here.SetSystem("uid")
	s := httptest.NewServer(here.Introduce(admin.Mux([]admin.Command{
		{Method: http.MethodGet, Path: "x", Handler: admin.Handle(func(context.Context, struct{}) (int, error) { return 1, nil })},
	})))
	defer s.Close()
	for range 2 {
		client, err := admin.NewClient(&rest.Config{Host: s.URL})
		if err != nil {
			t.Fatal(err)
		}
		if err := there.Introduced(client).Get(t.Context(), "x", nil); err != nil {
			t.Fatal(err)
		}
		if met := there.Foreign(); len(met) != 1 || met[0].System != "uid" {
			t.Errorf("the caller has met %+v", met)
		}
		if met := here.Foreign(); (len(met) == 1) != proven {
			t.Errorf("proven %v: the server has met %+v", proven, met)
		}
		proven = true
	}
}

// TestHeed: a master ends when its store says that it was superseded, and not for what cannot be read there.
func TestHeed(t *testing.T) {
	ours := membership.NewStore(membership.OriginNew, time.Now())
	id := known(t, "one", ours)
	value, err := json.Marshal(ours)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := id.store().Create(t.Context(), notes.Store, value, 0)
	if err != nil {
		t.Fatal(err)
	}
	go id.watchStore(t.Context())
	if revision, err = id.store().Update(t.Context(), notes.Store, revision, []byte("torn"), 0); err != nil {
		t.Fatal(err)
	}
	ours.Successor = &membership.Successor{ID: "s9", Incarnation: 2, Master: "two", At: time.Now()}
	if value, err = json.Marshal(ours); err != nil {
		t.Fatal(err)
	}
	if _, err := id.store().Update(t.Context(), notes.Store, revision, value, 0); err != nil {
		t.Fatal(err)
	}
	<-id.Over().Done()
	if why := id.Why(); !strings.Contains(why.Error(), "s9") {
		t.Error(why)
	}
}
