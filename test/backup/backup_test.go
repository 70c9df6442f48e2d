// Package backup makes and restores backups with the real program, as operators do.
package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// patience is how long is waited for what must happen, on a machine that is busy with other tests.
const patience = 90 * time.Second

var binary string

// TestMain runs in namespaces of its own, so that file systems may be mounted.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		code, done, err := process.Isolate()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if done {
			return code
		}
		dir, err := os.MkdirTemp("", "wheelhouse-backup-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if binary, err = process.Build("../..", dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// operator is one cluster with a place for its backups and a key.
type operator struct {
	t                   *testing.T
	data, backups, keys string
	server              *process.Server
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	dir := t.TempDir()
	o := &operator{t: t, data: dir + "/data", backups: dir + "/backups", keys: dir + "/keyfile"}
	o.run("backup", "keygen", o.keys)
	return o
}

// start starts the master; a test ends it.
func (o *operator) start(args ...string) {
	o.t.Helper()
	server, err := process.Start(binary, o.data, 0, args...)
	if err != nil {
		o.t.Fatal(err)
	}
	o.server = server
	o.t.Cleanup(server.Kill)
}

func (o *operator) config() *rest.Config {
	o.t.Helper()
	config, err := o.server.Config()
	if err != nil {
		o.t.Fatal(err)
	}
	config.QPS = -1
	return config
}

func (o *operator) clients() *kubernetes.Clientset {
	o.t.Helper()
	c, err := kubernetes.NewForConfig(o.config())
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// try runs a command.
func (o *operator) try(args ...string) process.Result {
	o.t.Helper()
	r, err := process.Run(binary, patience, args...)
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

// run runs a command that must succeed, and gives what it printed.
func (o *operator) run(args ...string) string {
	o.t.Helper()
	r := o.try(args...)
	if r.Code != 0 {
		o.t.Fatalf("wheelhouse %s: exit code %d: %s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return r.Stdout
}

// refuse runs a command that must fail with words.
func (o *operator) refuse(want string, args ...string) {
	o.t.Helper()
	r := o.try(args...)
	if r.Code == 0 || !strings.Contains(r.Stderr, want) {
		o.t.Errorf("wheelhouse %s: exit code %d, expected %q: %s", strings.Join(args, " "), r.Code, want, r.Stderr)
	}
}

func (o *operator) create(more ...string) string {
	o.t.Helper()
	return o.run(append([]string{"backup", "create", "--kubeconfig", o.data + "/admin.kubeconfig", "--backup-dir", o.backups, "--backup-key-file", o.keys}, more...)...)
}

func (o *operator) restore(more ...string) string {
	o.t.Helper()
	return o.run(append([]string{"backup", "restore", "--backup-dir", o.backups, "--backup-key-file", o.keys, "--data-dir", o.data}, more...)...)
}

// listed is one line of wheelhouse backup list -o json.
type listed struct {
	Name, State, Reason string
	Manifest            *struct{ Revision, Objects int64 }
}

func (o *operator) list() []listed {
	o.t.Helper()
	if _, err := os.Stat(o.backups); os.IsNotExist(err) { // none was made yet
		return nil
	}
	var out struct{ Backups []listed }
	if err := json.Unmarshal([]byte(o.run("backup", "list", "--backup-dir", o.backups, "-o", "json")), &out); err != nil {
		o.t.Fatal(err)
	}
	return out.Backups
}

// must gives the result of a call that must not fail.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// fill makes objects of several kinds.
func fill(t *testing.T, c *kubernetes.Clientset, from, to int) {
	t.Helper()
	ctx := t.Context()
	for i := from; i < to; i++ {
		name := fmt.Sprintf("o%03d", i)
		_, err := c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": strings.Repeat(name, 50)}}, metav1.CreateOptions{})
		if err == nil {
			_, err = c.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"k": name}}, metav1.CreateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// compared are the resources that nothing changes by itself.
var compared = []schema.GroupVersionResource{
	{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "secrets"}, {Version: "v1", Resource: "namespaces"},
	{Version: "v1", Resource: "serviceaccounts"}, {Version: "v1", Resource: "services"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
}

// objects are all objects of the compared resources, in full.
func objects(t *testing.T, config *rest.Config) map[string]string {
	t.Helper()
	c := must(dynamic.NewForConfig(config))(t)
	out := map[string]string{}
	for _, r := range compared {
		all, err := c.Resource(r).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all.Items {
			if o.GetName() == "kubernetes" { // the service of the API server, whose port is another after each start
				continue
			}
			data := must(json.Marshal(o.Object))(t)
			out[r.Resource+"/"+o.GetNamespace()+"/"+o.GetName()] = string(data)
		}
	}
	return out
}

func compare(t *testing.T, before, after map[string]string) {
	t.Helper()
	for k, v := range before {
		if after[k] != v {
			t.Errorf("%s:\nbefore %s\nafter  %s", k, v, after[k])
		}
	}
	for k := range after {
		if before[k] == "" {
			t.Errorf("%s was not there", k)
		}
	}
}

// bootstrapped waits until the controllers have made what they make in a new cluster.
func bootstrapped(t *testing.T, c *kubernetes.Clientset) {
	t.Helper()
	await(t, "the root certificates and service accounts", func() bool {
		maps, err := c.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=kube-root-ca.crt"})
		accounts, err2 := c.CoreV1().ServiceAccounts("").List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=default"})
		return err == nil && err2 == nil && len(maps.Items) == 4 && len(accounts.Items) == 4
	})
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// TestRestore backs a cluster up, goes on, crashes, and restores in place: objects, revisions and tokens are as they were,
// what came later is gone, and who watches from then must list anew.
func TestRestore(t *testing.T) {
	o := newOperator(t)
	o.start()
	c := o.clients()
	bootstrapped(t, c)
	fill(t, c, 0, 10)
	seconds := int64(3600)
	token := must(c.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{}))(t)
	before := objects(t, o.config())
	said := o.create()
	if !strings.Contains(said, " objects, ") || !strings.Contains(said, o.backups) {
		t.Errorf("create said %q", said)
	}
	fill(t, c, 10, 15)
	late := must(c.CoreV1().ConfigMaps("default").Get(t.Context(), "o014", metav1.GetOptions{}))(t)
	all := o.list()
	if len(all) != 1 || all[0].State != "good" {
		t.Fatalf("listed: %+v", all)
	}
	if text := o.run("backup", "verify", "--backup-dir", o.backups, "--backup-key-file", o.keys); !strings.Contains(text, "is good") || strings.Contains(text, "not opened") {
		t.Errorf("verify said %q", text)
	}
	o.refuse("a master runs on the data folder", "backup", "restore", "--backup-dir", o.backups, "--backup-key-file", o.keys, "--data-dir", o.data, "--replace")
	o.server.Kill()
	o.refuse("is not empty", "backup", "restore", "--backup-dir", o.backups, "--backup-key-file", o.keys, "--data-dir", o.data)
	other := filepath.Join(t.TempDir(), "other")
	o.run("backup", "keygen", other)
	o.refuse("and they are sealed for age1", "backup", "restore", "--backup-dir", o.backups, "--backup-key-file", other, "--data-dir", o.data, "--replace")
	o.refuse("are sealed", "backup", "restore", "--backup-dir", o.backups, "--data-dir", o.data, "--replace")
	if left := must(filepath.Glob(o.data + ".*"))(t); len(left) != 0 {
		t.Fatalf("refusals have left %v", left)
	}
	said = o.restore("--replace")
	if moved := must(filepath.Glob(o.data + ".replaced-*/etcd/member/snap/db"))(t); len(moved) != 1 || !strings.Contains(said, "the old data is in "+o.data+".replaced-") {
		t.Fatalf("the old data is in %v; restore said %q", moved, said)
	}
	o.start()
	compare(t, before, objects(t, o.config()))
	checkRevisions(t, o.clients(), late)
	bearer := rest.AnonymousClientConfig(o.config())
	bearer.BearerToken = token.Status.Token
	who, err := must(kubernetes.NewForConfig(bearer))(t).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "system:serviceaccount:default:default" {
		t.Errorf("the token of before the restore: %v, %v", who, err)
	}
	leads(t, o.clients())
	o.create() // and the restored cluster can be backed up
	if all = o.list(); len(all) != 2 || all[1].State != "good" {
		t.Errorf("listed: %+v", all)
	}
}

// checkRevisions: nobody can mistake the past for the present. late is an object of after the backup.
func checkRevisions(t *testing.T, c *kubernetes.Clientset, late *corev1.ConfigMap) {
	t.Helper()
	made := must(c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, metav1.CreateOptions{}))(t)
	var old, now int64
	fmt.Sscan(late.ResourceVersion, &old)
	fmt.Sscan(made.ResourceVersion, &now)
	if now < old+900_000_000 {
		t.Errorf("revisions continue at %d after %d", now, old)
	}
	w, err := c.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: late.ResourceVersion})
	if err == nil {
		e := <-w.ResultChan()
		w.Stop()
		if e.Type != watch.Error {
			t.Fatalf("a watch from before the restore goes on with %+v", e)
		}
		err = apierrors.FromObject(e.Object)
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("a watch from before the restore: %v", err)
	}
}

// leads waits until the controllers act: the leases of masters that are no more must not hold them up.
func leads(t *testing.T, c *kubernetes.Clientset) {
	t.Helper()
	begun := time.Now()
	must(c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "acting"}}, metav1.CreateOptions{}))(t)
	await(t, "the controllers to act", func() bool {
		_, err := c.CoreV1().ServiceAccounts("acting").Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the controllers acted after %s", took)
	}
}

// TestElsewhere restores onto another host's empty folder, without the old one.
func TestElsewhere(t *testing.T) {
	o := newOperator(t)
	o.start()
	fill(t, o.clients(), 0, 3)
	o.create()
	before := objects(t, o.config())
	o.server.Kill()
	o.data = filepath.Join(t.TempDir(), "new", "data")
	o.restore()
	o.start("--tls-san", "elsewhere.example")
	after := objects(t, o.config())
	for k, v := range before {
		if strings.HasPrefix(k, "secrets/") && after[k] != v {
			t.Errorf("%s:\nbefore %s\nafter  %s", k, v, after[k])
		}
	}
}

// TestKilled kills commands at many moments. A creation leaves nothing that is good but not whole; a restore leaves the
// old data or the new, and either starts.
func TestKilled(t *testing.T) {
	o := newOperator(t)
	o.start()
	c := o.clients()
	fill(t, c, 0, 5)
	o.create()
	good := o.list()[0].Name
	var longest time.Duration
	begun := time.Now()
	o.create()
	longest = time.Since(begun)
	const moments = 5
	for i := range moments {
		r := killed(t, longest*time.Duration(i+1)/moments, "backup", "create", "--kubeconfig", o.data+"/admin.kubeconfig", "--backup-dir", o.backups, "--backup-key-file", o.keys)
		seen := false
		for _, b := range o.list() {
			seen = seen || b.Name == good && b.State == "good"
			if b.State == "good" {
				o.run("backup", "verify", b.Name, "--backup-dir", o.backups, "--backup-key-file", o.keys)
			} else if b.State != "unfinished" {
				t.Fatalf("killed at %d/%d (%v): %+v", i, moments, r, b)
			}
		}
		if !seen {
			t.Fatalf("killed at %d/%d: the good backup is gone", i, moments)
		}
	}
	o.run("backup", "prune", "--backup-dir", o.backups, "--unfinished-after", "0s")
	for _, b := range o.list() {
		if b.State != "good" {
			t.Errorf("pruned, and still there: %+v", b)
		}
	}
	fill(t, c, 5, 6) // tells the old data from the new
	o.server.Kill()
	for i := range moments {
		killed(t, 60*time.Millisecond*time.Duration(i+1), "backup", "restore", good, "--backup-dir", o.backups, "--backup-key-file", o.keys, "--data-dir", o.data, "--replace")
		o.start()
		_, err := o.clients().CoreV1().Secrets("default").Get(t.Context(), "o004", metav1.GetOptions{})
		if err != nil {
			t.Fatalf("after a restore that was killed: %v", err)
		}
		o.server.Kill()
	}
	o.restore("--replace")
	if left := must(filepath.Glob(o.data + ".restore-*"))(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	o.start()
	if _, err := o.clients().CoreV1().Secrets("default").Get(t.Context(), "o005", metav1.GetOptions{}); err == nil {
		t.Log("the newest backup holds it") // create ran before: it does not
		t.Fail()
	}
}

// killed runs a command and kills it after a time, unless it has ended.
func killed(t *testing.T, after time.Duration, args ...string) string {
	t.Helper()
	_, err := process.Run(binary, after, args...)
	if err == nil {
		return "it had ended"
	}
	return "killed"
}

// TestSchedule: a master makes backups by itself, keeps as many as it should, tells of them, and tells of failures too.
func TestSchedule(t *testing.T) {
	o := newOperator(t)
	o.start("--backup-schedule", "@every 1s", "--backup-retention", "2", "--backup-dir", o.backups, "--backup-key-file", o.keys)
	first := ""
	await(t, "the first backup", func() bool {
		all := o.list()
		if len(all) > 0 && all[0].State == "good" {
			first = all[0].Name
		}
		return first != ""
	})
	await(t, "old backups to go", func() bool {
		all := o.list()
		return len(all) > 0 && all[0].Name != first
	})
	good := 0
	for _, b := range o.list() {
		if b.State == "good" {
			good++
		}
	}
	if good < 2 || good > 3 {
		t.Errorf("%d good backups are kept", good)
	}
	if v := metric(t, o, "wheelhouse_backup_last_success_timestamp_seconds"); time.Since(time.Unix(int64(v), 0)) > patience {
		t.Errorf("the metric says %v", v)
	}
	if metric(t, o, "wheelhouse_backup_size_bytes") <= 0 || metric(t, o, "wheelhouse_backup_duration_seconds") <= 0 {
		t.Error("size or duration is missing")
	}
	event(t, o.clients(), "BackupSucceeded")
	aside := o.backups + ".aside"
	if err := os.Rename(o.backups, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.backups, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "a failure", func() bool { return metric(t, o, "wheelhouse_backup_failures_total") > 0 })
	event(t, o.clients(), "BackupFailed")
	if !strings.Contains(o.server.Log.String(), "the scheduled backup failed: ") {
		t.Errorf("the log does not tell of the failure:\n%s", o.server.Log)
	}
	o.server.Kill()
	o.backups = aside
	o.run("backup", "verify", "--backup-dir", o.backups, "--backup-key-file", o.keys)
}

func metric(t *testing.T, o *operator, name string) float64 {
	t.Helper()
	data, err := o.clients().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			fmt.Sscan(rest, &v)
			return v
		}
	}
	return 0
}

func event(t *testing.T, c *kubernetes.Clientset, reason string) {
	t.Helper()
	await(t, "the event "+reason, func() bool {
		all, err := c.CoreV1().Events(metav1.NamespaceSystem).List(context.Background(), metav1.ListOptions{FieldSelector: "reason=" + reason})
		return err == nil && len(all.Items) > 0
	})
}

// TestWrong is what operators get wrong.
func TestWrong(t *testing.T) {
	o := newOperator(t)
	o.refuse("must be sealed", "server", "--data-dir", o.data, "--backup-schedule", "@daily", "--backup-dir", o.backups)
	o.refuse("is no schedule", "server", "--data-dir", o.data, "--backup-schedule", "sometimes", "--backup-dir", o.backups, "--backup-key-file", o.keys)
	o.refuse("--backup-schedule says when", "server", "--data-dir", o.data, "--backup-dir", o.backups)
	o.refuse("never comes", "server", "--data-dir", o.data, "--backup-schedule", "0 3 30 2 *", "--backup-dir", o.backups, "--backup-key-file", o.keys)
	o.refuse("bucket's server is missing", "backup", "list", "--backup-s3-prefix", "clusters/one")
	o.refuse("--backup-retention", "server", "--data-dir", o.data, "--backup-retention", "none")
	o.refuse("does not exist", "backup", "verify", "--backup-dir", o.backups)
	if err := os.MkdirAll(o.backups, 0o700); err != nil {
		t.Fatal(err)
	}
	o.refuse("no good backup", "backup", "verify", "--backup-dir", o.backups)
	o.refuse("not found in the vault", "backup", "restore", "2026", "--backup-dir", o.backups, "--data-dir", o.data)
	o.refuse("no such file", "backup", "restore", "./nothing.db", "--data-dir", o.data)
	o.refuse("is missing", "backup", "list", "--backup-s3-bucket", "bucket")
	o.refuse("cannot be made", "backup", "keygen", o.keys)
	file := filepath.Join(t.TempDir(), "noise.db")
	if err := os.WriteFile(file, []byte(strings.Repeat("noise", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	o.refuse("is no snapshot of etcd", "backup", "restore", file, "--data-dir", o.data, "--new-authority", "--untrusted")
	o.refuse("--backup-dir "+filepath.Dir(filepath.Dir(file)), "backup", "restore", filepath.Dir(file), "--data-dir", o.data)
	if entries, err := os.ReadDir(o.data); err == nil {
		t.Errorf("refusals have made %v", entries)
	}
}
