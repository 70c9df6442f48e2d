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
	// passphrase tells that this is one; names are the recipients otherwise, and secrets the texts of the identities.
	passphrase     bool
	names, secrets []string
	// source is what the operator gave, for messages.
	source string
}

// scryptWork is the work that a passphrase asks for, as a power of two; a sealed file that asks for more is none of ours, and
// would take the memory of the machine.
const scryptWork = 18

// Recipients are whom the lock seals for.
func (l *Lock) Recipients() []string {
	if l.passphrase {
		return []string{"passphrase"}
	}
	return l.names
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
	recipient.SetWorkFactor(scryptWork)
	identity.SetMaxWorkFactor(scryptWork)
	return &Lock{recipients: []age.Recipient{recipient}, identities: []age.Identity{identity}, passphrase: true, source: "the passphrase"}, nil
}

// ParseKey locks with what a key file holds: identities (AGE-SECRET-KEY-…), which seal and open, or
// recipients (age1…), which only seal.
func ParseKey(data []byte) (*Lock, error) {
	l := &Lock{source: "the key file"}
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
				l.identities, l.secrets = append(l.identities, i), append(l.secrets, line)
				switch i := i.(type) {
				case *age.X25519Identity:
					l.recipients, l.names = append(l.recipients, i.Recipient()), append(l.names, i.Recipient().String())
				case *age.HybridIdentity:
					l.recipients, l.names = append(l.recipients, i.Recipient()), append(l.names, i.Recipient().String())
				}
			}
		default:
			recipients, err := age.ParseRecipients(strings.NewReader(line))
			if err != nil {
				return nil, errors.New("the key file holds a line that is neither an identity (AGE-SECRET-KEY-…) nor a recipient (age1…): make a key file with age-keygen or wheelhouse backup keygen")
			}
			l.recipients, l.names = append(l.recipients, recipients...), append(l.names, line)
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

// open opens a backup's sealed keys.
func (l *Lock) open(m *Manifest, sealed []byte) (map[string][]byte, error) {
	if !l.Opens() {
		return nil, fmt.Errorf("%s holds only the recipient %s, which seals but does not open: give the one with its identity (AGE-SECRET-KEY-…)", l.source, shortened(l.names))
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), l.identities...)
	if err != nil {
		var none *age.NoIdentityMatchError
		if errors.As(err, &none) {
			return nil, l.wrong(m)
		}
		return nil, fmt.Errorf("%w: the sealed keys cannot be opened: %v", ErrDamaged, err)
	}
	return unpack(r)
}

// wrong says what the lock is, and what would open the keys.
func (l *Lock) wrong(m *Manifest) error {
	switch forPassphrase := slices.Equal(m.SealedFor, []string{"passphrase"}); {
	case l.passphrase && (forPassphrase || len(m.SealedFor) == 0):
		return fmt.Errorf("%w: %s is not the one with which they were sealed", ErrWrongKey, l.source)
	case l.passphrase:
		return fmt.Errorf("%w with a passphrase: they are sealed for the recipient %s; give its key file with --backup-key-file", ErrWrongKey, shortened(m.SealedFor))
	case forPassphrase:
		return fmt.Errorf("%w with a key file: they are sealed with a passphrase; give it with --backup-passphrase-file", ErrWrongKey)
	case len(m.SealedFor) == 0:
		return fmt.Errorf("%w: %s, which is that of the recipient %s, is not the one for which they were sealed", ErrWrongKey, l.source, shortened(l.names))
	}
	return fmt.Errorf("%w: %s is that of the recipient %s, and they are sealed for %s", ErrWrongKey, l.source, shortened(l.names), shortened(m.SealedFor))
}

// recipientMax is how much of a recipient is shown; hybrid ones have two thousand letters.
const recipientMax = 70

func shortened(names []string) string {
	var all []string
	for _, name := range names {
		if len(name) > recipientMax {
			name = name[:recipientMax] + "…"
		}
		all = append(all, name)
	}
	return strings.Join(all, ", ")
}

// unpack reads the package of keys. Anyone who knows the recipient can seal: no name may lead elsewhere, and no header promise more than
// is there.
func unpack(r io.Reader) (map[string][]byte, error) {
	files := map[string][]byte{}
	t := tar.NewReader(r)
	for left := int64(keysMax); ; {
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
		left -= h.Size // also what a sparse file says that it has
		_, twice := files[h.Name]
		switch {
		case !filepath.IsLocal(h.Name) || filepath.Clean(h.Name) != h.Name:
			return nil, fmt.Errorf("%w: the sealed keys hold a file outside of their folder: %.100q", ErrDamaged, h.Name)
		case h.Typeflag != tar.TypeReg || h.Size < 0 || left < 0 || twice || len(files) >= keyFilesMax:
			return nil, fmt.Errorf("%w: the sealed keys hold what no master put there: %.100q", ErrDamaged, h.Name)
		}
		if files[h.Name], err = io.ReadAll(io.LimitReader(t, h.Size)); err != nil {
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
		data, err := readSecret("passphrase", passphraseFile, func([]byte) bool { return true })
		if err != nil {
			return nil, err
		}
		l, err := NewPassphrase(string(data))
		if err == nil {
			l.source = "the passphrase in " + passphraseFile
		}
		return l, err
	case keyFile != "":
		data, err := readSecret("key", keyFile, func(data []byte) bool { return bytes.Contains(data, []byte("AGE-SECRET-KEY-")) })
		if err != nil {
			return nil, err
		}
		l, err := ParseKey(data)
		if err == nil {
			l.source = "the key file " + keyFile
		}
		return l, err
	}
	return nil, nil
}

// othersMay are the rights of others to a file.
const othersMay = 0o077

// readSecret reads a file whose secret, if it holds one, is its owner's alone.
func readSecret(what, file string, secret func([]byte) bool) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("the %s file cannot be read: %w", what, err)
	}
	defer f.Close()
	info, err := f.Stat()
	var data []byte
	if err == nil {
		data, err = io.ReadAll(f)
	}
	if err != nil {
		return nil, fmt.Errorf("the %s file cannot be read: %w", what, err)
	}
	if info.Mode().IsRegular() && info.Mode()&othersMay != 0 && secret(data) {
		return nil, fmt.Errorf("the %s file %s can be read by others (its mode is %04o): make it yours alone with chmod 600 %s", what, file, info.Mode().Perm(), file)
	}
	return data, nil
}
