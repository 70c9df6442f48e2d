package keys_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/test/mastertest"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

// TestKeys: keys change on several masters, some of which are away, silent, or begin anew. Commands:
//
//	masters one two       begins a cluster of these
//	stop|start two        that master is away, or comes back
//	mute|heed two         it lives, but answers nobody; it answers again
//	cut one 2             the second change that it publishes from now on comes to nobody
//	write one a           has a master store a secret
//	read one a b          has it read secrets
//	stored a              how the store holds it
//	rotate|decrypt|rewrite one
//	                      gives that command, and waits until it is done; "yes" confirms it
//	status one
//	put|lose|save|back two
//	                      writes something else into the file of its keys, removes it, keeps what it is, and puts that back
func TestKeys(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		return (&play{t: t}).answer
	})
}

type play struct {
	*mastertest.Cluster
	t     *testing.T
	names []string
	saved []byte
}

func (p *play) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) answer(command string, args scenario.Args) string {
	p.t.Helper()
	switch command {
	case "masters":
		p.names, p.Cluster = args, mastertest.New(p.t, args...)
		return ""
	case "stored":
		e, _, err := p.Store.Get(p.t.Context(), key(args.Word(0)), 0)
		p.check(err)
		return string(form.Find(e.Value))
	}
	m := p.Of(args.Word(0))
	file := filepath.Join(m.Dir, datafolder.EncryptionFile)
	switch command {
	case "stop":
		m.Stop()
	case "start":
		if err := m.Start(); err != nil {
			return p.words("refused: " + err.Error())
		}
	case "mute", "heed":
		m.Mute(command == "mute")
	case "cut":
		n, err := strconv.Atoi(args.Word(1))
		p.check(err)
		m.Cut(n)
	case "write":
		_, err := m.Store.Create(p.t.Context(), key(args.Word(1)), value(args.Word(1)), 0)
		p.check(err)
	case "read":
		return p.read(m, args[1:])
	case "put":
		p.check(os.WriteFile(file, []byte("torn"), 0o600))
	case "lose":
		p.check(os.Remove(file))
	case "save":
		var err error
		p.saved, err = os.ReadFile(file)
		p.check(err)
	case "back":
		p.check(os.WriteFile(file, p.saved, 0o600))
	case "status":
		return p.status(m)
	default:
		return p.order(m, command, args.Word(1) == "yes")
	}
	return ""
}

func key(name string) string { return "/registry/secrets/default/" + name }

func value(name string) []byte {
	return fmt.Appendf(nil, `{"kind":"Secret","apiVersion":"v1","metadata":{"name":%q}}`, name)
}

// form begins a stored value that is encrypted, or is one in plain.
var form = regexp.MustCompile(`^(k8s:enc:[a-z]+:v\d:[a-z0-9]+:|\{"kind")`)

func (p *play) read(m *mastertest.Master, names scenario.Args) string {
	var lines []string
	for _, name := range names {
		e, _, err := m.Store.Get(p.t.Context(), key(name), 0)
		text := "ok"
		if err != nil {
			text = err.Error()
		} else if !bytes.Equal(e.Value, value(name)) {
			text = fmt.Sprintf("%q", e.Value)
		}
		lines = append(lines, name+": "+text)
	}
	return strings.Join(lines, "\n")
}

// order gives a command, and tells what came of it.
func (p *play) order(m *mastertest.Master, command string, yes bool) string {
	p.t.Helper()
	ctx := p.t.Context()
	var work *keys.Work
	if err := m.Call(ctx, http.MethodPost, "encryption/"+command, map[string]bool{"confirmed": yes}, &work); err != nil {
		return p.words("refused: " + err.Error())
	}
	for work.Ended == nil {
		time.Sleep(10 * time.Millisecond)
		work = nil // what a work leaves out must not be that of the last answer
		p.check(m.Call(ctx, http.MethodGet, "encryption/work", nil, &work))
	}
	return p.words(fmt.Sprintf("%s: %d rewritten%s", work.Name, work.Rewritten, cmp.Or(map[bool]string{true: "", false: ", failed: " + work.Error}[work.Error == ""])))
}

func (p *play) status(m *mastertest.Master) string {
	p.t.Helper()
	var s keys.Status
	if err := m.Call(p.t.Context(), http.MethodGet, "encryption", nil, &s); err != nil {
		return p.words("refused: " + err.Error())
	}
	var lines []string
	for _, section := range s.Sections {
		lines = append(lines, fmt.Sprintf("%v", section))
	}
	lines = append(lines, fmt.Sprintf("rewrite needed: %v, unfinished: %q", s.RewriteNeeded, s.Unfinished))
	for _, one := range s.Masters {
		lines = append(lines, fmt.Sprintf("%s: same %v %s", one.Name, one.Same, one.Error))
	}
	return p.words(strings.Join(lines, "\n"))
}

var asked = regexp.MustCompile(`\(?(Get|Post) "https:[^)]*"[^)\n]*\)?`)

// words replaces in a text what is new in each run.
func (p *play) words(text string) string {
	for _, name := range p.names {
		text = strings.ReplaceAll(strings.ReplaceAll(text, p.Of(name).URL, "https://"+name), p.Of(name).Dir, "DIR")
	}
	lines := strings.Split(asked.ReplaceAllString(text, "(URL)"), "\n")
	for n := range lines {
		lines[n] = strings.TrimRight(lines[n], " ")
	}
	return strings.Join(slices.Compact(lines), "\n")
}
