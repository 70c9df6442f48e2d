package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// groupSize is how many masters, and how many bare etcd members, the scenario runs.
const groupSize = 3

// group creates pods at three masters, each a process on a host of its own, beside the same writes to three bare etcd
// members.
func group(ctx context.Context, b *bench) error {
	count := b.n(10_000)
	limit, err := bareMembers(ctx, callers, count, podBytes)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wheelhouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m, err := process.StartMasters(b.binary, dir, groupSize, alone)
	if err != nil {
		return err
	}
	defer m.Close()
	clients, err := groupClients(ctx, m)
	if err != nil {
		return err
	}
	if _, err := createPods(ctx, clients, callers, count/10, "warm"); err != nil {
		return err
	}
	before, begun := groupCPU(m), time.Now()
	if _, err := createPods(ctx, clients, callers, count, "many"); err != nil {
		return err
	}
	b.ratio("create pods at any of three masters, 64 callers (limit: three bare etcd members)", float64(count)/time.Since(begun).Seconds(), limit, "/s")
	b.add("… CPU of the three masters for each", fmt.Sprintf("%.3f ms", (groupCPU(m)-before)/float64(count)*1000))
	took, err := createPods(ctx, clients, 1, max(100, count/20), "one")
	if err != nil {
		return err
	}
	b.add("create pods at three masters in turn, one caller, p50 / p99", fmt.Sprintf("%.2f / %.2f ms", ms(took[len(took)/2]), ms(took[len(took)*99/100])))
	return nil
}

// groupClients returns clients of all masters in turn that share no connection, and makes the namespace that they use.
func groupClients(ctx context.Context, m *process.Masters) ([]*kubernetes.Clientset, error) {
	out := make([]*kubernetes.Clientset, 3*groupSize)
	for i := range out {
		config, err := m.All[i%groupSize].Config()
		if err != nil {
			return nil, err
		}
		config.DisableCompression = true
		config.ContentType, config.AcceptContentTypes = protobuf, protobuf
		client, err := (&server{config: config}).httpClient()
		if err != nil {
			return nil, err
		}
		if out[i], err = kubernetes.NewForConfigAndClient(config, client); err != nil {
			return nil, err
		}
	}
	return out, benchNamespace(ctx, out[0])
}

// benchNamespace makes the namespace and the service account that its pods need, without controllers.
func benchNamespace(ctx context.Context, c *kubernetes.Clientset) error {
	_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err = c.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func groupCPU(m *process.Masters) float64 {
	sum := 0.0
	for _, one := range m.All {
		sum += cpuOf(one.PID())
	}
	return sum
}

// bareMembers is how many creations a second three members of etcd take from as many callers over gRPC, each caller at
// one of the members.
func bareMembers(ctx context.Context, callers, count, size int) (float64, error) {
	binary, err := process.Tool("etcd")
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "wheelhouse-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	network, err := process.NewNetwork(groupSize)
	if err != nil {
		return 0, err
	}
	defer network.Close()
	stop, err := startMembers(binary, dir, network)
	defer stop()
	if err != nil {
		return 0, err
	}
	clients := make([]*clientv3.Client, 3*groupSize)
	for i := range clients {
		endpoint := "http://" + network.Hosts[i%groupSize].Address + ":2379"
		if clients[i], err = clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: startWait, Logger: zap.NewNop()}); err != nil {
			return 0, err
		}
		defer clients[i].Close()
	}
	create := func(prefix string) func(ctx context.Context, caller, i int) error {
		value := strings.Repeat("x", size)
		return func(ctx context.Context, caller, i int) error {
			key := fmt.Sprintf("/registry/pods/bench/%s-%d", prefix, i)
			answer, err := clients[caller%len(clients)].Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, value)).Commit()
			if err == nil && !answer.Succeeded {
				err = errors.New("the key existed")
			}
			return err
		}
	}
	if err := until(ctx, startWait, func() (bool, error) {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := clients[0].Put(short, "ready", "")
		return err == nil, nil
	}); err != nil {
		return 0, err
	}
	if _, err := work(ctx, callers, count/10, create("warm")); err != nil {
		return 0, err
	}
	begun := time.Now()
	_, err = work(ctx, callers, count, create("many"))
	return float64(count) / time.Since(begun).Seconds(), err
}

// startMembers starts one etcd a host. The function that it returns ends them.
func startMembers(binary, dir string, network *process.Network) (func(), error) {
	var running []*exec.Cmd
	stop := func() {
		for _, c := range running {
			c.Process.Kill()
			c.Wait()
		}
	}
	var cluster []string
	for _, h := range network.Hosts {
		cluster = append(cluster, h.Name+"=http://"+h.Address+":2380")
	}
	for _, h := range network.Hosts {
		peer, client := "http://"+h.Address+":2380", "http://"+h.Address+":2379"
		c := exec.Command(binary, "--name", h.Name, "--data-dir", filepath.Join(dir, h.Name), "--log-level", "error",
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--listen-client-urls", client, "--advertise-client-urls", client,
			"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := h.Start(c); err != nil {
			return stop, err
		}
		running = append(running, c)
	}
	return stop, nil
}

// gigabyte fills a group of masters with a gigabyte, backs it up under requests, and restores it.
func gigabyte(ctx context.Context, b *bench) error {
	dir, err := os.MkdirTemp("", "wheelhouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	passphrase := filepath.Join(dir, "passphrase")
	if err := os.WriteFile(passphrase, []byte("correct horse battery staple\n"), 0o600); err != nil {
		return err
	}
	vault := filepath.Join(dir, "vault")
	m, err := process.StartMasters(b.binary, dir, 1, alone)
	if err != nil {
		return err
	}
	defer m.Close()
	config, err := m.All[0].Config()
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := benchNamespace(ctx, clients); err != nil {
		return err
	}
	if err := fillStore(ctx, clients, b.n(1000)); err != nil {
		return err
	}
	slowest, err := slowestDuring(ctx, config, func() error {
		begun := time.Now()
		r, err := process.Run(b.binary, scenarioWait, "backup", "create", "--backup-dir", vault, "--backup-passphrase-file", passphrase,
			"--kubeconfig", filepath.Join(m.All[0].Dir, "admin.kubeconfig"))
		if err != nil {
			return err
		}
		if r.Code != 0 {
			return fmt.Errorf("backup create: %s", r.Stderr)
		}
		b.add(fmt.Sprintf("backup of %d MB, verified", b.n(1000)), fmt.Sprintf("%.1f s", time.Since(begun).Seconds()))
		return nil
	})
	if err != nil {
		return err
	}
	b.add("… slowest create or get meanwhile", fmt.Sprintf("%.0f ms", ms(slowest)))
	return restoring(b, m, vault, passphrase)
}

// restoring restores the newest backup onto an empty folder and waits until a master is ready on it.
func restoring(b *bench, m *process.Masters, vault, passphrase string) error {
	old := m.All[0]
	old.Kill()
	begun := time.Now()
	fresh := old.Dir + "-restored"
	r, err := process.Run(b.binary, scenarioWait, "backup", "restore", "latest", "--data-dir", fresh, "--backup-dir", vault, "--backup-passphrase-file", passphrase)
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("backup restore: %s", r.Stderr)
	}
	old.Dir = fresh
	if err := old.Restart(); err != nil {
		return err
	}
	b.add("restore of it until a master is ready", fmt.Sprintf("%.1f s", time.Since(begun).Seconds()))
	return nil
}

// fillStore writes as many objects of a megabyte.
func fillStore(ctx context.Context, clients *kubernetes.Clientset, megabytes int) error {
	_, err := work(ctx, 4, megabytes, func(ctx context.Context, _, i int) error {
		text := strings.Repeat(fmt.Sprintf("%09d ", i), 100_000)
		_, err := clients.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%d", i)}, Data: map[string]string{"text": text}}, metav1.CreateOptions{})
		return err
	})
	return err
}

// slowestDuring sends small requests, one after the other, while something is done, and tells how long the slowest took.
func slowestDuring(ctx context.Context, config *rest.Config, do func() error) (time.Duration, error) {
	client, err := (&server{config: config}).httpClient()
	if err != nil {
		return 0, err
	}
	clients, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	slowest := time.Duration(0)
	for i := 0; ; i++ {
		select {
		case err := <-done:
			return slowest, err
		default:
		}
		begun := time.Now()
		_, err := clients.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("small-%d", i)}}, metav1.CreateOptions{})
		slowest = max(slowest, time.Since(begun))
		if err == nil {
			begun = time.Now()
			_, err = clients.CoreV1().ConfigMaps(namespace).Get(ctx, fmt.Sprintf("small-%d", i), metav1.GetOptions{})
			slowest = max(slowest, time.Since(begun))
		}
		if err != nil {
			return 0, err
		}
	}
}
