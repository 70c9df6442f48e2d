package roster

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

func listingAt(name, address, port string) Listing {
	l := Listing{Name: name, URL: "https://127.0.0.1:" + port, Version: "v1.37.0", Leases: []string{"kube-scheduler"}}
	if address != "" {
		l.Address, l.URL = net.ParseIP(address), "https://"+net.JoinHostPort(address, port)
	}
	return l
}

// running is a roster that runs; stop ends it without leaving, as a crash does.
type running struct {
	*Roster
	stop func()
}

func enter(t *testing.T, s store.Store, l Listing, alone bool) *running {
	t.Helper()
	r := New(s, l, func() bool { return alone })
	r.life, r.refreshEvery = 600*time.Millisecond, 100*time.Millisecond
	revision, err := r.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	kept, followed := make(chan struct{}), make(chan struct{})
	go func() { defer close(kept); r.keep(ctx) }()
	go func() { defer close(followed); r.follow(ctx, revision) }()
	out := &running{Roster: r, stop: func() { cancel(); <-kept; <-followed }}
	t.Cleanup(out.stop)
	return out
}

// await waits until the roster shows these masters and endpoints.
func (r *running) await(t *testing.T, names, endpoints string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		changed := r.Changed()
		var have, at []string
		for _, l := range r.Listings() {
			have = append(have, l.Name)
		}
		for _, e := range r.Endpoints() {
			at = append(at, e.String())
		}
		if strings.Join(have, " ") == names && strings.Join(at, " ") == endpoints {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("masters %q at %q, want %q at %q", have, at, names, endpoints)
		}
	}
}

func keys(t *testing.T, s store.Store) string {
	t.Helper()
	page, err := s.List(t.Context(), notes.Masters, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range page.Entries {
		all = append(all, strings.TrimPrefix(e.Key, notes.Masters))
	}
	return strings.Join(all, " ")
}

func TestRoster(t *testing.T) {
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	a := enter(t, s, listingAt("a", "192.0.2.1", "6443"), false)
	b := enter(t, s, listingAt("b", "192.0.2.2", "6443"), false)
	// A second master on the host of a, and one that has only loopback.
	c := enter(t, s, listingAt("c", "192.0.2.1", "7443"), false)
	d := enter(t, s, listingAt("d", "", "8443"), false)
	const endpoints = "192.0.2.1:6443 192.0.2.1:7443 192.0.2.2:6443"
	for _, r := range []*running{a, b, c, d} {
		r.await(t, "a b c d", endpoints)
	}
	if have := keys(t, s); have != "192.0.2.1 192.0.2.1:7443 192.0.2.2 d" {
		t.Errorf("keys %q", have)
	}
	if l := a.Listings()[3]; l.URL != "https://127.0.0.1:8443" || l.Address != nil || l.Version != "v1.37.0" || !l.standsFor("kube-scheduler") || l.standsFor("kube-controller-manager") {
		t.Errorf("listing %+v", l)
	}
	// b dies.
	b.stop()
	a.await(t, "a c d", "192.0.2.1:6443 192.0.2.1:7443")
	// c stops.
	c.stop()
	if err := c.leave(); err != nil {
		t.Fatal(err)
	}
	a.await(t, "a d", "192.0.2.1:6443")
	if have := keys(t, s); have != "192.0.2.1 d" {
		t.Errorf("keys %q", have)
	}
	// Another takes the place of a, whose refresh finds out.
	a.stop()
	again := enter(t, s, listingAt("e", "192.0.2.1", "6443"), false)
	again.await(t, "d e", "192.0.2.1:6443")
}

// TestRosterRefreshes: a record outlives many times its life while its master lives, and comes back when it was lost.
func TestRosterRefreshes(t *testing.T) {
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	a := enter(t, s, listingAt("a", "192.0.2.1", "6443"), false)
	b := enter(t, s, listingAt("b", "192.0.2.2", "6443"), false)
	b.await(t, "a b", "192.0.2.1:6443 192.0.2.2:6443")
	e, _, err := s.Get(t.Context(), a.key, 0)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := s.Delete(t.Context(), a.key, e.Revision); err == nil {
			break
		}
		if e, _, err = s.Get(t.Context(), a.key, 0); err != nil {
			t.Fatal(err)
		}
	}
	for { // the record that was lost is there again
		if _, _, err := s.Get(t.Context(), a.key, 0); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	b.await(t, "a b", "192.0.2.1:6443 192.0.2.2:6443")
}

// TestRosterAlone: a master that has the store to itself writes its record once, and begins to refresh it when it sees another.
func TestRosterAlone(t *testing.T) {
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	if _, err := s.Create(t.Context(), notes.Masters+"192.0.2.9", []byte("left behind"), 0); err != nil {
		t.Fatal(err)
	}
	a := enter(t, s, listingAt("a", "192.0.2.1", "6443"), true)
	if have := keys(t, s); have != "192.0.2.1" {
		t.Errorf("keys %q", have)
	}
	first := a.revision
	b := enter(t, s, listingAt("b", "192.0.2.2", "6443"), false)
	a.await(t, "a b", "192.0.2.1:6443 192.0.2.2:6443")
	watch := s.Watch(t.Context(), a.key, store.WatchOptions{From: first + 1})
	for refreshed := 0; refreshed < 3; {
		refreshed += len((<-watch.C()).Events)
	}
	// Alone again, it writes it for good.
	b.stop()
	if err := b.leave(); err != nil {
		t.Fatal(err)
	}
	a.await(t, "a", "192.0.2.1:6443")
	for !a.lasting.Load() {
		time.Sleep(time.Millisecond)
	}
	a.stop()
	if have := keys(t, s); have != "192.0.2.1" {
		t.Errorf("keys %q", have)
	}
}

// TestRecordIsUpstreams: Kubernetes' own decoder reads our records, and we read those that it writes.
func TestRecordIsUpstreams(t *testing.T) {
	ours := record{Listing: listingAt("a", "192.0.2.1", "6443"), generation: 7}
	value, err := ours.encode()
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := scheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := o.(*corev1.Endpoints) //nolint:staticcheck // the stored form is upstream's
	if !ok || e.Subsets[0].Addresses[0].IP != "192.0.2.1" || e.Generation != 7 || e.Annotations[annotationName] != "a" || e.Name != "" {
		t.Errorf("upstream reads %+v", o)
	}
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	theirs := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.5"}}}}} //nolint:staticcheck // the stored form is upstream's
	theirs.Generation = 3
	written, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), theirs)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range [][]byte{written, []byte(`{"kind":"Endpoints","apiVersion":"v1","metadata":{"generation":3},"subsets":[{"addresses":[{"ip":"192.0.2.5"}]}]}`)} {
		r, err := decodeRecord(value)
		if err != nil || r.Name != "" || r.generation != 3 || r.Address.String() != "192.0.2.5" {
			t.Errorf("%q: %+v, %v", value, r, err)
		}
	}
}

// TestForeignMasters: API servers of upstream on the same store stay listed, on the port of most of ours.
func TestForeignMasters(t *testing.T) {
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	foreign := `{"kind":"Endpoints","apiVersion":"v1","subsets":[{"addresses":[{"ip":"192.0.2.5"}]}]}`
	if _, err := s.Create(t.Context(), notes.Masters+"192.0.2.5", []byte(foreign), 0); err != nil {
		t.Fatal(err)
	}
	a := enter(t, s, listingAt("a", "192.0.2.1", "7443"), false)
	enter(t, s, listingAt("b", "192.0.2.2", "7443"), false)
	enter(t, s, listingAt("c", "192.0.2.3", "6443"), false)
	a.await(t, "a b c", "192.0.2.1:7443 192.0.2.2:7443 192.0.2.3:6443 192.0.2.5:7443")
	if have := a.Endpoints(); !slices.IsSortedFunc(have, netip.AddrPort.Compare) {
		t.Errorf("not in order: %v", have)
	}
}
