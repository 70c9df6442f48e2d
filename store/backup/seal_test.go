package backup

import (
	"errors"
	"testing"
)

// TestForeignNames: whoever knows a recipient can seal, so that what is opened may come from anybody.
func TestForeignNames(t *testing.T) {
	lock := newLock(t)
	for _, name := range []string{"../outside", "/etc/passwd", "pki/../../outside", ""} {
		sealed, err := lock.seal(map[string][]byte{name: []byte("data")})
		if err != nil {
			t.Fatal(err)
		}
		if files, err := lock.open(&Manifest{}, sealed); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v, %v", name, files, err)
		}
	}
}
