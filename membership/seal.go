package membership

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
)

// keyExchange is one side of a key exchange that only two holders of the same token can complete. What is sealed with it
// stays closed to whoever sees the traffic, even if the token, or TLS, is broken later.
type keyExchange struct{ private *ecdh.PrivateKey }

func newKeyExchange() (*keyExchange, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return &keyExchange{private}, nil
}

// keptKeyExchange is the one whose private key a file keeps; it is made if there is none. An empty name keeps it nowhere.
func keptKeyExchange(file string) (*keyExchange, error) {
	if file == "" {
		return newKeyExchange()
	}
	data, err := os.ReadFile(file)
	if err == nil {
		if raw, err := hex.DecodeString(strings.TrimSpace(string(data))); err == nil {
			if private, err := ecdh.X25519().NewPrivateKey(raw); err == nil {
				return &keyExchange{private}, nil
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	e, err := newKeyExchange()
	if err != nil {
		return nil, err
	}
	if err := durable.Replace(file, []byte(hex.EncodeToString(e.private.Bytes())+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return e, nil
}

// public is what the other side gets.
func (e *keyExchange) public() []byte { return e.private.PublicKey().Bytes() }

// cipher is the same on both sides. The key serves for one message.
func (e *keyExchange) cipher(other []byte, token Token) (cipher.AEAD, error) {
	public, err := ecdh.X25519().NewPublicKey(other)
	if err != nil {
		return nil, fmt.Errorf("the other side's key cannot be used: %w", err)
	}
	shared, err := e.private.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("the other side's key cannot be used: %w", err)
	}
	keys := [][]byte{e.public(), other}
	slices.SortFunc(keys, slices.Compare)
	key, err := hkdf.Key(sha256.New, append(shared, token.Secret...), slices.Concat(keys...), "wheelhouse join "+token.ID, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (e *keyExchange) seal(other []byte, token Token, data []byte) ([]byte, error) {
	c, err := e.cipher(other, token)
	if err != nil {
		return nil, err
	}
	return c.Seal(nil, nil, data, nil), nil
}

func (e *keyExchange) open(other []byte, token Token, sealed []byte) ([]byte, error) {
	c, err := e.cipher(other, token)
	if err != nil {
		return nil, err
	}
	data, err := c.Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, errors.New("the master's answer was not sealed with this token")
	}
	return data, nil
}
