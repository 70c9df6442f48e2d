package certificates_test

import (
	"cmp"
	"errors"
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

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/master/members"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/test/mastertest"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

// TestRotation: authorities and the key of tokens are replaced on several masters, some of which are away, silent, or begin anew. Commands:
//
//	masters one two      begins a cluster of these
//	stop|start two       that master is away, or comes back
//	mute|heed two        it lives, but answers nobody; it answers again
//	wait 10m             passes, on the clocks of all
//	client alice one     makes a client's certificate of that master's authority as it signs now
//	come alice one       that client comes to a master
//	rotate one prepare ca
//	                     does a step of a rotation, as its operator asks that master; "force" at the end forces it
//	token-key one drop yes
//	                     replaces the key of tokens, or drops the former
//	renew one apiserver  renews certificates of one master; "all" of it, "everywhere" of all
//	put|lose one f…      writes something else into a file of its folder, or removes it
//	fetch three one      has the first, which does not run, get authority and keys of the other, with a token; "wrong" names another authority,
//	                     "spent" comes with the token of the last
//	offline two f        renews certificates of a master that does not run
//	cut one 2            the second change that it publishes from now on comes to nobody
//	replaced one 8759h   the store says that the key of tokens was replaced that long ago
//	where                how far all are, and who of them trusts whom
func TestRotation(t *testing.T) {
	scenario.Run(t, "testdata/rotation/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		return (&rotationPlay{t: t, clients: map[string]*pki.Pair{}}).answer
	})
}

type rotationPlay struct {
	*mastertest.Cluster
	t       *testing.T
	names   []string
	clients map[string]*pki.Pair
	// invitation is the last token that was made.
	invitation members.InvitationAnswer
}

func (p *rotationPlay) answer(command string, args scenario.Args) string {
	p.t.Helper()
	if command == "masters" {
		p.names, p.Cluster = args, mastertest.New(p.t, args...)
		return ""
	}
	if command == "where" {
		return p.where()
	}
	if command == "wait" {
		by, err := time.ParseDuration(args.Word(0))
		p.check(err)
		p.Advance(by)
		return ""
	}
	if command == "client" || command == "come" {
		return p.client(command, args)
	}
	m := p.Of(args.Word(0))
	switch command {
	case "stop":
		m.Stop()
	case "mute", "heed":
		m.Mute(command == "mute")
	case "start":
		if err := m.Start(); err != nil {
			return p.words("refused: " + err.Error())
		}
	case "put":
		p.check(os.WriteFile(filepath.Join(m.Dir, args.Word(1)), []byte("torn"), 0o600))
	case "lose":
		for _, name := range args[1:] {
			p.check(os.Remove(filepath.Join(m.Dir, name)))
		}
	case "cut":
		n, err := strconv.Atoi(args.Word(1))
		p.check(err)
		m.Cut(n)
	case "fetch":
		return p.words(p.fetch(m, p.Of(args.Word(1)), args[2:]))
	case "offline":
		all, err := certificates.RenewOffline(m.Dir, "", args[1:])
		var names []string
		for _, d := range all {
			names = append(names, d.Name)
		}
		slices.Sort(names)
		return p.words(outcome(strings.Join(slices.Compact(names), " "), err))
	case "replaced":
		p.replaced(args.Word(1))
	default:
		text := p.order(m, command, args[1:])
		p.Settle(p.t.Context())
		return p.words(text)
	}
	return ""
}

func (p *rotationPlay) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// fetch gets authority and keys, as wheelhouse certs fetch does.
func (p *rotationPlay) fetch(m, from *mastertest.Master, how scenario.Args) string {
	p.t.Helper()
	if how.Word(0) != "spent" {
		in := members.InvitationRequest{Seconds: time.Hour.Seconds()}
		p.check(from.Call(p.t.Context(), http.MethodPost, "tokens", in, &p.invitation))
	}
	hashes := p.invitation.Hashes
	if how.Word(0) == "wrong" {
		hashes = []string{"sha256:" + strings.Repeat("0", 64)}
	}
	f := certificates.Fetch{DataDir: m.Dir, Servers: []string{from.URL}, Token: p.invitation.Token, Hashes: hashes, Log: func(string, ...any) {}}
	text := outcome("ok", f.Run(p.t.Context()))
	for _, hash := range p.invitation.Hashes {
		text = strings.ReplaceAll(text, hash, "HASH")
	}
	return text
}

// replaced has the store say that the key of tokens was replaced that long ago.
func (p *rotationPlay) replaced(ago string) {
	p.t.Helper()
	value := []byte("torn")
	if by, err := time.ParseDuration(ago); err == nil {
		value = fmt.Appendf(nil, "{%q:%q}", "at", p.Now().Add(-by).Format(time.RFC3339))
	}
	e, _, err := p.Store.Get(p.t.Context(), notes.TokenKey, 0)
	p.check(err)
	_, err = p.Store.Update(p.t.Context(), notes.TokenKey, e.Revision, value, 0)
	p.check(err)
}

// client makes a certificate, or comes with it: args are in the order client, master.
func (p *rotationPlay) client(command string, args scenario.Args) string {
	p.t.Helper()
	name, m := args.Word(0), p.Of(args.Word(1))
	if command == "client" {
		pair, err := m.Own.Authority.Client(name)
		p.check(err)
		p.clients[name] = pair
		return ""
	}
	client, err := admin.NewClient(m.ConfigAs(p.clients[name]))
	p.check(err)
	if err := client.Get(p.t.Context(), "status/own", nil); err != nil {
		return p.words("refused: " + err.Error())
	}
	return "ok"
}

// order gives a master a command, and tells what came of it.
func (p *rotationPlay) order(m *mastertest.Master, command string, args scenario.Args) string {
	p.t.Helper()
	ctx := p.t.Context()
	force := slices.Contains(args, "force")
	args = slices.DeleteFunc(slices.Clone(args), func(word string) bool { return word == "force" })
	switch command {
	case "rotate":
		var status certificates.RotationStatus
		err := m.Call(ctx, http.MethodPost, "certificates/rotation", certificates.Step{Step: args.Word(0), Authorities: args[1:], Force: force}, &status)
		return outcome(stages(status), err)
	case "rotation":
		var status certificates.RotationStatus
		err := m.Call(ctx, http.MethodGet, "certificates/rotation", nil, &status)
		return outcome(stages(status), err)
	case "token-key":
		var status certificates.TokenKeyStatus
		in := certificates.TokenKeyStep{DropOld: slices.Contains(args, "drop"), Confirmed: slices.Contains(args, "yes")}
		err := m.Call(ctx, http.MethodPost, "certificates/service-account-key", in, &status)
		return outcome(fmt.Sprintf("%d keys", status.Keys), err)
	case "renew":
		return p.renew(m, args)
	}
	p.t.Fatalf("no command %q", command)
	return ""
}

func outcome(text string, err error) string {
	if err != nil {
		return "refused: " + err.Error()
	}
	return text
}

// stages tells of a rotation in a line.
func stages(s certificates.RotationStatus) string {
	var parts []string
	for _, one := range s.Authorities {
		parts = append(parts, fmt.Sprintf("%s %s", one.Authority, one.Stage))
	}
	if len(s.Away) > 0 {
		parts = append(parts, "away "+strings.Join(s.Away, " "))
	}
	for _, of := range s.Uses {
		for _, use := range of.Uses {
			if text := use.Subject + " came to " + of.Master; !strings.Contains(text, "super-admin") && !slices.Contains(parts, text) {
				parts = append(parts, text)
			}
		}
		if of.Error != "" {
			parts = append(parts, of.Master+" does not answer")
		}
	}
	return strings.Join(parts, ", ")
}

// renew renews certificates, and tells which were.
func (p *rotationPlay) renew(m *mastertest.Master, args scenario.Args) string {
	p.t.Helper()
	before := map[string]bool{}
	for _, name := range p.names {
		for _, d := range p.Of(name).Own.List() {
			before[d.Serial] = true
		}
	}
	p.Advance(time.Second)
	var all []certificates.OfMaster
	var err error
	if args.Word(0) == "everywhere" {
		err = m.Call(p.t.Context(), http.MethodPost, "certificates/renew-everywhere", nil, &all)
	} else {
		in := certificates.Renewal{Names: args}
		if args.Word(0) == "all" {
			in = certificates.Renewal{All: true}
		}
		all = make([]certificates.OfMaster, 1)
		err = m.Call(p.t.Context(), http.MethodPost, "certificates/renew", in, &all[0])
	}
	var lines []string
	for _, one := range all {
		var renewed []string
		for _, d := range one.Certificates {
			if !before[d.Serial] {
				renewed = append(renewed, d.Name)
			}
		}
		slices.Sort(renewed)
		lines = append(lines, one.Master+": "+cmp.Or(strings.TrimSpace(strings.Join(renewed, " ")+" "+one.Error), "nothing"))
	}
	return outcome(strings.Join(lines, "\n"), err)
}

// where tells how far each master is, and whom it trusts and is trusted by.
func (p *rotationPlay) where() string {
	p.t.Helper()
	var lines []string
	for _, name := range p.names {
		m := p.Of(name)
		var parts []string
		for _, r := range m.Own.Authority.Rotation() {
			parts = append(parts, fmt.Sprintf("%s %s", r.Authority, r.Stage))
		}
		parts = append(parts, fmt.Sprintf("%d token keys", len(m.Own.Authority.TokenKeys())))
		// What is in the folder is what is in use.
		again, err := pki.Ensure(filepath.Join(m.Dir, "pki"), pki.Options{Hostname: "localhost", NoEtcd: true, Now: p.Now})
		if err != nil || !slices.Equal(again.CA().CertPEM, m.Own.Authority.CA().CertPEM) {
			parts = append(parts, fmt.Sprintf("and its folder differs (%v)", err))
		}
		for _, other := range p.names {
			err := m.Trusts(p.t.Context(), p.Of(other))
			var refused interface{ Timeout() bool }
			switch {
			case err == nil:
				parts = append(parts, "trusts "+other)
			case errors.As(err, &refused) && strings.Contains(err.Error(), "connection refused"):
			default:
				parts = append(parts, "NOT "+other+" ("+err.Error()[max(0, strings.LastIndex(err.Error(), "x509:")):]+")")
			}
		}
		lines = append(lines, name+": "+strings.Join(parts, ", "))
	}
	return p.words(strings.Join(lines, "\n"))
}

var (
	seconds = regexp.MustCompile(`\d+s\b`)
	serial  = regexp.MustCompile(`serial [0-9a-f]+`)
	number  = regexp.MustCompile(`SN=\d+, SKID=[0-9A-F:]*, AKID=[0-9A-F:]+`)
	day     = regexp.MustCompile(`\d{4}-\d\d-\d\d(T[0-9:]+Z)?`)
	asked   = regexp.MustCompile(`\(Get "https:[^)]*\)`)
	ownUse  = regexp.MustCompile(`(CN=kubernetes-super-admin[^;]*? ago(; |\. ))+`)
	address = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// words replaces in a text what is new in each run.
func (p *rotationPlay) words(text string) string {
	for _, name := range p.names {
		text = strings.ReplaceAll(text, p.Of(name).URL, "https://"+name)
		text = strings.ReplaceAll(text, p.Of(name).Dir, "DIR")
	}
	text = ownUse.ReplaceAllString(asked.ReplaceAllString(text, "(URL)"), "a master came; ")
	text = number.ReplaceAllString(text, "SN")
	text = address.ReplaceAllString(serial.ReplaceAllString(text, "serial N"), "ADDRESS")
	return day.ReplaceAllString(seconds.ReplaceAllString(text, "Ns"), "DAY")
}
