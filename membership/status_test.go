package membership

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

// TestStatus: what wheelhouse status finds wrong. Commands build the status up; judge gives the problems, and begins anew.
//
//	store embedded                     embedded, external or memory
//	master one role=leader days=90     with live=no, generation=, alarm=
//	quorum voters=3 answering=1        with lost=yes
//	server URL                         of an external etcd, with live=no, alarm=
//	met two superseded=yes             a master of another store
//	lease name holder
//	backup                             the last, with problem=
//	unreadable 3 key…                  how many stored values, and those that are named
func TestStatus(t *testing.T) {
	scenario.Run(t, "testdata/status/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		s := &Status{Leaders: map[string]string{}}
		return func(command string, args scenario.Args) string {
			text := func(key string) string { v, _ := args.Get(key); return v }
			number := func(key string) int { n, _ := strconv.Atoi(text(key)); return n }
			switch command {
			case "store":
				s.Store = args[0]
			case "master":
				m := MasterStatus{Name: args[0], ID: "7", Live: text("live") != "no", Role: text("role"), Generation: int64(number("generation"))}
				if !m.Live {
					m.Problem = "it is gone"
				}
				if days, ok := args.Get("days"); ok {
					n, _ := strconv.Atoi(days)
					m.Certificates = []Certificate{{Name: "apiserver", Expires: noon.AddDate(0, 0, n), Days: n}}
				}
				if alarm, ok := args.Get("alarm"); ok {
					m.Alarms = []string{alarm}
				}
				s.Masters = append(s.Masters, m)
			case "quorum":
				voters := number("voters")
				s.Quorum = &Quorum{Voters: voters, Answering: number("answering"), Needed: quorum(voters), Lost: text("lost") == "yes"}
			case "server":
				one := ServerStatus{URL: args[0], Live: text("live") != "no", Problem: "it is gone"}
				if alarm, ok := args.Get("alarm"); ok {
					one.Alarms = []string{alarm}
				}
				s.Servers = append(s.Servers, one)
			case "met":
				card := Card{Store: Store{ID: "s9", Origin: OriginRestored, Incarnation: 2, Succeeds: "s1"}, Master: args.Word(0), URL: text("url"), Member: "a", System: "u"}
				s.Foreign = append(s.Foreign, Met{Card: card, Superseded: text("superseded") == "yes"})
			case "lease":
				s.Leaders[args[0]] = args.Word(1)
			case "backup":
				s.LastBackup = &Backup{Problem: strings.Join(args, " "), At: noon}
			case "unreadable":
				s.Unreadable.Count, _ = strconv.Atoi(args[0])
				for _, key := range args[1:] {
					s.Unreadable.Values = append(s.Unreadable.Values, UnreadableValue{Key: key, Reason: "no key"})
				}
			case "judge":
				s.Judge()
				answer := strings.Join(s.Problems, "\n")
				if s.Healthy {
					answer += "well"
				}
				s = &Status{Leaders: map[string]string{}}
				return answer
			default:
				t.Fatalf("no command %q", command)
			}
			return ""
		}
	})
}

// TestDescriptions: what operators read of stores tells one from another.
func TestDescriptions(t *testing.T) {
	own := NewStore(OriginNew, noon)
	own.ID = "s1"
	next := own.Next(OriginRecovered, "abc", []Former{{Name: "two", PeerURL: "https://two"}}, noon)
	next.ID = "s2"
	over := next.Over(&Successor{ID: "s3", Incarnation: 7})
	if got := strings.Join(over.Supersedes, " "); got != "s1 etcd:abc s3" || over.Incarnation <= 7 {
		t.Errorf("supersedes %q in incarnation %d", got, over.Incarnation)
	}
	for want, card := range map[string]Card{
		"a store without an identity":                                   {},
		"a store without an identity (cluster abc)":                     {Cluster: "abc"},
		"store s1 (new, incarnation 1), member 5":                       {Store: own, Cluster: "abc", Member: "5"},
		"store s2 (recovered, incarnation 2, made from s1), member 5":   {Store: next, Member: "5"},
		"store s1 (new, incarnation 1), kube-system 00000000-something": {Store: own, System: "00000000-something"},
	} {
		if got := card.Describe(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if size := (&MasterStatus{Size: 400, InUse: 100}).Fragmented(); size != 0.75 {
		t.Errorf("fragmented by %v", size)
	}
	if size := (&MasterStatus{}).Fragmented(); size != 0 {
		t.Errorf("nothing is fragmented by %v", size)
	}
}

// TestTokenForms: a token's ID is taken alone, and nothing else for it; what the authenticator would not understand is refused.
func TestTokenForms(t *testing.T) {
	for text, want := range map[string]string{
		"abcdef": "abcdef", "abcdef.0123456789abcdef": "abcdef", "abcdef.0123456789abcdef012345678": "abcdef",
		"": "", "abcde": "", "ABCDEF": "", "abcdef.": "", "abcdef.0123": "", "abcdef.0123456789abcdef0": "", " abcdef": "", "abcdef\n": "",
	} {
		if got, err := ParseTokenID(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	good := Token{ID: "abcdef", Secret: "0123456789abcdef"}
	for want, s := range map[string]TokenSpec{
		"":                                 {Token: good, Usages: []string{"signing", "authentication"}, Groups: []string{"system:bootstrappers:kubeadm:default-node-token"}},
		"a token for nodes must look like": {Token: Token{ID: "abcdef", Secret: "0123456789abcdef012345678"}},
		"--usages \"all\"":                 {Token: good, Usages: []string{"all"}},
		"--groups \"system:masters\"":      {Token: good, Groups: []string{"system:masters"}},
		"--groups \"system:bootstrappers:a,system:masters\"":   {Token: good, Groups: []string{"system:bootstrappers:a,system:masters"}},
		"--groups \"system:bootstrappers:\"":                   {Token: good, Groups: []string{"system:bootstrappers:"}},
		"--groups \"system:bootstrappers:a\\nsystem:masters\"": {Token: good, Groups: []string{"system:bootstrappers:a\nsystem:masters"}},
	} {
		if err := s.Check(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
	spec := TokenSpec{Token: good, Description: "d", Expires: noon, Usages: []string{"authentication"}, Groups: []string{"system:bootstrappers:a", "system:bootstrappers:b"}}
	secret := spec.Secret()
	if got, ok := TokenOf(secret); !ok || got.Token != spec.Token || !got.Expires.Equal(spec.Expires) || len(got.Groups) != 2 || len(got.Usages) != 1 {
		t.Errorf("%+v, %v", got, ok)
	}
	secret.Data["expiration"] = []byte("soon")
	if got, ok := TokenOf(secret); ok {
		t.Errorf("a token that ends at no time is one: %+v", got)
	}
	secret.Data["expiration"] = []byte(noon.Format(time.RFC3339))
	secret.Name = "bootstrap-token-aaaaaa"
	if got, ok := TokenOf(secret); ok {
		t.Errorf("a Secret of another name holds the token: %+v", got)
	}
}
