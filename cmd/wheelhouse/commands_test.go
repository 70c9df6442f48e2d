package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
	"github.com/wheelhouse-k8s/wheelhouse/test/mastertest"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewriteAnswers = scenario.Flag()

// TestCommandLines: what operators type, what they see of it, and with which code it ends if that is not 0. Commands:
//
//	masters one two   begins a cluster of these, with a store in etcd; the kubeconfig of the first is the one in use
//	stop|start|mute|heed two
//	wait 11m          passes, on the clocks of all masters
//	second            waits for the next second of the machine's clock
//	store one a       has a master store a secret
//	put f text        writes a file below the folder TMP
//	halve|lose f      cuts off half of the last file there, or removes it
//	ls f              what lies there
//	wheelhouse …      a command line; TMP, ONE and URL stand for the test's folder, the first master's and its URL, TOKEN and HASH for what the
//	                  last token create has printed
func TestCommandLines(t *testing.T) {
	scenario.Run(t, "testdata/commands/*.txt", rewriteAnswers, func(t *testing.T) func(string, scenario.Args) string {
		return (&linePlay{t: t, tmp: t.TempDir()}).answer
	})
}

type linePlay struct {
	*mastertest.Cluster
	t           *testing.T
	tmp         string
	names       []string
	token, hash string
}

func (p *linePlay) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *linePlay) answer(command string, args scenario.Args) string {
	p.t.Helper()
	switch command {
	case "masters":
		opened, err := etcd.Open(p.t.Context(), etcd.Options{Dir: filepath.Join(p.t.TempDir(), "etcd")})
		p.check(err)
		p.t.Cleanup(func() { p.check(opened.Close()) })
		p.names, p.Cluster = args, mastertest.NewOn(p.t, opened, args...)
		p.t.Setenv("KUBECONFIG", datafolder.Kubeconfig(p.Of(args[0]).Dir))
		return ""
	case "wheelhouse":
		return p.run(args)
	case "put":
		p.check(os.WriteFile(filepath.Join(p.tmp, args[0]), []byte(strings.Join(args[1:], " ")+"\n"), 0o600))
		return ""
	case "second": // backups are named by it
		for began := time.Now().Unix(); time.Now().Unix() == began; {
			time.Sleep(10 * time.Millisecond)
		}
		return ""
	case "halve", "lose":
		p.harm(command, args[0])
		return ""
	case "ls":
		entries, err := os.ReadDir(filepath.Join(p.tmp, args[0]))
		p.check(err)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return p.words(strings.Join(names, " "))
	case "wait":
		by, err := time.ParseDuration(args.Word(0))
		p.check(err)
		p.Advance(by)
		return ""
	}
	m := p.Of(args.Word(0))
	switch command {
	case "stop":
		m.Stop()
	case "start":
		p.check(m.Start())
	case "mute", "heed":
		m.Mute(command == "mute")
	case "store":
		value := fmt.Appendf(nil, `{"kind":"Secret","apiVersion":"v1","metadata":{"name":%q,"namespace":"default"}}`, args.Word(1))
		_, err := m.Store.Create(p.t.Context(), "/registry/secrets/default/"+args.Word(1), value, 0)
		p.check(err)
	default:
		p.t.Fatalf("no command %q", command)
	}
	return ""
}

// harm takes the second half of a file away, or all of it; the pattern names it.
func (p *linePlay) harm(how, pattern string) {
	p.t.Helper()
	found, err := filepath.Glob(filepath.Join(p.tmp, pattern))
	p.check(err)
	if len(found) == 0 {
		p.t.Fatalf("%s is not there", pattern)
	}
	last := found[len(found)-1]
	if how == "lose" {
		p.check(os.RemoveAll(last))
		return
	}
	info, err := os.Stat(last)
	p.check(err)
	p.check(os.Truncate(last, info.Size()/2))
}

// run carries out a command line.
func (p *linePlay) run(args scenario.Args) string {
	p.t.Helper()
	line := []string{}
	pairs := []string{"TMP", p.tmp, "TOKEN", p.token, "HASH", p.hash}
	if p.Cluster != nil {
		pairs = append(pairs, "ONE", p.Of(p.names[0]).Dir, "URL", p.Of(p.names[0]).URL)
	}
	for _, word := range args {
		line = append(line, strings.NewReplacer(pairs...).Replace(word))
	}
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(io.Discard)
	root.SetIn(strings.NewReader(""))
	root.SetArgs(line)
	err := root.ExecuteContext(p.t.Context())
	if p.Cluster != nil {
		p.Settle(p.t.Context())
	}
	if found := regexp.MustCompile(`[a-z0-9]{6}\.[a-z0-9]{25}`).FindString(out.String()); found != "" {
		p.token, p.hash = found, regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(out.String())
	}
	text := strings.TrimSpace(out.String())
	if err != nil {
		text = strings.TrimSpace(fmt.Sprintf("%s\nends with %d: %s", text, exitCode(err), oneLine(err)))
	}
	return p.words(text)
}

// changing is what is new in each run.
var changing = []struct {
	form *regexp.Regexp
	word string
}{
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "HASH"},
	{regexp.MustCompile(`\bgo1\.[\w.]+, \w+/\w+`), "GO"},
	{regexp.MustCompile(`\bage1[a-z0-9]+`), "KEY"},
	{regexp.MustCompile(`ed25519:[\w+/=-]+`), "SIGNER"},
	{regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{25}\b`), "TOKEN"},
	{regexp.MustCompile(`token ("[a-z0-9]{6}"|[a-z0-9]{6}:)`), "token ID"},
	{regexp.MustCompile(`\b\w+_[0-9a-f]{8}-[0-9a-f-]{27}`), "NEW"},
	{regexp.MustCompile(`@\d{9,}`), "@WHEN"},
	{regexp.MustCompile(`in \d+\.\d s;`), "in TIME;"},
	{regexp.MustCompile(`"(goVersion|platform|gitCommit|gitTreeState|buildDate|compiler)": "[^"]*"`), `"$1": ""`},
	{regexp.MustCompile(`\d{8}T\d{6}Z?-[0-9a-f]{6}\b|\d{4}-\d\d-\d\d[T_ ][\d:-]+Z?-[0-9a-f]{6}\b`), "BACKUP"},
	{regexp.MustCompile(`\(?(Get|Post|Delete) "[^"]*": [^;\n]*`), "(no answer)"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)`), "WHEN"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T_]\d\d[:-]?\d\d([:-]?\d\d)?( ?UTC|Z)?`), "WHEN"},
	{regexp.MustCompile(`\d{8}T\d{6}Z`), "WHEN"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "DAY"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m|h|d|y)\b`), "TIME"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ?([KMG]i?B|bytes|B)\b`), "SIZE"},
	{regexp.MustCompile(`\b[0-9a-f]{16,}\b`), "ID"},
	{regexp.MustCompile(`v\d+\.\d+(\.\d+)?[-+.\w]*`), "VERSION"},
	{regexp.MustCompile(`  +`), "  "},
	{regexp.MustCompile(` +\n`), "\n"},
}

func (p *linePlay) words(text string) string {
	text = strings.ReplaceAll(text, p.tmp, "TMP")
	for _, name := range p.names {
		text = strings.ReplaceAll(strings.ReplaceAll(text, p.Of(name).URL, "https://"+name), p.Of(name).Dir, "DIR-"+name)
	}
	for _, c := range changing {
		text = c.form.ReplaceAllString(text, c.word)
	}
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		if line == "" { // an empty line ends the answers
			lines[n] = "."
		}
	}
	return strings.Join(lines, "\n")
}
