package keys

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
)

// Files implements membership.Shared.
func (k *Keys) Files() (map[string][]byte, error) {
	if !k.Managed {
		return nil, nil
	}
	data, err := os.ReadFile(k.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return map[string][]byte{datafolder.EncryptionFile: data}, err
}

// Install implements membership.Shared.
func (k *Keys) Install(files map[string][]byte) error {
	data, ok := files[datafolder.EncryptionFile]
	if !ok || !k.Managed {
		return nil
	}
	if have, err := os.ReadFile(k.File); err == nil && bytes.Equal(have, data) {
		return nil
	}
	if err := encryption.WriteFile(k.File, data); err != nil {
		return err
	}
	if k.opened == nil {
		return nil // it is about to be read for the first time
	}
	return k.opened.Reload(context.Background())
}
