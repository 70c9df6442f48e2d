package masters

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// TestRefusals: who may not join is told why, and nothing changes on either side.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	a := start(t, filepath.Join(dir, "a"), 0)
	flags := a.joinFlags()
	url, token, hash := flags[1], flags[3], flags[5]
	node := strings.Fields(a.must("token", "create", "--role", "node"))[4]
	expired := strings.Fields(a.must("token", "create", "--ttl", "1s"))[5]
	other := start(t, filepath.Join(dir, "other"), 0)
	other.Kill()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	old := filepath.Join(dir, "old")
	copyDir(t, other.dir, old)
	wrongHash := "sha256:" + strings.Repeat("0", 64)
	eventually(t, "the token has expired", func() bool { return !strings.Contains(a.must("token", "list"), expired[:6]) })

	members := a.members()
	for _, c := range []struct {
		name, dir, want  string
		url, token, hash string
	}{
		{"wrong token", "", "the token is wrong or has expired", url, token[:7] + strings.Repeat("0", 25), hash},
		{"expired token", "", "the token is wrong or has expired", url, expired, hash},
		{"a node's token", "", "not one for masters", url, node, hash},
		{"wrong hash", "", "not the one of --discovery-token-ca-cert-hash", url, token, wrongHash},
		{"http", "", "https only", "http" + strings.TrimPrefix(url, "https"), token, hash},
		{"no TLS", "", "does not speak TLS", "https" + strings.TrimPrefix(plain.URL, "http"), token, hash},
		{"another server", "", "either this is not the cluster you mean", secure.URL, token, hash},
		{"nobody", "", "connection refused", "https://" + nobody.Addr().String(), token, hash},
		{"another cluster's data", old, "of another cluster", url, token, hash},
		{"itself", a.dir, "another process runs on the data folder", url, token, hash},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := c.dir
			if folder == "" {
				folder = filepath.Join(t.TempDir(), "data")
			}
			before := ""
			if c.dir == old {
				before = snapshot(t, folder)
			}
			code := 1
			if c.name == "http" {
				code = 2
			}
			failsWith(t, code, folder, c.want, "--join", c.url, "--token", c.token, "--discovery-token-ca-cert-hash", c.hash)
			if c.dir != a.dir {
				if after := snapshot(t, folder); after != before {
					t.Errorf("the folder changed:\n%s\nbefore:\n%s", after, before)
				}
			}
		})
	}
	requests(t, a, membership.Joiner{Servers: []string{url}, Hashes: []string{hash}, Log: t.Logf}, token)
	if after := a.members(); len(after) != len(members) {
		t.Errorf("the cluster changed: %v", after)
	}
	a.write("all-is-well")
}

// requests sends what the program would not: other versions, names, clocks and settings.
func requests(t *testing.T, a *master, joiner membership.Joiner, token string) {
	var err error
	if joiner.Token, err = membership.ParseToken(token); err != nil {
		t.Fatal(err)
	}
	good := membership.Request{
		Name: "new_1", Version: "v1.37.0", PeerURL: "https://127.0.0.1:1",
		Settings: map[string]string{"service-cluster-ip-range": "10.96.0.0/12", "service-account-issuer": "https://kubernetes.default.svc.cluster.local"},
	}
	for name, c := range map[string]struct {
		change func(*membership.Request)
		now    func() time.Time
		want   string
	}{
		"older by two":  {func(r *membership.Request) { r.Version = "v1.35.9" }, nil, "at most one minor version apart"},
		"newer by two":  {func(r *membership.Request) { r.Version = "v1.39.0+wheelhouse" }, nil, "at most one minor version apart"},
		"same name":     {func(r *membership.Request) { r.Name = a.name() }, nil, "is a master of this cluster already"},
		"plain peer":    {func(r *membership.Request) { r.PeerURL = "http://127.0.0.1:1" }, nil, "must be https://host:port"},
		"other ranges":  {func(r *membership.Request) { r.Settings = map[string]string{} }, nil, "--service-cluster-ip-range=10.96.0.0/12"},
		"external etcd": {func(r *membership.Request) { r.External = true }, nil, "without --etcd-servers"},
		"slow clock":    {func(*membership.Request) {}, func() time.Time { return time.Now().Add(-time.Hour) }, "set the clocks"},
		"fast clock":    {func(*membership.Request) {}, func() time.Time { return time.Now().Add(time.Hour) }, "set them"},
	} {
		j := joiner
		j.Request, j.Now = good, c.now
		c.change(&j.Request)
		if _, err := j.Join(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestJoinBroken: a join that is cut off leaves the cluster as it was, and can be begun anew.
func TestJoinBroken(t *testing.T) {
	dir := t.TempDir()
	a := start(t, filepath.Join(dir, "a"), 0)
	flags := a.joinFlags()
	// The address for other masters is taken: the newcomer is admitted, cannot start, and takes everything back.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "b")
	fails(t, folder, "cannot be listened on", append(flags, "--peer-port", port)...)
	if left := snapshot(t, folder); left != "" {
		t.Errorf("a join that failed left:\n%s", left)
	}
	if n := len(a.members()); n != 1 {
		t.Errorf("members: %d", n)
	}
	// What a crash in the middle leaves is swept away by the next try.
	if err := os.WriteFile(filepath.Join(folder, membership.MarkName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, folder, "whose joining was cut off")
	b := start(t, folder, 0, flags...)
	if n := len(a.members()); n != 2 {
		t.Errorf("members: %d", n)
	}
	b.write("well")
	a.read("well")
}

// TestQuorumLost: without a majority nobody joins.
func TestQuorumLost(t *testing.T) {
	a, b, c := three(t)
	flags := a.joinFlags()
	b.Kill()
	c.Kill()
	// Until a has noticed, the question may wait for a leader in vain; either way it is refused.
	fails(t, filepath.Join(t.TempDir(), "d"), "voting masters answer", flags...)
}
