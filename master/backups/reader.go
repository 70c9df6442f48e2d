package backups

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
)

// How stored values begin: encrypted ones, those whose key only a plugin has, and protobuf.
var (
	encryptedValue = []byte("k8s:enc:")
	pluginValue    = []byte("k8s:enc:kms:")
	protobufValue  = []byte("k8s\x00")
)

// Reader decodes what a backup holds. keys are those of a backup or of this cluster; without them encrypted values
// are recognized but not opened. prefix is that of the cluster's keys in etcd. It is for one goroutine.
func Reader(prefix string, keys map[string][]byte) (backup.Reader, error) {
	r := &reader{root: prefix, byPrefix: map[string]*kind.Kind{}}
	for _, k := range api.Kinds() {
		if k.Stored() {
			r.byPrefix[k.StoragePrefix] = k
		}
	}
	config := keys[datafolder.EncryptionFile]
	if config == nil {
		config = keys[datafolder.OperatorEncryptionFile]
	}
	if config == nil {
		return r, nil
	}
	dir, err := os.MkdirTemp("", "wheelhouse-keys-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, datafolder.EncryptionFile)
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, err
	}
	// Nothing is read with the plugins, whose connections end with this.
	life, end := context.WithCancel(context.Background())
	defer end()
	r.encryption, err = encryption.New(life, encryption.Options{Kinds: api.Kinds(), File: file, ID: "backup",
		RealKey: func(key string) string { return prefix + strings.TrimPrefix(key, registry.Root) }})
	return r, err
}

// reader implements backup.Reader.
type reader struct {
	root       string                // of the cluster's keys in etcd
	byPrefix   map[string]*kind.Kind // by prefix of the keys
	encryption *encryption.Store     // nil without keys
}

// split finds the prefix of a key's resource, which is the first or the first two parts below the root, and the kind if it is served.
func (r *reader) split(key string) (prefix string, k *kind.Kind) {
	rest, ok := strings.CutPrefix(key, r.root)
	if !ok {
		return "", nil
	}
	first, rest, _ := strings.Cut(rest, "/")
	prefix = registry.Root + first + "/"
	if k = r.byPrefix[prefix]; k != nil {
		return prefix, k
	}
	second, _, more := strings.Cut(rest, "/")
	two := prefix + second + "/"
	if k = r.byPrefix[two]; k != nil {
		return two, k
	}
	// Custom resources and aggregated kinds are kept below their group, which has a dot in its name.
	if more && strings.Contains(first, ".") || first == "ranges" {
		return two, nil
	}
	return prefix, nil
}

// Kind implements backup.Reader.
func (r *reader) Kind(key string) string {
	prefix, k := r.split(key)
	switch {
	case prefix == "":
		return backup.Outside
	case k != nil:
		return k.GR().String()
	}
	name := strings.Trim(prefix[len(registry.Root):], "/")
	if group, resource, ok := strings.Cut(name, "/"); ok && strings.Contains(group, ".") {
		return resource + "." + group
	}
	return name
}

// Read implements backup.Reader.
func (r *reader) Read(key string, value []byte) (encrypted bool, err error) {
	prefix, k := r.split(key)
	if prefix == "" {
		return false, nil // not the cluster's
	}
	if bytes.HasPrefix(value, encryptedValue) {
		if r.encryption == nil || bytes.HasPrefix(value, pluginValue) {
			return true, nil
		}
		own := registry.Root + key[len(r.root):]
		if value, err = r.encryption.Decrypt(context.Background(), own, value); err != nil {
			return true, err
		}
		encrypted = true
	}
	if prefix == notes.Root {
		return encrypted, nil // this program's own notes
	}
	return encrypted, decodable(value, k)
}

// decodable decodes a value as upstream does: built-in kinds into their Go types, others as far as their form goes.
func decodable(value []byte, k *kind.Kind) error {
	if bytes.HasPrefix(value, protobufValue) {
		var u runtime.Unknown
		if err := u.Unmarshal(value[len(protobufValue):]); err != nil {
			return err
		}
		if k != nil && u.Kind == k.GVK.Kind && u.APIVersion == k.StorageVersion.String() {
			return k.New().(kind.Message).Unmarshal(u.Raw)
		}
	} else if !json.Valid(value) {
		return errors.New("it is neither protobuf nor JSON")
	}
	_, _, err := scheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
	if k == nil && (runtime.IsNotRegisteredError(err) || runtime.IsMissingKind(err)) {
		return nil // a custom resource, or what upstream's servers note for each other
	}
	return err
}
