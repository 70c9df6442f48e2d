package membership

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// TestPinnedDuringRotation: a join line that was printed before an authority's rotation is good until the rotation is
// finished, one with the new authority's hash from the switch on.
func TestPinnedDuringRotation(t *testing.T) {
	a, err := pki.New(pki.Options{Hostname: "m"})
	if err != nil {
		t.Fatal(err)
	}
	old := Hash(a.CA().Certificate)
	good := func(hash string) bool {
		t.Helper()
		var shown []*x509.Certificate
		for _, raw := range a.Server().TLS().Certificate {
			c, err := x509.ParseCertificate(raw)
			if err != nil {
				t.Fatal(err)
			}
			shown = append(shown, c)
		}
		return verifyPinned(append(shown, a.CA().Trusted...), "m", []string{hash}, time.Now()) == nil
	}
	for _, step := range []struct {
		name     string
		do       func(...string) error
		old, new bool
	}{{"prepared", a.Prepare, true, false}, {"switched", a.Switch, true, true}, {"finished", a.Finish, false, true}} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		r := a.Rotation()[0]
		successor := r.Signs
		if r.Stage == pki.Prepared {
			successor = r.Other
		}
		if good(old) != step.old || good(Hash(successor)) != step.new {
			t.Errorf("%s: old %v, new %v", step.name, good(old), good(Hash(successor)))
		}
	}
}
