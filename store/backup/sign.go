package backup

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Signer signs manifests for the masters of a cluster. What it has not signed, no master of that cluster wrote: whoever may write to a
// vault can take backups away, but not plant any.
type Signer struct{ key ed25519.PrivateKey }

// NewSigner makes a signer of a secret of 32 bytes.
func NewSigner(secret []byte) (*Signer, error) {
	if len(secret) != ed25519.SeedSize {
		return nil, fmt.Errorf("a key that signs backups has %d bytes, not %d", ed25519.SeedSize, len(secret))
	}
	return &Signer{ed25519.NewKeyFromSeed(secret)}, nil
}

// signerPrefix begins the name of a signer; the public key follows.
const signerPrefix = "ed25519:"

// Name is the public part: what everybody may know, and who restores on an empty machine has to.
func (s *Signer) Name() string {
	return signerPrefix + hex.EncodeToString(s.key.Public().(ed25519.PublicKey))
}

// Sign signs a manifest that is to be written for a cluster; any other is refused.
func (s *Signer) Sign(cluster string, manifest []byte) (signature string, err error) {
	m, err := parseManifest(manifest)
	switch {
	case err != nil:
		return "", err
	case m.Cluster != cluster:
		return "", errors.New("the manifest is not one of this cluster's")
	case m.Signer != s.Name():
		return "", errors.New("the key of service account tokens, of which the one that signs backups is made, was replaced meanwhile: try again")
	}
	data, err := m.signed()
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(ed25519.Sign(s.key, data)), nil
}

// CheckSigner finds a name that is none of a signer.
func CheckSigner(name string) error {
	key, ok := strings.CutPrefix(name, signerPrefix)
	if data, err := hex.DecodeString(key); !ok || err != nil || len(data) != ed25519.PublicKeySize || key != strings.ToLower(key) {
		return fmt.Errorf("%q is no signer of backups: it must be %s and 64 hexadecimal digits, as wheelhouse backup create prints it", name, signerPrefix)
	}
	return nil
}

// signingPurpose goes before what is signed, so that a signature is good for nothing else.
const signingPurpose = "wheelhouse backup manifest\n"

// signed is what a signature is over.
func (m *Manifest) signed() ([]byte, error) {
	c := *m
	c.Signature, c.Checksum = "", ""
	data, err := c.plain()
	return append([]byte(signingPurpose), data...), err
}

// checkSignature: a manifest that names a signer must be signed by it.
func (m *Manifest) checkSignature() error {
	if m.Format == unsignedFormat {
		if m.Signer != "" || m.Signature != "" || len(m.Vouchers) > 0 {
			return errors.New("a manifest of that format has no signature")
		}
		return nil
	}
	if err := CheckSigner(m.Signer); err != nil {
		return err
	}
	key, err := hex.DecodeString(strings.TrimPrefix(m.Signer, signerPrefix))
	if err != nil {
		return err
	}
	signature, err := hex.DecodeString(m.Signature)
	if err != nil {
		return err
	}
	data, err := m.signed()
	if err != nil {
		return err
	}
	if !ed25519.Verify(key, data, signature) {
		return errors.New("its signature is wrong")
	}
	return nil
}

// vouch gives, for each identity of the lock, what only its holder can make of a signer's name: who has the key file needs nothing
// else to know the signer.
func (l *Lock) vouch(signer string) (all []string) {
	for _, secret := range l.secrets {
		all = append(all, hex.EncodeToString(voucher(secret, signer)))
	}
	return all
}

func voucher(secret, signer string) []byte {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "wheelhouse backup signer", sha256.Size)
	if err != nil {
		panic(err) // only for lengths that are not asked for here
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(signer))
	return h.Sum(nil)
}

// vouched tells whether who holds an identity of the lock has vouched for the manifest's signer.
func (l *Lock) vouched(m *Manifest) bool {
	for _, secret := range l.secrets {
		want := voucher(secret, m.Signer)
		if slices.ContainsFunc(m.Vouchers, func(text string) bool {
			have, err := hex.DecodeString(text)
			return err == nil && hmac.Equal(have, want)
		}) {
			return true
		}
	}
	return false
}

// ErrUntrusted: nothing proves that masters of the cluster wrote a backup.
var ErrUntrusted = errors.New("nothing proves that this cluster's masters wrote it")

// Trust says who may have written what is restored.
type Trust struct {
	// Signers that are known: of the masters' own key, or named by the operator.
	Signers []string
	// Lock proves a signer if it is a passphrase, with which only who knows it can seal, or if it is that with which the backup
	// was made. Nil proves nothing.
	Lock *Lock
	// SignerOf finds the signer of a cluster by its keys.
	SignerOf func(keys map[string][]byte) (string, error)
	// Any accepts everything: the operator knows better.
	Any bool
}

// Check tells whether a backup is to be trusted, before anything of it but its manifest is read.
func (t *Trust) Check(ctx context.Context, v Vault, b *Backup) error {
	m := b.Manifest
	switch {
	case m == nil:
		return fmt.Errorf("backup %s is %s: %s", b.Name, b.State, b.Reason)
	case t.Any || m.Signer != "" && slices.Contains(t.Signers, m.Signer):
		return nil
	case m.Signer == "":
		return fmt.Errorf("%w: it was made before backups were signed. If you know where it comes from, give --untrusted", ErrUntrusted)
	case t.Lock != nil && t.Lock.vouched(m):
		return nil
	case t.Lock != nil && t.Lock.passphrase && m.HasKeys():
		sealed, err := m.sealed(ctx, v)
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
			return &unknownError{err}
		}
		if err != nil {
			return err
		}
		keys, err := t.Lock.open(m, sealed)
		if err != nil {
			return err
		}
		if name, err := t.SignerOf(keys); err == nil && name == m.Signer {
			return nil
		}
		return fmt.Errorf("%w: it is signed by %s, which does not belong to the keys in it", ErrUntrusted, m.Signer)
	}
	if t.Lock == nil && m.HasKeys() {
		return fmt.Errorf("%w: it is signed by %s. The --backup-passphrase-file or --backup-key-file with which it was made proves it; or, if that is what wheelhouse backup create printed, give --trust %s; to restore it whoever wrote it, give --untrusted",
			ErrUntrusted, m.Signer, m.Signer)
	}
	return fmt.Errorf("%w: it is signed by %s. If that is what wheelhouse backup create printed, give --trust %s; to restore it whoever wrote it, give --untrusted",
		ErrUntrusted, m.Signer, m.Signer)
}
