package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
)

// Lock seals and opens a backup's keys, in the format of age: with a passphrase, or with a key file.
type Lock struct {
	recipients []age.Recipient
	identities []age.Identity
}

// passphraseMin is the least length of a passphrase, in bytes.
const passphraseMin = 12

// NewPassphrase locks with a passphrase.
func NewPassphrase(passphrase string) (*Lock, error) {
	passphrase = strings.TrimRight(passphrase, "\r\n")
	if len(passphrase) < passphraseMin {
		return nil, fmt.Errorf("the backup passphrase has %d characters: use %d or more", len(passphrase), passphraseMin)
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	return &Lock{[]age.Recipient{recipient}, []age.Identity{identity}}, nil
}

// ParseKey locks with what a key file holds: identities (AGE-SECRET-KEY-…), which seal and open, or
// recipients (age1…), which only seal.
func ParseKey(data []byte) (*Lock, error) {
	l := &Lock{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "AGE-SECRET-KEY-"):
			identities, err := age.ParseIdentities(strings.NewReader(line))
			if err != nil {
				return nil, fmt.Errorf("the key file holds an identity that cannot be read: %w", err)
			}
			for _, i := range identities {
				l.identities = append(l.identities, i)
				switch i := i.(type) {
				case *age.X25519Identity:
					l.recipients = append(l.recipients, i.Recipient())
				case *age.HybridIdentity:
					l.recipients = append(l.recipients, i.Recipient())
				}
			}
		default:
			recipients, err := age.ParseRecipients(strings.NewReader(line))
			if err != nil {
				return nil, errors.New("the key file holds a line that is neither an identity (AGE-SECRET-KEY-…) nor a recipient (age1…): make a key file with age-keygen or wheelhouse backup keygen")
			}
			l.recipients = append(l.recipients, recipients...)
		}
	}
	if len(l.recipients) == 0 {
		return nil, errors.New("the key file holds no key: make one with age-keygen or wheelhouse backup keygen")
	}
	return l, nil
}

// NewKey makes the text of a key file, and the recipient that goes with it.
func NewKey(at time.Time) (file []byte, recipient string, err error) {
	i, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, "", err
	}
	text := fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", at.UTC().Format(time.RFC3339), i.Recipient(), i)
	return []byte(text), i.Recipient().String(), nil
}

// Opens tells whether the lock can open what it seals.
func (l *Lock) Opens() bool { return len(l.identities) > 0 }

// seal packs files, by name, and seals the package.
func (l *Lock) seal(files map[string][]byte) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, l.recipients...)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(files[name]))}); err != nil {
			return nil, err
		}
		if _, err := t.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(t.Close(), w.Close()); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

// open opens sealed keys.
func (l *Lock) open(sealed []byte) (map[string][]byte, error) {
	if !l.Opens() {
		return nil, errors.New("the key file holds only a recipient, which seals but does not open: give the one with the identity (AGE-SECRET-KEY-…)")
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), l.identities...)
	if err != nil {
		var none *age.NoIdentityMatchError
		if errors.As(err, &none) {
			return nil, ErrWrongKey
		}
		return nil, fmt.Errorf("%w: the sealed keys cannot be opened: %v", ErrDamaged, err)
	}
	files := map[string][]byte{}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			// What follows must be read for age to check that nothing was cut off.
			if _, err := io.Copy(io.Discard, r); err != nil {
				return nil, fmt.Errorf("%w: the sealed keys cannot be read: %v", ErrDamaged, err)
			}
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the sealed keys cannot be read: %v", ErrDamaged, err)
		}
		// Anyone who knows the recipient can seal: the names must not lead elsewhere.
		if !filepath.IsLocal(h.Name) {
			return nil, fmt.Errorf("%w: the sealed keys hold a file outside of their folder: %q", ErrDamaged, h.Name)
		}
		if files[h.Name], err = io.ReadAll(io.LimitReader(t, keysMax)); err != nil {
			return nil, fmt.Errorf("%w: the sealed keys cannot be read: %v", ErrDamaged, err)
		}
	}
}

// LockFrom makes the lock of a passphrase file or a key file, at most one of which is given; nil if none is.
func LockFrom(passphraseFile, keyFile string) (*Lock, error) {
	switch {
	case passphraseFile != "" && keyFile != "":
		return nil, errors.New("give either a passphrase file or a key file")
	case passphraseFile != "":
		data, err := os.ReadFile(passphraseFile)
		if err != nil {
			return nil, fmt.Errorf("the passphrase file cannot be read: %w", err)
		}
		return NewPassphrase(string(data))
	case keyFile != "":
		data, err := os.ReadFile(keyFile)
		if err != nil {
			return nil, fmt.Errorf("the key file cannot be read: %w", err)
		}
		return ParseKey(data)
	}
	return nil, nil
}
