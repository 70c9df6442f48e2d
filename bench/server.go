package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	protobuf = "application/vnd.kubernetes.protobuf"
	// clockTicks a second in /proc/PID/stat, on every Linux that Go runs on.
	clockTicks = 100
	startWait  = 60 * time.Second
)

// server is a master in a process of its own, so that what it costs can be told from what its clients cost.
type server struct {
	process *exec.Cmd
	dir     string // data folder
	config  *rest.Config
	log     *bytes.Buffer
	// begun is when the process was started, ready when /readyz first said ok.
	begun, ready time.Time
}

// start runs a master on a data folder; empty makes a new one.
func (b *bench) start(ctx context.Context, dir string, flags ...string) (*server, error) {
	if dir == "" {
		temp, err := os.MkdirTemp("", "wheelhouse-bench-")
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(temp, "data")
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args := append([]string{"server", "--data-dir=" + dir, "--bind-address=127.0.0.1", "--secure-port=" + port}, flags...)
	s := &server{process: exec.Command(b.binary, args...), dir: dir, log: &bytes.Buffer{}}
	s.process.Stderr = s.log
	s.begun = time.Now()
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	if err := s.awaitReady(ctx, port); err != nil {
		s.stop()
		return nil, fmt.Errorf("%w\n%s", err, s.log)
	}
	return s, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

func (s *server) awaitReady(ctx context.Context, port string) error {
	kubeconfig := filepath.Join(s.dir, "admin.kubeconfig")
	for deadline := time.Now().Add(startWait); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err != nil {
			continue
		} else {
			c.Close()
		}
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			continue
		}
		config.QPS, config.DisableCompression = -1, true
		config.ContentType, config.AcceptContentTypes = protobuf, protobuf
		clients, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		if _, err := clients.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err == nil {
			s.config, s.ready = config, time.Now()
			return nil
		}
	}
	return fmt.Errorf("the master was not ready after %s", startWait)
}

// stop ends the process and waits for it.
func (s *server) stop() {
	s.process.Process.Signal(syscall.SIGTERM)
	s.process.Wait()
}

// remove stops the master and deletes its data.
func (s *server) remove() {
	s.stop()
	os.RemoveAll(filepath.Dir(s.dir))
}

// clients returns n clients that share no connection.
func (s *server) clients(n int) ([]*kubernetes.Clientset, error) {
	out := make([]*kubernetes.Clientset, n)
	for i := range out {
		client, err := s.httpClient()
		if err != nil {
			return nil, err
		}
		clients, err := kubernetes.NewForConfigAndClient(s.config, client)
		if err != nil {
			return nil, err
		}
		out[i] = clients
	}
	return out, nil
}

// httpClient has connections of its own.
func (s *server) httpClient() (*http.Client, error) {
	config := rest.CopyConfig(s.config)
	config.Dial = (&net.Dialer{}).DialContext // a dialer of its own keeps client-go from sharing the transport
	return rest.HTTPClientFor(config)
}

// cpu is the processor time that the master has used, in seconds.
func (s *server) cpu() float64 { return cpuOf(s.process.Process.Pid) }

func cpuOf(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / clockTicks
}

// memory is the master's resident memory in MB.
func (s *server) memory() float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	data, _ := io.ReadAll(f)
	for _, line := range strings.Split(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

// pod is a pod of an ordinary size that asks for little.
func pod(name string) *corev1.Pod {
	zero := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "bench"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &zero,
			Containers:                    []corev1.Container{{Name: "c", Image: "nginx", Resources: corev1.ResourceRequirements{Requests: small()}}},
		},
	}
}
