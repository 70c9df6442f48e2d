package pki

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// trusts tells whether who holds the pool would take the pair as the server m1, with the chain that is shown.
func trustsServer(pool *x509.CertPool, p *Pair) error {
	o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), DNSName: "m1"}
	for _, raw := range p.TLS().Certificate[1:] {
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return err
		}
		o.Intermediates.AddCert(c)
	}
	_, err := p.Certificate.Verify(o)
	return err
}

func accepts(pool *x509.CertPool, c *x509.Certificate) bool {
	_, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: clientUsage})
	return err == nil
}

// TestRotation looks at each step from both sides: clients that know only the old authority, only the new one, and those
// whose certificates are of the old and of the new one.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	a := mustEnsure(t, dir, quick())
	start := snapshot(t, dir)
	oldPool := a.ClientPool()
	oldClient, err := a.Admin()
	if err != nil {
		t.Fatal(err)
	}
	stage := func(want Stage) {
		t.Helper()
		for _, r := range a.Rotation() {
			if r.Stage != want {
				t.Errorf("%s is %s, want %s", r.Authority, r.Stage, want)
			}
		}
		sound(t, mustEnsure(t, dir, quick()), dir) // a restart finds what is there
	}
	stage(Settled)
	if err := a.Switch(); err == nil || !strings.Contains(err.Error(), "prepare one first") {
		t.Errorf("switching unprepared: %v", err)
	}
	if err := a.Prepare(); err != nil {
		t.Fatal(err)
	}
	stage(Prepared)
	prepared := snapshot(t, dir)
	if err := a.Prepare(); err != nil || !maps.Equal(prepared, snapshot(t, dir)) {
		t.Errorf("preparing again changed something (%v)", err)
	}
	if err := trustsServer(oldPool, a.Server()); err != nil {
		t.Error(err)
	}
	if err := a.Finish(); err == nil || !strings.Contains(err.Error(), "switch first") {
		t.Errorf("finishing unswitched: %v", err)
	}
	bothPool, server := a.ClientPool(), a.Server()
	if err := a.Switch(); err != nil {
		t.Fatal(err)
	}
	stage(Switched)
	if a.ClientPool() != bothPool {
		t.Error("verified clients are forgotten though the same authorities are trusted")
	}
	if a.Server() == server {
		t.Error("the old authority's serving certificate is still in use")
	}
	newPool := poolOf(a.CA().Certificate)
	for name, pool := range map[string]*x509.CertPool{"old": oldPool, "new": newPool, "both": bothPool} {
		if err := trustsServer(pool, a.Server()); err != nil {
			t.Errorf("who knows the %s authority: %v", name, err)
		}
	}
	newClient, err := a.Admin()
	if err != nil {
		t.Fatal(err)
	}
	if !accepts(a.ClientPool(), oldClient.Certificate) || !accepts(a.ClientPool(), newClient.Certificate) {
		t.Error("a client is refused")
	}
	if !a.Due(oldClient) || a.Due(newClient) {
		t.Error("certificates of the old authority, and only those, are to be replaced")
	}
	if err := a.Cancel(); err == nil || !strings.Contains(err.Error(), "signs already") {
		t.Errorf("cancelling too late: %v", err)
	}
	if err := a.Prepare(); err == nil || !strings.Contains(err.Error(), "not finished") {
		t.Errorf("beginning another rotation: %v", err)
	}
	if err := a.Finish(); err != nil {
		t.Fatal(err)
	}
	stage(Settled)
	if accepts(a.ClientPool(), oldClient.Certificate) || !accepts(a.ClientPool(), newClient.Certificate) {
		t.Error("the old authority is still trusted, or the new one is not")
	}
	if trustsServer(oldPool, a.Server()) == nil || trustsServer(newPool, a.Server()) != nil {
		t.Error("the server still shows the old authority's certificate, or not the new one's")
	}
	end := snapshot(t, dir)
	if names := slices.Sorted(maps.Keys(end)); !slices.Equal(names, slices.Sorted(maps.Keys(start))) {
		t.Errorf("files are left over: %v", names)
	}
	for name := range start {
		rotates := !strings.HasPrefix(name, "sa.") && !(strings.HasSuffix(name, ".key") && !strings.HasSuffix(name, "ca.key"))
		if (start[name] != end[name]) != rotates {
			t.Errorf("%s: changed=%v", name, start[name] != end[name])
		}
	}
}

func TestCancelRotation(t *testing.T) {
	dir := t.TempDir()
	a := mustEnsure(t, dir, quick())
	before := snapshot(t, dir)
	if err := a.Prepare("etcd-ca"); err != nil {
		t.Fatal(err)
	}
	for _, r := range a.Rotation() {
		if (r.Stage == Prepared) != (r.Authority == "etcd-ca") {
			t.Errorf("%s is %s", r.Authority, r.Stage)
		}
	}
	if err := a.Cancel(); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, snapshot(t, dir)) {
		t.Error("something is left over")
	}
	if err := a.Prepare("cluster-ca"); err == nil || !strings.Contains(err.Error(), `no authority "cluster-ca"`) {
		t.Errorf("an unknown authority: %v", err)
	}
}

// TestRotationSurvivesCrashes fails each single operation of the step at which keys change.
func TestRotationSurvivesCrashes(t *testing.T) {
	origin := t.TempDir()
	a := mustEnsure(t, origin, quick())
	if err := a.Prepare(); err != nil {
		t.Fatal(err)
	}
	crashes(t, origin, func(a *Authority) error { return a.Switch() },
		func(t *testing.T, a *Authority, dir string, dead bool, err error) {
			again := mustEnsure(t, dir, quick())
			first := again.Rotation()[0].Stage
			for _, r := range again.Rotation() {
				if r.Stage != first || first == Settled {
					t.Errorf("%s is %s, another is %s", r.Authority, r.Stage, first)
				}
			}
			if err := again.Switch(); err != nil {
				t.Fatal(err)
			}
			sound(t, again, dir)
		})
}

// TestPeersDuringRotation has two masters take the steps one after the other. Clients of etcd's peers know the authorities
// as they were when they were opened.
func TestPeersDuringRotation(t *testing.T) {
	a, b := mustEnsure(t, t.TempDir(), quick()), mustEnsure(t, t.TempDir(), quick())
	if err := b.Install(a.Shared()); err != nil {
		t.Fatal(err)
	}
	opened := b.EtcdCA().Pool() // b's client is opened before the rotation, and never again
	both := func(when string) {
		t.Helper()
		cert, key, _ := b.PeerFiles()
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := shakeWith(a, &tls.Config{ServerName: "m1", RootCAs: opened, Certificates: []tls.Certificate{pair}}); err != nil {
			t.Errorf("%s: from b to a: %v", when, err)
		}
		if err := shake(b, a); err != nil {
			t.Errorf("%s: from a to b: %v", when, err)
		}
	}
	for name, step := range map[string]func(...string) error{"prepare": a.Prepare} {
		if err := step(); err != nil {
			t.Fatal(name, err)
		}
	}
	both("only a is prepared")
	if err := b.Install(a.Shared()); err != nil {
		t.Fatal(err)
	}
	both("prepared")
	if err := a.Switch(); err != nil {
		t.Fatal(err)
	}
	both("only a has switched")
	if err := b.Install(a.Shared()); err != nil {
		t.Fatal(err)
	}
	both("switched")
	opened = b.EtcdCA().Pool() // opened again, as before every finish
	if err := a.Finish(); err != nil {
		t.Fatal(err)
	}
	both("only a has finished")
	if err := b.Install(a.Shared()); err != nil {
		t.Fatal(err)
	}
	both("finished")
}

func TestTokenKeyRotation(t *testing.T) {
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	data, err := encodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sa.key"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	a := mustEnsure(t, dir, quick())
	check := func(when string, signsNew bool, keys int) {
		t.Helper()
		for _, a := range []*Authority{a, mustEnsure(t, dir, quick())} {
			if key.Equal(a.TokenKey()) == signsNew || len(a.TokenKeys()) != keys || !samePublic(a.TokenKeys()[0], a.TokenKey().Public()) {
				t.Errorf("%s: signs new=%v, %d keys", when, !key.Equal(a.TokenKey()), len(a.TokenKeys()))
			}
		}
	}
	for _, step := range []struct {
		name     string
		do       func() error
		signsNew bool
		keys     int
	}{
		{"prepared", a.PrepareTokenKey, false, 2},
		{"prepared again", a.PrepareTokenKey, false, 2},
		{"switched", a.SwitchTokenKey, true, 2},
		{"switched again", a.SwitchTokenKey, true, 2},
		{"dropped", a.DropTokenKeys, true, 1},
	} {
		if err := step.do(); err != nil {
			t.Fatal(step.name, err)
		}
		check(step.name, step.signsNew, step.keys)
	}
	if _, ok := a.TokenKey().(*rsa.PrivateKey); !ok {
		t.Errorf("the new key is a %T: those who verify RS256 would not understand it", a.TokenKey())
	}
	if err := a.PrepareTokenKey(); err != nil {
		t.Fatal(err)
	}
	if err := a.DropTokenKeys(); err == nil {
		t.Error("the key that is about to sign is dropped")
	}
}

// TestYears lets ten years pass day by day: no leaf ever comes to two thirds of its life, and the authority is
// rotated once on the way.
func TestYears(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	o := quick()
	o.Now = func() time.Time { return now }
	a := mustEnsure(t, dir, o)
	kubeconfig := filepath.Join(dir, "admin.kubeconfig")
	renewals := 0
	good := func() {
		t.Helper()
		for _, d := range a.List() {
			if d.Kind == "authority" || d.Kind == "trusted" {
				continue
			}
			if life := d.NotAfter.Sub(d.NotBefore); now.Sub(d.NotBefore) > life*2/3 || now.Before(d.NotBefore) {
				t.Fatalf("%s: %s is valid from %s to %s", now, d.Name, d.NotBefore, d.NotAfter)
			}
		}
		if err := a.EnsureAdminKubeconfig(kubeconfig, "https://127.0.0.1:6443"); err != nil {
			t.Fatal(err)
		}
		if d, err := DescribeKubeconfig("admin", kubeconfig); err != nil || now.Sub(d.NotBefore) > LeafLifetime*2/3 {
			t.Fatalf("%s: the kubeconfig is not renewed: %v, %v", now, d, err)
		}
	}
	for day := 0; day < 3650; day++ {
		now = now.Add(24 * time.Hour)
		renewed, err := a.Renew()
		if err != nil {
			t.Fatal(now, err)
		}
		if renewed {
			renewals++
		}
		if day%7 == 0 || renewed {
			good()
		}
		for when, step := range map[int]func(...string) error{2900: a.Prepare, 2910: a.Switch, 2950: a.Finish} {
			if day == when {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if renewals < 15 || renewals > 20 {
		t.Errorf("%d renewals in ten years", renewals)
	}
	if end := a.CA().Certificate.NotAfter; end.Before(start.Add(17 * 365 * 24 * time.Hour)) {
		t.Errorf("the authority ends on %s", end)
	}
	// Clocks jump: asleep for most of a life, set wrongly and set right again.
	for _, jump := range []time.Duration{LeafLifetime * 6 / 10, -LeafLifetime, 3 * LeafLifetime, -2 * LeafLifetime} {
		now = now.Add(jump)
		if _, err := a.Renew(); err != nil {
			t.Fatal(err)
		}
		good()
	}
	sound(t, mustEnsure(t, dir, o), dir)
}

// TestEndOfAuthority: leaves that end with their authority are not issued over and over.
func TestEndOfAuthority(t *testing.T) {
	now := time.Now()
	o := quick()
	o.Now = func() time.Time { return now }
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(AuthorityLifetime - 30*24*time.Hour)
	if renewed, err := a.Renew(); !renewed || err != nil {
		t.Errorf("renewed %v, %v", renewed, err)
	}
	if end := a.Server().Certificate.NotAfter; !end.Equal(a.CA().Certificate.NotAfter) {
		t.Errorf("a leaf outlives its authority: %s", end)
	}
	now = now.Add(29 * 24 * time.Hour)
	if renewed, err := a.Renew(); renewed || err != nil {
		t.Errorf("renewed %v, %v", renewed, err)
	}
	if err := a.Prepare(); err != nil {
		t.Fatal(err)
	}
	if err := a.Switch(); err != nil {
		t.Fatal(err)
	}
	if left := a.Server().Certificate.NotAfter.Sub(now); left < LeafLifetime-time.Hour {
		t.Errorf("after the rotation the leaf has %v left", left)
	}
}

// TestRenewNow issues named leaves, and tells which names there are.
func TestRenewNow(t *testing.T) {
	dir := t.TempDir()
	a := mustEnsure(t, dir, quick())
	before := snapshot(t, dir)
	if err := a.RenewNow("apiserver", "etcd/peer"); err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, dir)
	for name := range before {
		if wanted := name == "apiserver.crt" || name == "etcd/peer.crt"; (before[name] != after[name]) != wanted {
			t.Errorf("%s: changed=%v", name, before[name] != after[name])
		}
	}
	if err := a.RenewNow("api-server"); err == nil || !strings.Contains(err.Error(), "known are apiserver,") {
		t.Errorf("an unknown name: %v", err)
	}
	if err := a.RenewNow(); err != nil {
		t.Fatal(err)
	}
	for name, data := range snapshot(t, dir) {
		leaf := strings.HasSuffix(name, ".crt") && !strings.HasSuffix(name, "ca.crt")
		if leaf != (data != after[name]) {
			t.Errorf("%s: changed=%v", name, data != after[name])
		}
	}
}
