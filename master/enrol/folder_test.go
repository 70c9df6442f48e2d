package enrol

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder/foldertest"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

// TestScenarios: what a start makes of what lies in its folder. Commands, besides those of foldertest:
//
//	cluster id=s1 supersedes=s0 members=one authority=one
//	                 is what --join names; "silent" does not answer
//	start --flags    what this start is, or why it is refused
//	recover          goes on alone, as the last start decided, and tells whose store it is then and what it holds
func TestScenarios(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		f := &folder{Folder: foldertest.New(t), t: t, join: "https://127.0.0.1:1"}
		return f.answer
	})
}

type folder struct {
	*foldertest.Folder
	t    *testing.T
	join string
	said []string
	last *Enrolment
}

func (f *folder) answer(command string, args scenario.Args) string {
	f.t.Helper()
	switch command {
	case "cluster":
		f.cluster(args)
		return ""
	case "start":
		return f.start(args)
	case "recover":
		return f.recover()
	}
	text, ok := f.Answer(command, args)
	if !ok {
		f.t.Fatalf("no command %q", command)
	}
	return text
}

// words replaces in a text what is new in each run.
func (f *folder) words(text string) string { return f.Words(strings.ReplaceAll(text, f.join, "JOIN")) }

// cluster serves what masters say of whose cluster they are, with the certificate of an authority.
func (f *folder) cluster(args scenario.Args) {
	f.t.Helper()
	if args.Word(0) == "silent" {
		f.join = "https://127.0.0.1:1"
		return
	}
	b := membership.Belonging{Card: membership.Card{Store: membership.Store{Origin: membership.OriginNew, Incarnation: 1}}}
	b.Store.ID, _ = args.Get("id")
	if old, ok := args.Get("supersedes"); ok {
		b.Store.Supersedes, b.Store.Incarnation, b.Store.Origin = []string{old}, 2, membership.OriginRecovered
	}
	if names, ok := args.Get("members"); ok {
		for _, name := range strings.Split(names, ",") {
			b.Members = append(b.Members, membership.BelongingMember{ID: membership.FormatID(foldertest.Of(f.t, name).Self.Member), Name: name})
		}
	}
	authority := "one"
	if name, ok := args.Get("authority"); ok {
		authority = name
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b)
	}))
	a := foldertest.Of(f.t, authority).Authority
	pair := *a.Server().TLS()
	pair.Certificate = append(slices.Clone(pair.Certificate), a.CA().Certificate.Raw)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1", membership.AuthorityProtocol}}
	server.StartTLS()
	f.t.Cleanup(server.Close)
	f.join = server.URL
}

// start prepares a start, and asks others if that is open.
func (f *folder) start(args scenario.Args) string {
	f.t.Helper()
	f.said = nil
	say := func(format string, args ...any) { f.said = append(f.said, fmt.Sprintf(format, args...)) }
	hashes, err := membership.Hashes(foldertest.Of(f.t, "one").Authority.CA().CertPEM)
	f.Check(err)
	o := Options{DataDir: f.Dir, PKIDir: filepath.Join(f.Dir, "pki"), Now: time.Now, Log: say, Warn: say}
	for _, flag := range args {
		switch name, value, _ := strings.Cut(flag, "="); name {
		case "--new-cluster":
			o.NewCluster = true
		case "--join":
			o.Join, o.Token, o.AuthorityHashes = []string{f.join}, "abcdef.0123456789abcdef", hashes
		case "--replace":
			o.Replace = true
		case "--recover-quorum":
			o.RecoverQuorum = true
		case "--yes-forget-other-masters":
			o.ForgetOthers = true
		case "--yes-forget-store":
			o.ForgetStore = value
		case "--etcd-servers":
			o.External = true
		case "--pki-dir":
			o.PKIDir = value
		default:
			f.t.Fatalf("no flag %q", flag)
		}
	}
	text := f.outcome(o)
	return f.words(strings.Join(append(f.said, text), "\n"))
}

func (f *folder) outcome(o Options) string {
	f.t.Helper()
	if err := o.Check(); err != nil {
		return "refused: " + err.Error()
	}
	e, err := Prepare(o)
	if err == nil && e.asking != nil {
		err = e.askFirst(f.t.Context())
	}
	f.last = e
	switch {
	case err != nil:
		return "refused: " + err.Error()
	case e.Joining() && e.Recovering():
		return "joins and goes on alone"
	case e.Joining():
		return "joins as " + e.Name
	case e.Recovering():
		return "goes on alone as " + e.Name
	case e.Began():
		return "begins a cluster as " + e.Name
	}
	return "goes on as " + e.Name
}

func (f *folder) recover() string {
	f.t.Helper()
	f.said = nil
	before, err := datafolder.Read(f.Dir, "")
	f.Check(err)
	at := filepath.Join(f.Dir, "etcd")
	if err := f.last.Recover(f.t.Context(), etcd.Options{Dir: at, Name: f.last.Name}); err != nil {
		return f.words("refused: " + err.Error())
	}
	after, err := datafolder.Read(f.Dir, "")
	f.Check(err)
	kept := after.Kept
	if kept == nil || !kept.Pending || kept.Member != membership.FormatID(after.Self.Member) || after.Self.Member == before.Self.Member || after.Self.Cluster == before.Self.Cluster {
		f.t.Errorf("the folder remembers %+v of the member %x of %x, and before it was %x of %x", kept, after.Self.Member, after.Self.Cluster, before.Self.Member, before.Self.Cluster)
	}
	opened, err := etcd.Open(f.t.Context(), etcd.Options{Dir: at, Name: f.last.Name})
	f.Check(err)
	defer opened.Close()
	held, err := opened.List(f.t.Context(), "/", store.ListOptions{})
	f.Check(err)
	var keys []string
	for _, e := range held.Entries {
		keys = append(keys, e.Key)
	}
	return f.words(fmt.Sprintf("incarnation %d after %s, in place of %s, without %v, holds %s",
		kept.Incarnation, kept.Succeeds, strings.Join(kept.Supersedes, " "), kept.Former, strings.Join(keys, " ")))
}
