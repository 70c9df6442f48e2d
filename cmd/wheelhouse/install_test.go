package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// installed runs the command in folders of the test, on a machine whose systemctl only takes notes.
func installed(t *testing.T, s *service, args ...string) (said string, err error) {
	t.Helper()
	c := installCommandOf(s)
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return out.String(), err
}

func testService(t *testing.T) (s *service, calls func() string) {
	t.Helper()
	dir := t.TempDir()
	notes := filepath.Join(dir, "calls")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>%s\n[ \"$1\" = is-system-running ] && echo running\n[ ! -e %s/broken ] || { echo it is broken >&2; exit 1; }\n", notes, dir)
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	s = &service{units: filepath.Join(dir, "units"), settings: filepath.Join(dir, "settings"), programs: filepath.Join(dir, "programs")}
	if err := os.Mkdir(s.units, 0o755); err != nil {
		t.Fatal(err)
	}
	return s, func() string {
		text, _ := os.ReadFile(notes)
		os.Remove(notes)
		return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "; ")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestInstall(t *testing.T) {
	s, calls := testService(t)
	data := filepath.Join(t.TempDir(), "my data")
	said, err := installed(t, s, "--data-dir", data, "--secure-port=443", "--tls-san", "a.example,b.example", "--bind-address=127.0.0.1")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if got := calls(); got != "is-system-running; daemon-reload; enable wheelhouse; restart wheelhouse" {
		t.Errorf("systemctl: %s", got)
	}
	text := read(t, s.unitFile())
	program := filepath.Join(s.programs, "wheelhouse")
	for _, want := range []string{
		"ExecStart=" + program + ` server --bind-address=127.0.0.1 "--data-dir=` + data + `" --secure-port=443 --tls-san=a.example,b.example` + "\n",
		"Type=notify\n", "WatchdogSec=", `ReadWritePaths="` + data + `"` + "\n", `RequiresMountsFor="` + data + `"` + "\n",
		"CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n", "Restart=on-failure\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the unit lacks %q:\n%s", want, text)
		}
	}
	if info, err := os.Stat(program); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the program was not copied: %v %v", info, err)
	}
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data folder, without which the service cannot start: %v %v", info, err)
	}
	if strings.Contains(text, joinVariable) {
		t.Errorf("a first master's unit speaks of joining:\n%s", text)
	}

	// What is kept survives, and only what was written here is removed.
	if err := os.WriteFile(filepath.Join(data, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s.out = &out
	if err := s.uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := calls(); got != "is-system-running; disable --now wheelhouse; daemon-reload" {
		t.Errorf("systemctl: %s", got)
	}
	if _, err := os.Stat(s.unitFile()); err == nil || !strings.Contains(out.String(), "stay in") {
		t.Errorf("uninstall: %v\n%s", err, out.String())
	}
	read(t, filepath.Join(data, "kept"))
	if err := s.uninstall(t.Context()); err == nil || !strings.Contains(err.Error(), "--service-name") {
		t.Errorf("uninstall again: %v", err)
	}
	if err := os.WriteFile(s.unitFile(), []byte("[Unit]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.uninstall(t.Context()); err == nil || !strings.Contains(err.Error(), "it stays") {
		t.Errorf("uninstall of a unit of somebody else: %v", err)
	}
}

// TestInstallJoins: the token is in no file that others can read, and not in the unit.
func TestInstallJoins(t *testing.T) {
	s, _ := testService(t)
	data, token := t.TempDir(), "abcdef.0123456789abcdef"
	said, err := installed(t, s, "--data-dir="+data, "--join=https://192.0.2.1:6443,https://192.0.2.2:6443", "--token="+token,
		"--discovery-token-ca-cert-hash=sha256:"+strings.Repeat("0a", 32), "--no-start")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if text := read(t, s.unitFile()); strings.Contains(text, token) || strings.Contains(said, token) ||
		!strings.Contains(text, " $"+joinVariable+"\n") || !strings.Contains(text, "EnvironmentFile=-"+s.joinFile()+"\n") || !strings.Contains(text, "rm -f "+s.joinFile()+"\n") {
		t.Errorf("the unit:\n%s\n%s", text, said)
	}
	want := joinVariable + "=--discovery-token-ca-cert-hash=sha256:" + strings.Repeat("0a", 32) +
		" --join=https://192.0.2.1:6443,https://192.0.2.2:6443 --token=" + token + "\n"
	if got := read(t, s.joinFile()); got != want {
		t.Errorf("the flags for joining: %q, want %q", got, want)
	}
	if info, err := os.Stat(s.joinFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the token: %v %v", info, err)
	}
}

func TestInstallRefuses(t *testing.T) {
	s, calls := testService(t)
	data := t.TempDir()
	for want, args := range map[string][]string{
		"--service-name":          {"--service-name=../x"},
		"--advertise-address":     {"--advertise-address=nonsense"},
		"takes no arguments":      {"extra"},
		"cannot stand in a unit":  {"--data-dir=" + data + "/a\nExecStartPre=/bin/true"},
		"--backup-key-file":       {"--data-dir=" + data, "env"},
		"unknown flag: --no-such": {"--no-such"},
	} {
		if args[len(args)-1] == "env" {
			t.Setenv(backupPassphraseVariable, "secret")
			args = args[:len(args)-1]
		} else {
			os.Unsetenv(backupPassphraseVariable)
		}
		if said, err := installed(t, s, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q\n%s", args, err, want, said)
		}
	}
	os.Unsetenv(backupPassphraseVariable)
	if _, err := os.Stat(s.unitFile()); err == nil {
		t.Error("a refused command wrote a unit")
	}
	calls()
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.units), "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := installed(t, s, "--data-dir="+data); err == nil || !strings.Contains(err.Error(), "it is broken") {
		t.Errorf("a systemctl that fails: %v", err)
	}
}

// TestEnvironment: what systemd would split or read otherwise is refused.
func TestEnvironment(t *testing.T) {
	for _, word := range []string{"--token=a b", "--token=a\nX=1", `--token="a"`, "--token='a'", `--token=a\`, "--token=a\x00"} {
		if text, err := environment([]string{"--join=https://192.0.2.1:6443", word}); err == nil {
			t.Errorf("%q gives %q", word, text)
		}
	}
}

// TestQuoteForSystemd: no value becomes more than one word, a variable or a specifier.
func TestQuoteForSystemd(t *testing.T) {
	for value, want := range map[string]string{
		"plain": "plain", "with space": `"with space"`, "100%": "100%%", "$HOME": "$$HOME", `a"b`: `"a\"b"`, `a\b`: `"a\\b"`, "": `""`, "a;b": `"a;b"`,
	} {
		if got, err := quoteForSystemd(value); got != want || err != nil {
			t.Errorf("%q: %s, %v; want %s", value, got, err, want)
		}
	}
}

// TestPathFlags: every flag of a master that names a file or a folder is one that the service gets as an absolute path.
func TestPathFlags(t *testing.T) {
	config := master.Default()
	f := &serverFlags{config: &config}
	all := map[string]bool{}
	sets := f.sections()
	for _, set := range sets.FlagSets {
		set.VisitAll(func(flag *pflag.Flag) {
			all[flag.Name] = true
			words := strings.ToLower(flag.Usage)
			names := strings.HasSuffix(flag.Name, "-file") || strings.HasPrefix(flag.Name, "etcd-") && strings.HasSuffix(flag.Name, "file") || strings.HasSuffix(flag.Name, "-dir") || strings.HasPrefix(words, "file ") || strings.HasPrefix(words, "folder ")
			for _, known := range pathFlags {
				names = names && flag.Name != known
			}
			if names {
				t.Errorf("--%s seems to name a file, and pathFlags does not have it", flag.Name)
			}
		})
	}
	for _, name := range pathFlags {
		if !all[name] {
			t.Errorf("there is no flag --%s", name)
		}
	}
}
