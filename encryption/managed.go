package encryption

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// Managed is the configuration that masters make and change by themselves: secrets under secretbox keys, or plain.
// The writers stand in the order of reading; the first one writes. "identity" is always among them, so that plain values
// can be read.
type Managed struct {
	writers []writer
}

// writer is a key, or identity.
type writer struct {
	name   string
	secret string // base64; empty for identity
}

const (
	identityName = "identity"
	keyPrefix    = "key"
	keyBytes     = 32
	managedMode  = 0o600
)

// managedHead begins the file.
const managedHead = `# The keys of the secrets in the cluster store. Whoever has lost this file has lost the secrets: back it up, apart from
# the database. It is written by "wheelhouse encryption" alone; a configuration of your own is given to the server with
# --encryption-provider-config.
kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
  - resources:
      - secrets
    providers:
`

// NewManaged is the configuration of a new cluster: one new key.
func NewManaged() (*Managed, error) {
	m := &Managed{writers: []writer{{name: identityName}}}
	if err := m.addKey(0); err != nil {
		return nil, err
	}
	m.first(m.writers[1].name)
	return m, nil
}

// ReadManaged reads a file that Write wrote. A missing file is fs.ErrNotExist.
func ReadManaged(file string) (*Managed, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m, err := ParseManaged(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// ParseManaged reads what Bytes wrote.
func ParseManaged(data []byte) (*Managed, error) {
	config, err := parse(data)
	if err != nil {
		return nil, err
	}
	foreign := errors.New("this is not a configuration that wheelhouse wrote: give your own to the server with --encryption-provider-config, and put the file back that was here")
	if len(config.Resources) != 1 || !slices.Equal(config.Resources[0].Resources, []string{"secrets"}) {
		return nil, foreign
	}
	m := &Managed{}
	for _, p := range config.Resources[0].Providers {
		switch {
		case p.Identity != nil:
			m.writers = append(m.writers, writer{name: identityName})
		case p.Secretbox != nil:
			for _, k := range p.Secretbox.Keys {
				m.writers = append(m.writers, writer{k.Name, k.Secret})
			}
		default:
			return nil, foreign
		}
	}
	if plain := slices.DeleteFunc(slices.Clone(m.writers), func(w writer) bool { return w.secret != "" }); len(plain) != 1 {
		return nil, foreign
	}
	return m, nil
}

// Bytes is the file's content.
func (m *Managed) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString(managedHead)
	inKeys := false
	for _, w := range m.writers {
		if w.secret == "" {
			b.WriteString("      - identity: {}\n")
			inKeys = false
			continue
		}
		if !inKeys {
			b.WriteString("      - secretbox:\n          keys:\n")
			inKeys = true
		}
		fmt.Fprintf(&b, "            - name: %s\n              secret: %s\n", w.name, w.secret)
	}
	return b.Bytes()
}

// WriteFile writes a file that only its owner can read, durably and as a whole.
func WriteFile(file string, data []byte) error {
	if err := durable.Replace(file, data, managedMode); err != nil {
		return fmt.Errorf("the encryption configuration cannot be written: %w", err)
	}
	return nil
}

// addKey adds a new key as a reader. Its number is above that of any other, and above last.
func (m *Managed) addKey(last int) error {
	secret := make([]byte, keyBytes)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	name := keyPrefix + strconv.Itoa(max(number(m.newest()), last)+1)
	m.writers = append(m.writers, writer{name, base64.StdEncoding.EncodeToString(secret)})
	return nil
}

// first makes a writer the one that writes. identity, if it is not that, is read last.
func (m *Managed) first(name string) {
	slices.SortStableFunc(m.writers, func(a, b writer) int {
		rank := func(w writer) int {
			switch w.name {
			case name:
				return 0
			case identityName:
				return 2
			}
			return 1
		}
		return cmp.Compare(rank(a), rank(b))
	})
}

// only drops all keys but one; identity stays.
func (m *Managed) only(name string) {
	m.writers = slices.DeleteFunc(m.writers, func(w writer) bool { return w.name != name && w.name != identityName })
}

// writes is the name of the writer that writes.
func (m *Managed) writes() string { return m.writers[0].name }

// keys are the names of the keys, in order.
func (m *Managed) keys() []string {
	var names []string
	for _, w := range m.writers {
		if w.secret != "" {
			names = append(names, w.name)
		}
	}
	return names
}

// newest is the key with the highest number, "" if there is none.
func (m *Managed) newest() string {
	return slices.MaxFunc(append(m.keys(), ""), func(a, b string) int { return cmp.Compare(number(a), number(b)) })
}

// number of a key's name, 0 if it has none.
func number(name string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(name, keyPrefix))
	return n
}

// clone copies m, to be changed.
func (m *Managed) clone() *Managed { return &Managed{writers: slices.Clone(m.writers)} }

// Prints are fingerprints of the writers by name: they tell keys apart and do not reveal them.
func (m *Managed) Prints() map[string]string {
	prints := map[string]string{}
	for _, w := range m.writers {
		sum := sha256.Sum256([]byte("wheelhouse encryption key " + w.secret))
		prints[w.name] = hex.EncodeToString(sum[:16])
	}
	return prints
}

// KeyPrints are the fingerprints without that of writing plain text, which has no key.
func (m *Managed) KeyPrints() map[string]string {
	prints := m.Prints()
	delete(prints, identityName)
	return prints
}
