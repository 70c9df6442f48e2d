package certificates

import (
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// Shared is the authority as a part of the shared files.
type Shared struct{ *pki.Authority }

// Files implements membership.Shared.
func (s Shared) Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, data := range s.Shared() {
		files[datafolder.SharedPKI+name] = data
	}
	return files, nil
}

// Install implements membership.Shared.
func (s Shared) Install(files map[string][]byte) error {
	own := map[string][]byte{}
	for name, data := range files {
		if rest, ok := strings.CutPrefix(name, datafolder.SharedPKI); ok {
			own[rest] = data
		}
	}
	return s.Authority.Install(own)
}
