package pki

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
)

// derivedBytes is the length of a derived key.
const derivedBytes = 32

// Derive makes a key for a purpose from the key that signs service account tokens: every master makes the same one, nobody else
// can, and it tells nothing of the key that it was made from. It changes when that one is rotated.
func (a *Authority) Derive(purpose string) ([]byte, error) {
	return derive(a.TokenKey(), purpose)
}

// DeriveFrom is Derive for the contents of a file with the key that signs service account tokens.
func DeriveFrom(tokenKey []byte, purpose string) ([]byte, error) {
	key, err := parseKey(tokenKey)
	if err != nil {
		return nil, fmt.Errorf("pki: %s: %w", tokenKeyFile, err)
	}
	return derive(key, purpose)
}

func derive(tokenKey any, purpose string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(tokenKey)
	if err != nil {
		return nil, fmt.Errorf("pki: no key can be derived from %s: %w", tokenKeyFile, err)
	}
	return hkdf.Key(sha256.New, der, nil, "wheelhouse "+purpose, derivedBytes)
}
