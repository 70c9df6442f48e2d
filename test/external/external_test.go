// Package external runs masters on a real etcd cluster that runs by itself.
package external

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// patience is how long a condition may take to come true.
const patience = 60 * time.Second

var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "external")
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
}

// eventually waits until a condition has no error any more.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// one is a running master with a client.
type one struct {
	*process.Server
	*kubernetes.Clientset
	dir string
}

func start(t *testing.T, dir string, args ...string) *one {
	t.Helper()
	s, err := process.Start(binary, dir, 0, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	config, err := s.Config()
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &one{Server: s, Clientset: clients, dir: dir}
}

// copyShared gives another master the files that masters of one cluster have alike.
func copyShared(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(to, "pki"), os.DirFS(filepath.Join(from, "pki"))); err != nil {
		t.Fatal(err)
	}
	keys, err := os.ReadFile(filepath.Join(from, "encryption.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "encryption.yaml"), keys, 0o600); err != nil {
		t.Fatal(err)
	}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web"}}},
		}},
	}
}

// placed waits until a Deployment has all its pods on nodes, as a master sees it.
func placed(t *testing.T, m *one, name string, replicas int, running bool) {
	t.Helper()
	eventually(t, "the pods of "+name, func() error {
		pods, err := m.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
		if err != nil {
			return err
		}
		n := 0
		for _, p := range pods.Items {
			if p.Spec.NodeName != "" && (!running || p.Status.Phase == corev1.PodRunning) {
				n++
			}
		}
		if n != replicas {
			return fmt.Errorf("%d of %d", n, replicas)
		}
		return nil
	})
}

// load creates config maps through a number of masters until stopped, and remembers those that were acknowledged.
type load struct {
	mu           sync.Mutex
	acknowledged map[string]string // UIDs by name; guarded by mu
	stop         context.CancelFunc
	writers      sync.WaitGroup
}

func startLoad(t *testing.T, masters ...*one) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{acknowledged: map[string]string{}, stop: cancel}
	for n, m := range masters {
		for writer := range 2 {
			l.writers.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					name := fmt.Sprintf("load-%d-%d-%d", n, writer, i)
					made, err := m.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
					if err != nil {
						continue
					}
					l.mu.Lock()
					l.acknowledged[name] = string(made.UID)
					l.mu.Unlock()
				}
			})
		}
	}
	return l
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acknowledged)
}

// more waits until further writes have been acknowledged.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	until := l.count() + n
	eventually(t, "further writes", func() error {
		if now := l.count(); now < until {
			return fmt.Errorf("%d of %d", now, until)
		}
		return nil
	})
}

// end stops the load and looks for what was acknowledged, at each of the masters.
func (l *load) end(t *testing.T, masters ...*one) {
	t.Helper()
	l.stop()
	l.writers.Wait()
	for _, m := range masters {
		list, err := m.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, c := range list.Items {
			found[c.Name] = string(c.UID)
		}
		for name, uid := range l.acknowledged {
			if found[name] != uid {
				t.Fatalf("%s was acknowledged with UID %s, and %q is there", name, uid, found[name])
			}
		}
	}
	t.Logf("%d writes were acknowledged", len(l.acknowledged))
}

// holder is the master that runs the controllers.
func holder(t *testing.T, through *one, masters ...*one) *one {
	t.Helper()
	lease, err := through.CoordinationV1().Leases("kube-system").Get(t.Context(), "kube-controller-manager", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range masters {
		name, err := os.ReadFile(filepath.Join(m.dir, "identity"))
		if err != nil {
			t.Fatal(err)
		}
		if lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == strings.TrimSpace(string(name)) {
			return m
		}
	}
	t.Fatalf("nobody of ours holds the lease: %+v", lease.Spec)
	return nil
}

// TestExternal runs two masters on an etcd cluster of three servers with mutual TLS, which others use as well.
func TestExternal(t *testing.T) {
	etcd, err := process.StartEtcd(t.TempDir(), 3, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	foreign := []string{"/calico/v1/config", "/registry", "/registry.old/pods/x", "zoo"}
	for _, key := range foreign {
		if _, err := etcd.Ctl("put", key, "of others"); err != nil {
			t.Fatal(err)
		}
	}
	a := start(t, filepath.Join(t.TempDir(), "a"), append(etcd.Flags(), "--simulate-nodes=2")...)
	dirB := filepath.Join(t.TempDir(), "b")
	copyShared(t, a.dir, dirB)
	b := start(t, dirB, etcd.Flags()...)

	t.Run("a Deployment runs", func(t *testing.T) {
		if _, err := b.AppsV1().Deployments("default").Create(t.Context(), deployment("web", 4), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		placed(t, b, "web", 4, true)
		placed(t, a, "web", 4, true)
		if out, err := etcd.Ctl("get", "/registry/pods/default/", "--prefix", "--keys-only"); err != nil || strings.Count(out, "web-") != 4 {
			t.Errorf("in etcd: %q, %v", out, err)
		}
	})
	t.Run("one etcd server is killed under load", func(t *testing.T) {
		l := startLoad(t, a, b)
		for i := range 2 {
			l.more(t, 100)
			etcd.Kill(i)
			l.more(t, 100)
			if err := etcd.Restart(i); err != nil {
				t.Fatal(err)
			}
		}
		l.more(t, 100)
		l.end(t, a, b)
	})
	t.Run("a second cluster under another prefix", func(t *testing.T) {
		c := start(t, filepath.Join(t.TempDir(), "c"), append(etcd.Flags(), "--etcd-prefix=/second")...)
		if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "only-here"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.CoreV1().Namespaces().Get(t.Context(), "only-here", metav1.GetOptions{}); err == nil {
			t.Error("the first cluster has the namespace of the second")
		}
		if pods, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{}); err != nil || len(pods.Items) != 0 {
			t.Errorf("pods of the second cluster: %d, %v", len(pods.Items), err)
		}
		if out, err := etcd.Ctl("get", "/second/namespaces/only-here", "--keys-only"); err != nil || !strings.Contains(out, "only-here") {
			t.Errorf("in etcd: %q, %v", out, err)
		}
		if _, err := c.Stop(patience); err != nil {
			t.Error(err)
		}
	})
	t.Run("mistakes are refused", func(t *testing.T) { refused(t, etcd, a) })
	t.Run("status tells of the servers", func(t *testing.T) { status(t, etcd, a) })
	t.Run("the leading master is killed", func(t *testing.T) {
		leading, other := holder(t, b, a, b), b
		if leading == b {
			other = a
		}
		leading.Kill()
		if _, err := other.AppsV1().Deployments("default").Create(t.Context(), deployment("late", 3), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		placed(t, other, "late", 3, false)
		if now := holder(t, other, a, b); now != other {
			t.Error("the killed master still holds the lease")
		}
	})
	for _, key := range foreign {
		if out, err := etcd.Ctl("get", key, "--print-value-only"); err != nil || strings.TrimSpace(out) != "of others" {
			t.Errorf("the key %s of others: %q, %v", key, out, err)
		}
	}
}

// status shows the servers, and one that is gone as a problem.
func status(t *testing.T, etcd *process.Etcd, m *one) {
	told := func() process.Result {
		t.Helper()
		result, err := process.Run(binary, patience, "status", "--kubeconfig", filepath.Join(m.dir, "admin.kubeconfig"))
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	eventually(t, "all is well", func() error {
		if r := told(); r.Code != 0 || strings.Count(r.Stdout, "3.7.3") != 3 || strings.Count(r.Stdout, "leader   3.7.3") != 1 {
			return fmt.Errorf("code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	etcd.Kill(2)
	if r := told(); r.Code != 1 || !strings.Contains(r.Stdout, "problem: the etcd server "+etcd.Servers[2]+" does not answer") {
		t.Errorf("code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if err := etcd.Restart(2); err != nil {
		t.Fatal(err)
	}
}

// refused starts masters whose flags or folders do not fit; each says why, and changes nothing.
func refused(t *testing.T, etcd *process.Etcd, a *one) {
	fresh, own, half := t.TempDir(), filepath.Join(t.TempDir(), "own"), filepath.Join(t.TempDir(), "half")
	copyShared(t, a.dir, half)
	if err := os.RemoveAll(filepath.Join(half, "pki")); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copied")
	copyShared(t, a.dir, copied)
	embedded, err := process.Start(binary, own, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Stop(patience); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	copyShared(t, a.dir, moved)
	told, err := os.ReadFile(filepath.Join(a.dir, "external-etcd"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(moved, "external-etcd"), told, 0o600); err != nil {
		t.Fatal(err)
	}
	before := keys(t, etcd)
	for name, test := range map[string]struct {
		dir  string
		args []string
		want string
	}{
		"another authority":              {half, etcd.Flags(), "a cluster of another authority"},
		"neither authority nor keys":     {fresh, etcd.Flags(), "this master has not got the keys"},
		"a folder with a store":          {own, etcd.Flags(), "holds a store of its own"},
		"without the servers":            {moved, nil, "start it with --etcd-servers as before"},
		"another prefix than before":     {moved, append(etcd.Flags(), "--etcd-prefix=/third"), "under the prefix /registry"},
		"a prefix without servers":       {copied, []string{"--etcd-prefix=/third"}, "needs --etcd-servers"},
		"a certificate without servers":  {copied, []string{"--etcd-cafile=x"}, "needs --etcd-servers"},
		"a certificate without its key":  {copied, []string{"--etcd-servers=" + etcd.Servers[0], "--etcd-certfile=x"}, "must be given together"},
		"servers that are not encrypted": {copied, append(etcd.Flags(), "--etcd-servers=http://127.0.0.1:1"), "all be https or all http"},
		"no client certificate":          {copied, []string{"--etcd-servers=" + etcd.Servers[0], "--etcd-cafile=" + etcd.Certificates.CAFile}, "asks for a client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"server", "--data-dir", test.dir, "--bind-address=127.0.0.1", "--secure-port=0"}, test.args...)
			result, err := process.Run(binary, patience, args...)
			if err != nil {
				t.Fatal(err)
			}
			if result.Code == 0 || !strings.Contains(result.Stderr, test.want) {
				t.Errorf("code %d, want %q:\n%s", result.Code, test.want, result.Stderr)
			}
		})
	}
	if after := keys(t, etcd); after != before {
		t.Errorf("keys before:\n%s\nafter:\n%s", before, after)
	}
}

// keys lists what masters that run do not change by themselves.
func keys(t *testing.T, etcd *process.Etcd) string {
	t.Helper()
	out, err := etcd.Ctl("get", "", "--prefix", "--keys-only")
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "/events/") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
