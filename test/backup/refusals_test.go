package backup

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// signerOf is what create prints of who signed a backup.
func signerOf(t *testing.T, said string) string {
	t.Helper()
	_, signer, ok := strings.Cut(said, "signed by ")
	if !ok {
		t.Fatalf("create names no signer: %s", said)
	}
	return strings.Fields(signer)[0]
}

// newer makes a backup that is newer than all before by its name, whose time is in seconds, and gives name and signer.
func (o *operator) newer(key string) (name, signer string) {
	o.t.Helper()
	if all := o.list(); len(all) > 0 {
		last := all[len(all)-1].Name
		for time.Now().UTC().Format("20060102T150405Z") <= last[:16] {
			time.Sleep(10 * time.Millisecond)
		}
	}
	said := o.run("backup", "create", "--kubeconfig", o.data+"/admin.kubeconfig", "--backup-dir", o.backups, "--backup-key-file", key)
	name, _, _ = strings.Cut(said, ":")
	return name, signerOf(o.t, said)
}

// flip changes a byte in the middle of a file.
func flip(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		data[len(data)/2] ^= 1
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// code runs a command that must end with an exit code and words.
func (o *operator) code(code int, want string, args ...string) process.Result {
	o.t.Helper()
	r := o.try(args...)
	if r.Code != code || !strings.Contains(r.Stdout+r.Stderr, want) {
		o.t.Errorf("wheelhouse %s: exit code %d instead of %d, expected %q: %s%s", strings.Join(args, " "), r.Code, code, want, r.Stdout, r.Stderr)
	}
	return r
}

// TestWhoWroteIt: on an empty machine a backup needs proof of its signer; damaged ones are passed over and said to be; folders that no
// master made stay where they are.
func TestWhoWroteIt(t *testing.T) {
	o := newOperator(t)
	o.start()
	dir := t.TempDir()
	recipient := dir + "/recipient"
	text, err := os.ReadFile(o.keys)
	if err != nil {
		t.Fatal(err)
	}
	_, public, _ := strings.Cut(string(text), "public key: ")
	if err := os.WriteFile(recipient, []byte(strings.Fields(public)[0]+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	names, signer := make([]string, 3), ""
	for n, with := range []string{o.keys, recipient, o.keys} {
		names[n], signer = o.newer(with)
	}
	o.server.Kill()
	elsewhere := func() string { return filepath.Join(t.TempDir(), "data") }
	from := func(what string, more ...string) []string {
		return append([]string{"backup", "restore", what, "--backup-dir", o.backups, "--data-dir", elsewhere()}, more...)
	}
	key := []string{"--backup-key-file", o.keys}

	// The key file vouches for what was made with it; what was made with the recipient alone needs the signer's name, or daring.
	o.run(from(names[0], key...)...)
	o.refuse("--trust "+signer, from(names[1], key...)...)
	o.refuse("nothing proves", from(names[1], append(key, "--trust", "ed25519:"+strings.Repeat("ab", 32))...)...)
	o.code(2, "is no signer", from(names[1], append(key, "--trust", "somebody")...)...)
	o.run(from(names[1], append(key, "--trust", signer)...)...)
	o.run(from(names[1], append(key, "--untrusted")...)...)
	o.run("backup", "restore", names[1], "--backup-dir", o.backups, "--backup-key-file", o.keys, "--data-dir", o.data, "--replace") // the authority is here

	// verify without a key, or without proof, is partial.
	t.Setenv("WHEELHOUSE_DATA_DIR", elsewhere())
	o.code(3, "in part", "backup", "verify", names[0], "--backup-dir", o.backups)
	o.code(3, "in part", "backup", "verify", names[0], "--backup-dir", o.backups, "--trust", signer)
	o.code(3, "in part", "backup", "verify", names[1], "--backup-dir", o.backups, "--backup-key-file", o.keys)
	o.code(0, "is good", "backup", "verify", names[0], "--backup-dir", o.backups, "--backup-key-file", o.keys)
	o.code(1, "--trust "+signer, "backup", "export", names[1], "--to", dir+"/out", "--backup-dir", o.backups, "--backup-key-file", o.keys)
	o.code(0, names[1], "backup", "export", names[1], "--to", dir+"/out", "--backup-dir", o.backups, "--backup-key-file", o.keys, "--trust", signer)

	// Damaged keys do not matter to who does without them.
	flip(t, filepath.Join(o.backups, names[2], "keys.sealed"))
	o.refuse("the hash of keys.sealed", from(names[2], key...)...)
	o.run(from(names[2], "--without-keys", "--trust", signer)...)
	if err := os.Truncate(filepath.Join(o.backups, names[2], "keys.sealed"), 10); err != nil {
		t.Fatal(err)
	}
	r := o.code(1, "is damaged", from(names[2], key...)...)
	if !strings.Contains(r.Stderr, "the newest good one is "+names[1]) {
		t.Errorf("the newest good one is not named: %s", r.Stderr)
	}
	o.run(from(names[2], "--without-keys", "--trust", signer)...)

	// latest says what it passes over: here the newest, whose keys are damaged, and the next, whose snapshot is.
	flip(t, filepath.Join(o.backups, names[1], "snapshot.db"))
	r = o.code(0, "restored "+names[0], from("latest", append(key, "--trust", signer)...)...)
	for _, want := range []string{"passed over backup " + names[2], "passed over backup " + names[1], "can be restored is " + names[0]} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("latest does not say %q: %s", want, r.Stderr)
		}
	}

	// A folder that no master made is left where it is.
	home := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "thesis.txt"), []byte("years"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.refuse("none that a master made", "backup", "restore", names[0], "--backup-dir", o.backups, "--backup-key-file", o.keys, "--data-dir", home, "--replace")
	if _, err := os.Stat(filepath.Join(home, "thesis.txt")); err != nil {
		t.Error(err)
	}
}

// TestSmallRefusals: what is not meant is said.
func TestSmallRefusals(t *testing.T) {
	o := newOperator(t)
	dir := t.TempDir()
	passphrase, open := dir+"/passphrase", dir+"/open"
	for file, mode := range map[string]os.FileMode{passphrase: 0o600, open: 0o644} {
		if err := os.WriteFile(file, []byte("a passphrase of some length\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	o.refuse("does not exist", "backup", "list", "--backup-dir", dir+"/nowhere")
	o.refuse("can be read by others", "backup", "verify", "--backup-dir", dir, "--backup-passphrase-file", open)
	if err := os.Chmod(o.keys, 0o640); err != nil {
		t.Fatal(err)
	}
	o.refuse("chmod 600", "backup", "verify", "--backup-dir", dir, "--backup-key-file", o.keys)
	if err := os.Chmod(o.keys, 0o600); err != nil {
		t.Fatal(err)
	}
	o.start()
	t.Setenv("WHEELHOUSE_BACKUP_KEY_FILE", o.keys)
	o.code(2, "leave one out", "backup", "create", "--kubeconfig", o.data+"/admin.kubeconfig", "--backup-dir", o.backups, "--backup-passphrase-file", passphrase)
	o.code(0, "signed by", "backup", "create", "--server", "unix://"+o.data+"/control.sock", "--backup-dir", o.backups)
	t.Setenv("WHEELHOUSE_BACKUP_KEY_FILE", "")
	o.refuse("they are sealed for the recipient age1", "backup", "restore", "--backup-dir", o.backups, "--backup-passphrase-file", passphrase, "--data-dir", dir+"/data", "--untrusted")
	if text := o.run("backup", "prune", "--backup-dir", o.backups, "--backup-retention", "3"); !strings.Contains(text, "0 removed, 1 good kept") {
		t.Errorf("prune says: %s", text)
	}
	// Hashes are hexadecimal, wherever they are told.
	var listed struct {
		Backups []struct{ Manifest map[string]any }
	}
	if err := json.Unmarshal([]byte(o.run("backup", "list", "--backup-dir", o.backups, "-o", "json")), &listed); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"digest", "checksum", "signature"} {
		if text, _ := listed.Backups[0].Manifest[field].(string); len(text) < 64 || strings.Trim(text, "0123456789abcdef") != "" {
			t.Errorf("%s is %q", field, text)
		}
	}
}
