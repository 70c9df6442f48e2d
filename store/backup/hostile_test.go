package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// attacker may write to a vault, and knows what is public: the recipient, and old backups.
type attacker struct {
	t *testing.T
	v Vault
}

func (a *attacker) put(name, file string, data []byte) {
	a.t.Helper()
	if err := a.v.Write(a.t.Context(), name, file, bytes.NewReader(data), int64(len(data))); err != nil {
		a.t.Fatal(err)
	}
}

// forge writes a manifest of whatever, signed as somebody can who has no master's key.
func (a *attacker) forge(m Manifest, with *Signer) {
	a.t.Helper()
	if with != nil {
		m.Signer = with.Name()
		data, err := m.signed()
		if err != nil {
			a.t.Fatal(err)
		}
		m.Signature = hexSign(with, data)
	}
	data, err := m.encode()
	if err != nil {
		a.t.Fatal(err)
	}
	a.put(m.Name, ManifestFile, data)
}

// restore is what a restore does until it has snapshot and keys.
func (a *attacker) restore(name string, trust *Trust, lock *Lock) error {
	ctx := a.t.Context()
	b, _, err := FindUsable(ctx, a.v, name, func(b *Backup) error { return errors.Join(b.Restorable(false), ignore(b, trust.Check(ctx, a.v, b))) })
	if err != nil {
		return err
	}
	if err := errors.Join(b.Restorable(false), trust.Check(ctx, a.v, b)); err != nil {
		return err
	}
	if _, err := OpenKeys(ctx, a.v, b, lock); err != nil {
		return err
	}
	_, release, err := Fetch(ctx, a.v, b, a.t.TempDir(), nil)
	if err == nil {
		release()
	}
	return err
}

func ignore(b *Backup, err error) error {
	if b.State != Good {
		return nil
	}
	return err
}

// TestHostileVault: what somebody plants who may write to a vault is not restored, by no name.
func TestHostileVault(t *testing.T) {
	for name, attack := range map[string]func(a *attacker, one, two *Manifest, lock *Lock){
		"manifest of another signer": func(a *attacker, one, _ *Manifest, _ *Lock) { a.forge(*one, signerOf("attacker")) },
		"manifest without signature": func(a *attacker, one, _ *Manifest, _ *Lock) { one.Signature = ""; a.forge(*one, nil) },
		"manifest of the old format": func(a *attacker, one, _ *Manifest, _ *Lock) {
			one.Format, one.Signer, one.Signature, one.Vouchers = unsignedFormat, "", "", nil
			a.forge(*one, nil)
		},
		"manifest changed": func(a *attacker, one, _ *Manifest, _ *Lock) { one.Revision++; a.forge(*one, nil) },
		"another's manifest": func(a *attacker, one, two *Manifest, _ *Lock) {
			a.put(one.Name, ManifestFile, files(a.t, a.v, two.Name)[ManifestFile])
		},
		"another's manifest under this name": func(a *attacker, one, two *Manifest, _ *Lock) {
			two.Name = one.Name
			a.forge(*two, nil)
		},
		"another's snapshot": func(a *attacker, one, two *Manifest, _ *Lock) {
			a.put(one.Name, SnapshotFile, files(a.t, a.v, two.Name)[SnapshotFile])
		},
		"another's keys": func(a *attacker, one, two *Manifest, _ *Lock) {
			a.put(one.Name, KeysFile, files(a.t, a.v, two.Name)[KeysFile])
		},
		"keys sealed to the recipient": func(a *attacker, one, _ *Manifest, lock *Lock) {
			sealed, err := lock.seal(map[string][]byte{"pki/ca.crt": []byte("the attacker's"), "pki/sa.key": []byte("attacker")})
			if err != nil {
				a.t.Fatal(err)
			}
			a.put(one.Name, KeysFile, sealed)
		},
		"all of the attacker's": func(a *attacker, one, _ *Manifest, lock *Lock) {
			sealed, err := lock.seal(map[string][]byte{"pki/ca.crt": []byte("the attacker's"), "pki/sa.key": []byte("attacker")})
			if err != nil {
				a.t.Fatal(err)
			}
			a.put(one.Name, KeysFile, sealed)
			sum := sumOf(sealed)
			one.Files[KeysFile] = File{Size: int64(len(sealed)), SHA256: sum}
			a.forge(*one, signerOf("attacker"))
		},
		"the attacker's with the masters' vouchers": func(a *attacker, one, _ *Manifest, _ *Lock) {
			one.Revision = 7
			a.forge(*one, signerOf("attacker"))
		},
		"truncated": func(a *attacker, one, _ *Manifest, _ *Lock) {
			data := files(a.t, a.v, one.Name)[SnapshotFile]
			a.put(one.Name, SnapshotFile, data[:len(data)/2])
		},
		"longer": func(a *attacker, one, _ *Manifest, _ *Lock) {
			a.put(one.Name, SnapshotFile, append(files(a.t, a.v, one.Name)[SnapshotFile], make([]byte, 1<<20)...))
		},
		"paths in the manifest": func(a *attacker, one, _ *Manifest, _ *Lock) {
			one.Files["../../../etc/passwd"] = one.Files[SnapshotFile]
			a.forge(*one, signerOf("one"))
		},
		"escapes for the terminal": func(a *attacker, one, _ *Manifest, _ *Lock) {
			one.Cluster = "one\x1b]0;owned\x07"
			a.forge(*one, signerOf("one"))
		},
		"a size of its own": func(a *attacker, one, _ *Manifest, _ *Lock) {
			one.Files[SnapshotFile] = File{Size: 1 << 60, SHA256: one.Files[SnapshotFile].SHA256}
			a.forge(*one, signerOf("attacker"))
		},
		"a manifest without end": func(a *attacker, one, _ *Manifest, _ *Lock) {
			a.put(one.Name, ManifestFile, bytes.Repeat([]byte(" "), manifestMax+1))
		},
		"a later format": func(a *attacker, one, _ *Manifest, _ *Lock) { one.Format = 99; a.forge(*one, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			v, err := NewFolder(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			c, lock := newCluster(t), newLock(t)
			at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
			var made []*Manifest
			for range 2 {
				at = at.Add(time.Hour)
				m, err := Create(t.Context(), c, v, CreateOptions{Lock: lock, Reader: readWords, Now: func() time.Time { return at }})
				if err != nil {
					t.Fatal(err)
				}
				made = append(made, m)
			}
			a := &attacker{t, v}
			trusts := map[string]*Trust{
				"the signer": {Signers: []string{signerOf("one").Name()}},
				"the key":    {Lock: lock},
			}
			for how, trust := range trusts {
				if err := a.restore(made[1].Name, trust, lock); err != nil {
					t.Fatalf("%s: what masters wrote is not restored: %v", how, err)
				}
			}
			older := made[0].Name
			attack(a, made[1], made[0], lock)
			for how, trust := range trusts {
				if err := a.restore(made[1].Name, trust, lock); err == nil {
					t.Errorf("%s: restored", how)
				}
			}
			// The older one is not harmed: not hidden, and not pruned for what was planted.
			all, err := List(t.Context(), v)
			if err != nil || len(all) != 2 || all[0].Name != older || all[0].State != Good {
				t.Fatalf("%+v, %v", all, err)
			}
			if _, _, err := FindUsable(t.Context(), v, "latest", func(b *Backup) error {
				return errors.Join(b.Restorable(false), ignore(b, trusts["the signer"].Check(t.Context(), v, b)))
			}); err != nil {
				t.Errorf("latest: %v", err)
			}
			if _, err := Prune(t.Context(), v, PruneOptions{Retention: Retention{Last: 1}, Signers: trusts["the signer"].Signers}); err != nil {
				t.Fatal(err)
			}
			if all, err = List(t.Context(), v); err != nil || all[0].Name != older {
				t.Errorf("the good one was pruned: %+v, %v", all, err)
			}
		})
	}
}

// TestTrust: who proves what.
func TestTrust(t *testing.T) {
	v, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, lock, stranger := newCluster(t), newLock(t), newLock(t)
	passphrase, err := NewPassphrase("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	recipient, err := ParseKey([]byte(lock.Recipients()[0] + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := signerOf("one").Name(), signerOf("two").Name()
	signerOf := func(name string) func(map[string][]byte) (string, error) {
		return func(map[string][]byte) (string, error) { return name, nil }
	}
	for name, test := range map[string]struct {
		sealed *Lock
		trust  Trust
		ok     bool
	}{
		"nothing":                      {lock, Trust{}, false},
		"the signer by name":           {lock, Trust{Signers: []string{theirs, ours}}, true},
		"another signer":               {lock, Trust{Signers: []string{theirs}}, false},
		"the key file":                 {lock, Trust{Lock: lock}, true},
		"another key file":             {lock, Trust{Lock: stranger}, false},
		"the recipient alone":          {lock, Trust{Lock: recipient}, false},
		"sealed for a recipient":       {recipient, Trust{Lock: lock}, false},
		"anything":                     {recipient, Trust{Any: true}, true},
		"the passphrase":               {passphrase, Trust{Lock: passphrase, SignerOf: signerOf(ours)}, true},
		"the passphrase, others' keys": {passphrase, Trust{Lock: passphrase, SignerOf: signerOf(theirs)}, false},
	} {
		m, err := Create(t.Context(), c, v, CreateOptions{Lock: test.sealed, Reader: readWords})
		if err != nil {
			t.Fatal(err)
		}
		b, err := Find(t.Context(), v, m.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := test.trust.Check(t.Context(), v, b); (err == nil) != test.ok || err != nil && !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who forgot the passphrase is asked for it first.
	all, err := List(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Trust{}).Check(t.Context(), v, &all[0]); err == nil || !strings.Contains(err.Error(), "--backup-passphrase-file") {
		t.Errorf("without anything: %v", err)
	}
	// Signing is for this cluster's manifests.
	m := Manifest{Format: format, Name: "n", Cluster: "two", Signer: ours}
	data, err := m.plain()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sign(t.Context(), data); err == nil {
		t.Error("another cluster's manifest was signed")
	}
}

// TestLatestByPassphrase: what is sealed with another passphrase, and signed by nobody who is known, does not stand in the way of the
// latest backup that the passphrase proves. One that the same masters have signed does: it is the latest, and the passphrase is the wrong one.
func TestLatestByPassphrase(t *testing.T) {
	v, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lock := func(text string) *Lock {
		t.Helper()
		l, err := NewPassphrase(text)
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := l.recipients[0].(*age.ScryptRecipient); ok {
			r.SetWorkFactor(4) // nobody guesses here
		}
		return l
	}
	c, ours, theirs := newCluster(t), lock("correct horse battery"), lock("wrong horse battery")
	trust := &Trust{Lock: ours, SignerOf: func(map[string][]byte) (string, error) { return signerOf("one").Name(), nil }}
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	create := func(l *Lock) *Manifest {
		t.Helper()
		at = at.Add(time.Hour)
		m, err := Create(t.Context(), c, v, CreateOptions{Lock: l, Reader: readWords, Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	latest := func(vault Vault) (*Backup, []Passed, error) {
		return FindUsable(t.Context(), vault, "latest", func(b *Backup) error {
			if err := b.Restorable(false); err != nil {
				return err
			}
			return trust.Check(t.Context(), vault, b)
		})
	}
	good, planted := create(ours), create(theirs)
	(&attacker{t, v}).forge(*planted, signerOf("attacker"))
	if b, passed, err := latest(v); err != nil || b.Name != good.Name || len(passed) != 1 || !errors.Is(passed[0].Why, ErrWrongKey) {
		t.Errorf("with one planted: %+v, %v, %v", b, passed, err)
	}
	// A vault that fails for a moment is no reason to take an older one.
	newest := create(ours)
	if b, _, err := latest(failing{v, newest.Name}); err == nil {
		t.Errorf("with a vault that fails %s was taken for the latest", b.Name)
	}
	create(theirs)
	if b, _, err := latest(v); !errors.Is(err, ErrWrongKey) {
		t.Errorf("with one of the same masters: %+v, %v", b, err)
	}
	if _, _, err := Latest([]Backup{{State: Good, Manifest: planted}}, func(*Backup) error { return ErrWrongKey }); !errors.Is(err, ErrWrongKey) {
		t.Errorf("a wrong passphrase: %v", err)
	}
}

// failing is a vault that does not give the keys of one backup.
type failing struct {
	Vault
	name string
}

func (f failing) Open(ctx context.Context, name, file string) (io.ReadCloser, int64, error) {
	if name == f.name && file == KeysFile {
		return nil, 0, errors.New("connection reset by peer")
	}
	return f.Vault.Open(ctx, name, file)
}

// TestSignMeanwhile: a backup during which the masters' key was replaced says so.
func TestSignMeanwhile(t *testing.T) {
	m := Manifest{Format: format, Name: "n", Cluster: "one", Signer: signerOf("former").Name()}
	data, err := m.plain()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signerOf("present").Sign("one", data); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("%v", err)
	}
}

// TestBombs: sealed keys that promise more than they hold, or are many, do not fill the memory; nor do what is no file, or backups
// without end.
func TestBombs(t *testing.T) {
	lock := newLock(t)
	seal := func(write func(w *tar.Writer) error) []byte {
		t.Helper()
		var sealed bytes.Buffer
		w, err := age.Encrypt(&sealed, lock.recipients...)
		if err != nil {
			t.Fatal(err)
		}
		archive := tar.NewWriter(w)
		if err := errors.Join(write(archive), archive.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		return sealed.Bytes()
	}
	sparse := func(w *tar.Writer) error {
		// A file of GNU's sparse format that says it has 60 MiB of nothing, many times.
		for n := range 100 {
			body := "1\n0\n1\n"
			body += strings.Repeat("\x00", 512-len(body)) + "x"
			h := &tar.Header{Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/f", Size: int64(len(body)), Mode: 0o600, Format: tar.FormatPAX,
				PAXRecords: map[string]string{"WHEEL.n": strings.Repeat("n", n+1)}}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			if _, err := io.WriteString(w, body); err != nil {
				return err
			}
		}
		return nil
	}
	for name, sealed := range map[string][]byte{
		"twice the same": seal(sparse),
		"many": seal(func(w *tar.Writer) error {
			for n := range keyFilesMax + 1 {
				if err := w.WriteHeader(&tar.Header{Name: "pki/" + strings.Repeat("x", n%90+1) + string(rune('a'+n%26)) + time.Duration(n).String(), Mode: 0o600}); err != nil {
					return err
				}
			}
			return nil
		}),
		"a link": seal(func(w *tar.Writer) error {
			return w.WriteHeader(&tar.Header{Name: "pki/ca.key", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"})
		}),
		"a folder": seal(func(w *tar.Writer) error { return w.WriteHeader(&tar.Header{Name: "pki", Typeflag: tar.TypeDir}) }),
	} {
		if files, err := lock.open(&Manifest{}, sealed); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %d files, %v", name, len(files), err)
		}
	}
	passphrase, err := NewPassphrase("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	heavy := []byte("age-encryption.org/v1\n-> scrypt c2FsdHNhbHRzYWx0c2FsdA 22\n" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
	begun := time.Now()
	if _, err := passphrase.open(&Manifest{}, heavy); err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("a passphrase's work is the attacker's: %v after %v", err, time.Since(begun))
	}

	dir := t.TempDir()
	v, err := NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	name := "20300101T000000Z-abcdef"
	if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("/etc/passwd", filepath.Join(dir, name, SnapshotFile)), unix.Mkfifo(filepath.Join(dir, name, ManifestFile), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{SnapshotFile, ManifestFile} {
		if r, _, err := v.Open(t.Context(), name, file); err == nil {
			r.Close()
			t.Errorf("%s was opened", file)
		}
	}
	if all, err := List(t.Context(), v); err != nil || len(all) != 1 || all[0].State != Damaged {
		t.Errorf("%+v, %v", all, err)
	}
	for n := range entriesMax + 1 {
		at := time.Unix(int64(n), 0).UTC().Format(nameTime)
		if err := os.Mkdir(filepath.Join(dir, at+"-000000"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.List(context.Background()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a flood of backups: %v", err)
	}
}

// TestReasons: what stands in a mark of damage goes to a terminal.
func TestReasons(t *testing.T) {
	v, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(damage{Reason: "\x1b[2J" + strings.Repeat("x", 10_000)})
	if err != nil {
		t.Fatal(err)
	}
	name := "20300101T000000Z-abcdef"
	(&attacker{t, v}).put(name, DamagedFile, data)
	if why := readDamage(t.Context(), v, name); strings.Contains(why, "\x1b") || len(why) > 2*textMax {
		t.Errorf("%q", why)
	}
}

func hexSign(s *Signer, data []byte) string { return hex.EncodeToString(ed25519.Sign(s.key, data)) }

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
