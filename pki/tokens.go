package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
)

// The files of the keys of service account tokens: the one that signs, all that verify, and the one that signs next.
const (
	tokenKeyFile     = "sa.key"
	tokenPublicFile  = "sa.pub"
	tokenNextKeyFile = "sa-next.key"
)

// tokenKeys sign and verify service account tokens.
type tokenKeys struct {
	sign   crypto.Signer
	verify []crypto.PublicKey // sign's public part first
	next   crypto.Signer      // nil unless a rotation was prepared
}

func (b *builder) tokenKeys() (*tokenKeys, error) {
	if b.same(tokenKeyFile, tokenPublicFile, tokenNextKeyFile) {
		return b.before.tokens, nil
	}
	k := &tokenKeys{}
	var err error
	for file, key := range map[string]*crypto.Signer{tokenKeyFile: &k.sign, tokenNextKeyFile: &k.next} {
		if data := b.files[file]; data != nil {
			if *key, err = parseKey(data); err != nil {
				return nil, fmt.Errorf("pki: %s: %w", b.path(file), err)
			}
		}
	}
	var public []crypto.PublicKey
	if data := b.files[tokenPublicFile]; data != nil {
		if public, err = ParsePublicKeys(data); err != nil {
			return nil, fmt.Errorf("pki: %s: %w", b.path(tokenPublicFile), err)
		}
	}
	if k.sign == nil {
		if len(public) > 0 {
			return nil, fmt.Errorf("pki: %s is missing beside %s", b.path(tokenKeyFile), b.path(tokenPublicFile))
		}
		if k.sign, err = newKey(); err != nil {
			return nil, err
		}
		if b.files[tokenKeyFile], err = encodeKey(k.sign); err != nil {
			return nil, err
		}
	}
	if len(public) == 0 {
		if b.files[tokenPublicFile], err = encodePublic(k.sign.Public()); err != nil {
			return nil, err
		}
	}
	k.verify = []crypto.PublicKey{k.sign.Public()}
	if k.next != nil {
		public = append(public, k.next.Public())
	}
	for _, p := range public {
		if !slices.ContainsFunc(k.verify, func(have crypto.PublicKey) bool { return samePublic(p, have) }) {
			k.verify = append(k.verify, p)
		}
	}
	return k, nil
}

// encodePublic is the PEM of public keys.
func encodePublic(keys ...crypto.PublicKey) ([]byte, error) {
	var out bytes.Buffer
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
		if err := pem.Encode(&out, &pem.Block{Type: "PUBLIC KEY", Bytes: der}); err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
	}
	return out.Bytes(), nil
}
