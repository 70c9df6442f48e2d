package membership

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

// TestJoiner: what a newcomer makes of what servers answer. Commands:
//
//	server a answer…    serves at a name of --join, with the cluster's authority; its answers are one of those of joinServer.answer, and
//	                    times=2 has it give that answer twice and grants from then on
//	server a cert=other a server of another authority; "expired" is one whose certificate has run out, "bare" shows no authority,
//	                    "plain" speaks no TLS, "away" does not answer at all
//	join a b            asks the servers in turn
//	again a b           asks as the next start would, with the same key file
//	files a b           asks where a member does that was away
//	abandon             takes back what the last join brought about
//	key torn            the file of the newcomer's key holds something else; "folder" is one where it cannot be written
//
// Answers are what came of it, what was logged, and what the servers were asked.
func TestJoiner(t *testing.T) {
	scenario.Run(t, "testdata/joiner/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		j := &joinPlay{t: t, servers: map[string]*joinServer{}, token: Token{ID: "abcdef", Secret: "0123456789abcdef012345678"}}
		j.keyFile = filepath.Join(t.TempDir(), KeyName)
		j.ours, j.theirs = newAuthority(t, time.Now), newAuthority(t, time.Now)
		return j.answer
	})
}

func newAuthority(t *testing.T, now func() time.Time) *pki.Authority {
	t.Helper()
	a, err := pki.New(pki.Options{Hostname: "localhost", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

type joinPlay struct {
	t            *testing.T
	ours, theirs *pki.Authority
	servers      map[string]*joinServer
	token        Token
	keyFile      string
	joiner       *Joiner
	grant        *Grant
	keys         []string // that servers were shown, in the order of their first
	asked        []string
}

// joinServer is one that stands at a name of --join.
type joinServer struct {
	play  *joinPlay
	name  string
	kind  string
	times int // how often it gives its answer before it grants; negative without end
	url   string
}

func (j *joinPlay) answer(command string, args scenario.Args) string {
	j.t.Helper()
	switch command {
	case "server":
		j.serve(args)
		return ""
	case "join", "files":
		if command == "files" || j.joiner == nil {
			j.joiner = nil
		}
		return j.join(command, args)
	case "again":
		j.joiner = nil
		return j.join("join", args)
	case "abandon":
		return j.words(strings.Join(append([]string{outcomeOf(j.joiner.Abandon(j.t.Context(), j.grant))}, j.took()...), "\n"))
	case "key":
		err := os.WriteFile(j.keyFile, []byte("torn"), 0o600)
		if args.Word(0) == "folder" {
			j.keyFile = filepath.Join(filepath.Dir(j.keyFile), "none", KeyName)
			err = nil
		}
		if err != nil {
			j.t.Fatal(err)
		}
		return ""
	}
	j.t.Fatalf("no command %q", command)
	return ""
}

func outcomeOf(err error) string {
	if err != nil {
		return "refused: " + err.Error()
	}
	return "ok"
}

func (j *joinPlay) took() []string {
	asked := j.asked
	j.asked = nil
	return asked
}

// words replaces in a text what is new in each run.
func (j *joinPlay) words(text string) string {
	for name, s := range j.servers {
		text = strings.ReplaceAll(text, s.url, name)
		text = strings.ReplaceAll(text, strings.TrimPrefix(s.url, "https://"), name)
	}
	text = strings.ReplaceAll(text, Hash(j.theirs.CA().Certificate), "THEIRS")
	text = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`).ReplaceAllString(text, "WHEN")
	text = regexp.MustCompile(`\.new-\d+`).ReplaceAllString(strings.ReplaceAll(text, filepath.Dir(j.keyFile), "DIR"), ".new-N")
	return regexp.MustCompile(`127\.0\.0\.1:\d+(->127\.0\.0\.1:\d+)?`).ReplaceAllString(text, "ADDRESS")
}

func (j *joinPlay) join(path string, args scenario.Args) string {
	j.t.Helper()
	var said []string
	if j.joiner == nil {
		j.joiner = &Joiner{Token: j.token, Hashes: []string{strings.ToUpper(Hash(j.ours.CA().Certificate))}, KeyFile: j.keyFile, Request: Request{Name: "new", PeerURL: "https://new"}}
		if path == "files" {
			j.joiner.Path = FilesPath
		}
	}
	j.joiner.Servers = nil
	j.joiner.Log = func(format string, args ...any) { said = append(said, "log: "+fmt.Sprintf(format, args...)) }
	for _, name := range args {
		j.joiner.Servers = append(j.joiner.Servers, j.servers[name].url)
	}
	if err := CheckServers(j.joiner.Servers); err != nil && !strings.Contains(err.Error(), "https only") {
		j.t.Fatal(err)
	}
	grant, err := j.joiner.Join(j.t.Context())
	text := outcomeOf(err)
	if err == nil {
		j.grant = grant
		var files []string
		for _, name := range slices.Sorted(maps.Keys(grant.Files)) {
			files = append(files, name+"="+string(grant.Files[name]))
		}
		text = fmt.Sprintf("granted by %s: member %d, %s", grant.Server, grant.Member, strings.Join(files, " "))
	}
	return j.words(strings.Join(append(append(j.took(), said...), text), "\n"))
}

// serve has a server stand at a name.
func (j *joinPlay) serve(args scenario.Args) {
	j.t.Helper()
	s := &joinServer{play: j, name: args.Word(0), kind: cmp.Or(args.Word(1), "grants"), times: -1}
	if n, ok := args.Get("times"); ok {
		s.times, _ = strconv.Atoi(n)
	}
	cert, _ := args.Get("cert")
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	authority := j.ours
	switch cert {
	case "other":
		authority = j.theirs
	case "expired":
		s.play.ours = newAuthority(j.t, func() time.Time { return time.Now().Add(-2 * pki.LeafLifetime) })
		authority = s.play.ours
		j.joiner = nil
	}
	pair := *authority.Server().TLS()
	if cert != "bare" {
		pair.Certificate = append(slices.Clone(pair.Certificate), authority.CA().Certificate.Raw)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1", AuthorityProtocol}}
	if cert == "plain" {
		server.Start()
	} else {
		server.StartTLS()
	}
	s.url = "https://" + server.Listener.Addr().String()
	j.servers[s.name] = s
	if cert == "away" {
		server.Close()
		return
	}
	j.t.Cleanup(server.Close)
}

// ServeHTTP answers a request to join.
func (s *joinServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j := s.play
	var in Request
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		j.t.Error(err)
	}
	who := ""
	if r.Method == http.MethodPost {
		key := string(in.Key)
		if !slices.Contains(j.keys, key) {
			j.keys = append(j.keys, key)
		}
		who = fmt.Sprintf(" with key %d", slices.Index(j.keys, key)+1)
	}
	if in.Token != j.token.String() || r.Header.Get("Authorization") != "Bearer "+in.Token {
		j.t.Errorf("%s was asked with another token: %q", s.name, in.Token)
	}
	j.asked = append(j.asked, fmt.Sprintf("%s: %s %s%s", s.name, r.Method, strings.TrimPrefix(r.URL.Path, admin.Root), who))
	kind := s.kind
	if s.times == 0 {
		kind = "grants"
	}
	s.times = max(s.times-1, min(s.times, 0))
	if r.Method == http.MethodDelete {
		_, _ = w.Write([]byte("{}"))
		return
	}
	s.give(w, kind, &in)
}

// give gives an answer of a kind.
func (s *joinServer) give(w http.ResponseWriter, kind string, in *Request) {
	j := s.play
	w.Header().Set("Content-Type", "application/json")
	refusals := map[string]error{
		"busy": busy("others join"), "conflict": conflict("the clocks differ"), "unauthorized": apierrors.NewUnauthorized("no"),
		"forbidden": apierrors.NewForbidden(schema.GroupResource{}, "join", errors.New("no")), "unknown": notFound("no such path"),
		"broken": apierrors.NewInternalError(errors.New("disk full")), "unavailable": apierrors.NewServiceUnavailable("it starts"),
	}
	if err := refusals[kind]; err != nil {
		admin.WriteError(w, err)
		return
	}
	switch kind {
	case "html":
		_, _ = w.Write([]byte("<html>welcome</html>"))
		return
	case "gateway":
		http.Error(w, "no upstream", http.StatusBadGateway)
		return
	case "silent":
		return
	case "cut": // it is killed before it answers
		panic(http.ErrAbortHandler)
	case "redirects":
		w.Header().Set("Location", j.servers["b"].url+admin.Root+JoinPath)
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	case "endless":
		_, _ = w.Write([]byte(`{"Master":"`))
		for chunk := []byte(strings.Repeat("x", 1<<20)); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	data, err := json.Marshal(s.grant(kind, in))
	if err != nil {
		j.t.Error(err)
	}
	if kind == "halved" { // it is killed in the middle of its answer
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(data)
}

// grant is one as a master seals it, or not quite.
func (s *joinServer) grant(kind string, in *Request) *Grant {
	j := s.play
	j.t.Helper()
	own, err := newKeyExchange()
	if err != nil {
		j.t.Fatal(err)
	}
	files, token := []byte(`{"pki/ca.crt":"Y2E="}`), j.token
	switch kind {
	case "other-token":
		token.Secret = strings.Repeat("z", len(token.Secret))
	case "no-files":
		files = []byte(`{}`)
	case "null-files":
		files = []byte(`null`)
	case "list-files":
		files = []byte(`["pki/ca.crt"]`)
	}
	g := &Grant{Master: s.name, Member: 7, Cluster: map[string]string{"new": "https://new"}, Key: own.public()}
	if g.Sealed, err = own.seal(in.Key, token, files); err != nil {
		j.t.Fatal(err)
	}
	switch kind {
	case "unsealed":
		g.Sealed = files
	case "nothing-sealed":
		g.Sealed = nil
	case "short-key":
		g.Key = g.Key[:8]
	case "zero-key":
		g.Key = make([]byte, len(g.Key))
	}
	return g
}

// TestKeptKey: the key for which an answer is sealed outlives attempts, and a token does not end up in two keys.
func TestKeptKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), KeyName)
	first, err := keptKeyExchange(file)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := keptKeyExchange(file); err != nil || !again.private.Equal(first.private) {
		t.Errorf("another key: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := keptKeyExchange(filepath.Dir(file)); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder in its place: %v", err)
	}
}
