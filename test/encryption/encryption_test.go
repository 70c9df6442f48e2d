// Package encryption holds the promises of encryption at rest against the command as users run it.
package encryption

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/encryption/plugintest"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// words are what nobody may find in the database.
const words = "correct-horse-battery-staple"

// binary is the command under test.
var binary string

func TestMain(m *testing.M) {
	os.Exit(process.Main("../..", func(built string) int {
		binary = built
		return m.Run()
	}))
}

// cluster is a master in a process.
type cluster struct {
	*testing.T
	dir    string
	args   []string
	server *process.Server
	client kubernetes.Interface
}

func newCluster(t *testing.T, args ...string) *cluster {
	c := &cluster{T: t, dir: t.TempDir(), args: args}
	c.start()
	return c
}

func (c *cluster) start() {
	c.Helper()
	server, err := process.Start(binary, c.dir, 0, c.args...)
	if err != nil {
		c.Fatal(err)
	}
	c.server = server
	c.Cleanup(server.Kill)
	config, err := server.Config()
	if err != nil {
		c.Fatal(err)
	}
	config.QPS = -1
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) restart() {
	c.Helper()
	c.server.Kill()
	c.start()
}

func (c *cluster) create(name string) {
	c.Helper()
	_, err := c.client.CoreV1().Secrets("default").Create(c.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"password": words + name},
	}, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
}

// readAll expects that the secrets are there, and can be read.
func (c *cluster) readAll(count int) {
	c.Helper()
	list, err := c.client.CoreV1().Secrets("default").List(c.Context(), metav1.ListOptions{})
	if err != nil {
		c.Fatal(err)
	}
	for _, s := range list.Items {
		if string(s.Data["password"]) != words+s.Name {
			c.Errorf("%s holds %q", s.Name, s.Data["password"])
		}
	}
	if len(list.Items) != count {
		c.Errorf("%d secrets, want %d", len(list.Items), count)
	}
}

// run runs "wheelhouse encryption".
func (c *cluster) run(args ...string) process.Result {
	c.Helper()
	args = append([]string{"encryption"}, args...)
	r, err := process.Run(binary, patience, append(args, "--kubeconfig", filepath.Join(c.dir, "admin.kubeconfig"))...)
	if err != nil {
		c.Fatal(err)
	}
	return r
}

func (c *cluster) mustRun(args ...string) string {
	c.Helper()
	r := c.run(args...)
	if r.Code != 0 {
		c.Fatalf("%v: %s", args, r.Stderr)
	}
	return r.Stdout
}

// refused expects that a command fails with words.
func (c *cluster) refused(want string, args ...string) {
	c.Helper()
	if r := c.run(args...); r.Code == 0 || !strings.Contains(r.Stderr, want) {
		c.Errorf("%v: exit code %d: %s", args, r.Code, r.Stderr)
	}
}

func (c *cluster) status() *keys.Status {
	c.Helper()
	var s keys.Status
	if err := json.Unmarshal([]byte(c.mustRun("status", "-o", "json")), &s); err != nil {
		c.Fatal(err)
	}
	return &s
}

func (c *cluster) eventually(what string, holds func() bool) {
	c.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("%s: not within %s\n%s", what, patience, c.server.Log)
		}
	}
}

// stored tells whether the words are in any file of the store.
func (c *cluster) stored() bool {
	c.Helper()
	found := false
	err := filepath.WalkDir(filepath.Join(c.dir, "etcd"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || bytes.Contains(data, []byte(words))
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	return found
}

func key(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

// configuration writes a file for secrets and configmaps; providers are YAML.
func configuration(t *testing.T, file, providers string) {
	t.Helper()
	text := "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets, configmaps]\n  providers:\n" + providers
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func keyed(provider string, names ...string) string {
	text := "  - " + provider + ":\n      keys:\n"
	for _, name := range names {
		text += "      - name: " + name + "\n        secret: " + key(name[len(name)-1]) + "\n"
	}
	return text
}

const identity = "  - identity: {}\n"

// TestSecretsAreEncrypted: a master whose operator did nothing has no secret's words in its database or log, and reads them
// after a restart. Its key is in a file of its own. Without that it does not start, and does not make another.
func TestSecretsAreEncrypted(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.create("one")
	s := c.status()
	if len(s.Resources) != 1 || s.Resources[0].Stored["secretbox:key1"] != 1 || !s.Managed || s.RewriteNeeded || len(s.Masters) != 1 || !s.Masters[0].Same {
		t.Errorf("status: %+v", s)
	}
	c.restart()
	c.readAll(1)
	c.server.Kill()
	if c.stored() {
		t.Error("the database holds a secret in plain")
	}
	file := filepath.Join(c.dir, "encryption.yaml")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	away := t.TempDir() + "/encryption.yaml"
	if err := os.Rename(file+".away", away); err != nil {
		t.Fatal(err)
	}
	r, err := process.Run(binary, patience, "server", "--data-dir", c.dir, "--bind-address", "127.0.0.1", "--secure-port", "0")
	if err != nil || r.Code != 1 || !strings.Contains(r.Stderr, file) {
		t.Errorf("without its key: %v, %d: %s", err, r.Code, r.Stderr)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it made another key")
	}
	if err := os.Rename(away, file); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.readAll(1)
}

// TestPlainDataIsEncrypted: secrets that were stored before there was a key are rewritten in the background.
func TestPlainDataIsEncrypted(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "plain.yaml")
	configuration(t, file, identity)
	c := newCluster(t, "--encryption-provider-config", file)
	for n := range 50 {
		c.create(fmt.Sprintf("s%d", n))
	}
	if !c.stored() {
		t.Fatal("the test cannot see what is stored in plain")
	}
	c.args = nil
	c.restart()
	c.eventually("all are encrypted", func() bool { return c.status().Resources[0].Stored["secretbox:key1"] == 50 })
	c.readAll(50)
}

// TestRotateKey: rotations that are broken off by kill -9 at any moment are gone on with, and lose nothing.
func TestRotateKey(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	const count = 300
	for n := range count {
		c.create(fmt.Sprintf("s%d", n))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		ended := make(chan process.Result)
		go func() { ended <- c.run("rotate-key") }()
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		c.restart()
		<-ended
		c.readAll(count)
	}
	if out := c.mustRun("rotate-key"); !strings.Contains(out, "rotate-key: done") {
		t.Errorf("it says %q", out)
	}
	s := c.status()
	if r := s.Resources[0]; r.Stored[r.Writes.String()] != count || len(s.Sections[0].Forms) != 2 || s.Unfinished != "" {
		t.Errorf("status: %+v", s)
	}
	c.readAll(count)
	c.restart()
	c.readAll(count)
}

// TestDecrypt: secrets go back to plain only for who says that they mean it, and are encrypted again by a rotation.
func TestDecrypt(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.create("one")
	c.refused("--yes-store-secrets-in-plain", "decrypt")
	if c.status().Resources[0].Stored["identity"] != 0 {
		t.Error("it was done all the same")
	}
	c.mustRun("decrypt", "--yes-store-secrets-in-plain")
	if s := c.status(); s.Resources[0].Stored["identity"] != 1 || len(s.Sections[0].Forms) != 1 {
		t.Errorf("status: %+v", s)
	}
	c.restart()
	c.readAll(1)
	c.mustRun("rotate-key")
	if s := c.status(); s.Resources[0].Stored["secretbox:key2"] != 1 {
		t.Errorf("status: %+v", s)
	}
	c.restart()
	c.readAll(1)
}

// TestOwnConfiguration: an operator's file is taken as upstream takes it, and its changes without a restart; keys in it are
// the operator's to change.
func TestOwnConfiguration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "own.yaml")
	configuration(t, file, keyed("aescbc", "k1")+identity)
	c := newCluster(t, "--encryption-provider-config", file, "--encryption-provider-config-automatic-reload")
	c.create("one")
	if _, err := os.Stat(filepath.Join(c.dir, "encryption.yaml")); err == nil {
		t.Error("a key was made though there is a configuration")
	}
	c.refused("by hand", "rotate-key")
	c.refused("by hand", "decrypt", "--yes-store-secrets-in-plain")
	if s := c.status(); s.Managed || s.Resources[1].Stored["aescbc:k1"] != 1 || s.Resources[0].Resource != "configmaps" {
		t.Errorf("status: %+v", s)
	}
	configuration(t, file, keyed("secretbox", "k2")+keyed("aescbc", "k1")+identity)
	c.eventually("the change", func() bool {
		return c.status().Resources[1].Writes.String() == "secretbox:k2" && c.status().RewriteNeeded
	})
	if out := c.mustRun("status"); !strings.Contains(out, "wheelhouse encryption rewrite") {
		t.Errorf("status does not say what to do:\n%s", out)
	}
	c.mustRun("rewrite")
	if s := c.status(); s.RewriteNeeded || s.Resources[1].Stored["secretbox:k2"] != 1 || s.Resources[0].Stale != 0 {
		t.Errorf("status: %+v", s)
	}
	c.readAll(1)
	configuration(t, file, "  - nonsense: {}\n")
	c.eventually("the complaint", func() bool { return strings.Contains(c.server.Log.String(), "stays in force") })
	c.create("two")
	c.readAll(2)
	c.server.Kill()
	r, err := process.Run(binary, patience, append([]string{"server", "--data-dir", c.dir, "--secure-port", "0"}, c.args...)...)
	if err != nil || r.Code != 1 || !strings.Contains(r.Stderr, file) {
		t.Errorf("a start with it: %v, %d: %s", err, r.Code, r.Stderr)
	}
	r, err = process.Run(binary, patience, "server", "--encryption-provider-config-automatic-reload")
	if err != nil || r.Code != 2 {
		t.Errorf("reload of nothing: %v, %d: %s", err, r.Code, r.Stderr)
	}
}

// TestWrongKey: secrets that cannot be decrypted fail as with upstream, everything else works, and they can be deleted.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "own.yaml")
	configuration(t, file, keyed("secretbox", "k1"))
	c := newCluster(t, "--encryption-provider-config", file, "--encryption-provider-config-automatic-reload")
	c.create("one")
	c.create("two")
	configuration(t, file, strings.Replace(keyed("secretbox", "k1"), key('1'), key('9'), 1))
	c.restart()
	secrets := c.client.CoreV1().Secrets("default")
	ctx := t.Context()
	_, err := secrets.List(ctx, metav1.ListOptions{})
	if !apierrors.IsStoreReadError(err) || !strings.Contains(err.Error(), `unable to transform key "/registry/secrets/default/one"`) {
		t.Errorf("list: %v", err)
	}
	if _, err := secrets.Get(ctx, "two", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "unable to transform key") {
		t.Errorf("get: %v", err)
	}
	if _, err := c.client.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("another namespace: %v", err)
	}
	if _, err := c.client.CoreV1().ServiceAccounts("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("another resource: %v", err)
	}
	for _, r := range c.status().Resources {
		if r.Resource == "secrets" && (r.Unreadable != 2 || r.Error == "") {
			t.Errorf("status: %+v", r)
		}
	}
	if err := secrets.Delete(ctx, "one", metav1.DeleteOptions{}); err == nil {
		t.Error("what cannot be read was deleted as if it could")
	}
	yes := true
	unsafe := metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}
	if err := secrets.Delete(ctx, "one", unsafe); err != nil {
		t.Errorf("unsafe deletion: %v", err)
	}
	configuration(t, file, keyed("secretbox", "k1"))
	c.eventually("the right key", func() bool { _, err := secrets.Get(ctx, "two", metav1.GetOptions{}); return err == nil })
	c.readAll(1)
	if err := secrets.Delete(ctx, "two", unsafe); !apierrors.IsInvalid(err) {
		t.Errorf("unsafe deletion of what can be read: %v", err)
	}
}

// TestUnsafeDeletionNeedsItsVerb: who may delete secrets may not for that delete them unread.
func TestUnsafeDeletionNeedsItsVerb(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	config, err := c.server.Config()
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.client.RbacV1().ClusterRoleBindings().Create(t.Context(), binding("admin", "anna"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate.UserName = "anna"
	anna, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	c.eventually("anna may delete", func() bool {
		return apierrors.IsNotFound(anna.CoreV1().Secrets("default").Delete(t.Context(), "x", metav1.DeleteOptions{}))
	})
	err = anna.CoreV1().Secrets("default").Delete(t.Context(), "x", metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "unsafe-delete-ignore-read-errors") {
		t.Errorf("unsafe deletion: %v", err)
	}
}

// TestPlugin: a plugin that holds the keys, with upstream's health check; when it is away secrets cannot be written, and all
// the rest works.
func TestPlugin(t *testing.T) {
	t.Parallel()
	plugin := plugintest.Start(t, "one")
	file := filepath.Join(t.TempDir(), "own.yaml")
	configuration(t, file, plugin.Provider("vault", 2, 300*time.Millisecond)+identity)
	c := newCluster(t, "--encryption-provider-config", file)
	c.create("one")
	if s := c.status(); s.Resources[1].Stored["kms:vault"] != 1 {
		t.Errorf("status: %+v", s)
	}
	if answer, err := c.ask("/healthz/kms-providers"); err != nil || answer != "ok" {
		t.Errorf("healthy: %q, %v", answer, err)
	}
	plugin.Leave()
	c.restart() // it cannot know the key of what is stored
	if answer, _ := c.ask("/readyz?verbose"); !strings.Contains(answer, "[-]kms-providers failed") {
		t.Errorf("unhealthy: %q", answer)
	}
	if _, err := c.client.CoreV1().Secrets("default").Get(t.Context(), "one", metav1.GetOptions{}); err == nil {
		t.Error("a secret was read without the plugin")
	}
	_, err := c.client.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	if err != nil {
		t.Errorf("something else: %v", err)
	}
	plugin.Return()
	c.eventually("the plugin is back", func() bool {
		c.ask("/healthz/kms-providers") // each question lets the plugin be tried again
		_, err := c.client.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	c.create("two")
	c.readAll(2)
}

func (c *cluster) ask(path string) (string, error) {
	answer, err := c.client.Discovery().RESTClient().Get().RequestURI(path).DoRaw(context.Background())
	return string(answer), err
}
