// Package command judges the command line: what each mistake is answered with, and what is accepted.
package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// patience is how long a command may take to end, on a machine that is busy with other tests.
const patience = 60 * time.Second

// binary is the command under test, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "command")
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

// The exit codes: usage is for what cannot be meant, failed for what does not work here and now.
const (
	failed = 1
	usage  = 2
)

// TestRefusals gives wrong command lines. Each is answered with one line on stderr that names what is wrong, and nothing
// on stdout. DIR, FILE, FOREIGN and PORT stand for a new folder, a file, a folder of somebody else, and a port that is taken.
func TestRefusals(t *testing.T) {
	tests := []struct {
		args string
		code int
		want string
	}{
		{"nonsense", usage, `unknown command "nonsense"`},
		{"--nonsense", usage, `--nonsense`},
		{"version --nonsense", usage, `--nonsense`},
		{"version -o yaml", usage, `--output "yaml": only json is known`},
		{"version extra", usage, `version takes no arguments, only flags: "extra"`},
		{"simulate --nodes 0", usage, `--nodes 0: at least one node`},
		{"simulate --cpu many", usage, `--cpu "many" is not a quantity`},
		{"simulate --nodes x", usage, `--nodes`},
		{"simulate --kubeconfig FILE", failed, `FILE`},
		{"member nonsense", usage, `unknown command "nonsense": see wheelhouse member --help`},
		{"member remove", usage, `accepts 1 arg\(s\), received 0: see wheelhouse member remove --help`},
		{"token nonsense", usage, `unknown command "nonsense": see wheelhouse token --help`},
		{"token create --ttl soon", usage, `--ttl`},
		{"token create --role king", usage, `--role "king"`},
		{"status --kubeconfig FILE", failed, `FILE`},
		{"certs nonsense", usage, `unknown command "nonsense": see wheelhouse certs --help`},
		{"encryption nonsense", usage, `unknown command "nonsense": see wheelhouse encryption --help`},
		{"backup nonsense", usage, `unknown command "nonsense": see wheelhouse backup --help`},
		{"backup create --backup-dir DIR --kubeconfig FILE", failed, `FILE`},
		{"backup verify latest --backup-dir DIR/none", failed, `DIR/none`},
		{"backup prune --backup-dir DIR --backup-retention -1", usage, `--backup-retention`},
		{"server --backup-schedule sometimes --backup-dir DIR --backup-without-keys", usage, `--backup-schedule`},
		{"server --backup-schedule @daily", usage, `--backup-schedule.*--backup-passphrase-file`},
		{"server --join http://127.0.0.1:6443 --token abcdef.0123456789abcdef", usage, `--join`},
		{"server --join https://127.0.0.1:6443", usage, `--token`},
		{"server --etcd-servers ftp://127.0.0.1", usage, `--etcd-servers`},
		{"server --etcd-servers https://127.0.0.1:2379 --etcd-certfile FILE", usage, `--etcd-keyfile`},
		{"server --recover-quorum", failed, `.`},
		{"server now", usage, `server takes no arguments, only flags: "now"`},
		{"server --nonsense", usage, `unknown flag: --nonsense: see wheelhouse server --help`},
		{"server --secure-port x", usage, `--secure-port`},
		{"server --secure-port -1", usage, `--secure-port -1 is not a port`},
		{"server --secure-port 70000", usage, `--secure-port 70000 is not a port`},
		{"server --bind-address here", usage, `--bind-address "here" is not an IP address`},
		{"server --advertise-address here", usage, `--advertise-address "here" is not an IP address`},
		{"server --advertise-address 169.254.0.1", usage, `--advertise-address 169.254.0.1: the cluster cannot reach`},
		{"server --components apiserver,dashboard", usage, `--components: "dashboard" is not one of apiserver, controllers, scheduler`},
		{"server --components scheduler", usage, `--components must include apiserver`},
		{"server --service-cluster-ip-range 10.0.0.1", usage, `--service-cluster-ip-range: "10.0.0.1" is not an IP range such as 10.96.0.0/12`},
		{"server --service-cluster-ip-range 10.0.0.0/31", usage, `--service-cluster-ip-range 10.0.0.0/31 is too small`},
		{"server --service-cluster-ip-range 10.0.0.0/16,10.1.0.0/16", usage, `different IP families`},
		{"server --service-node-port-range 9-5", usage, `--service-node-port-range`},
		{"server --controllers nonsense", usage, `--controllers.*nonsense`},
		{"server --authorization-mode AlwaysAllow", usage, `--authorization-mode.*always runs with Node,RBAC`},
		{"server --allow-privileged=false", usage, `--allow-privileged.*always runs with true`},
		{"server --allow-privileged=maybe", usage, `--allow-privileged.*neither true nor false`},
		{"server --storage-backend etcd2", usage, `--storage-backend.*etcd3`},
		{"server --enable-admission-plugins Nonsense", usage, `--enable-admission-plugins: unknown plugin "Nonsense"`},
		{"server --disable-admission-plugins Nonsense", usage, `--disable-admission-plugins: unknown plugin "Nonsense"`},
		{"server --tls-min-version VersionTLS10", usage, `--tls-min-version.*VersionTLS12`},
		{"server --tls-cert-file FILE", usage, `--tls-cert-file and --tls-private-key-file must be given together`},
		{"server --tls-cert-file FILE --tls-private-key-file FILE", failed, `--tls-cert-file`},
		{"server --tls-cert-file DIR/none --tls-private-key-file DIR/none", failed, `--tls-cert-file.*DIR/none`},
		{"server --simulate-nodes -1", usage, `--simulate-nodes -1: the number of nodes cannot be negative`},
		{"server --min-request-timeout soon", usage, `--min-request-timeout.*"soon" is not a number of seconds`},
		{"server --request-timeout 5", usage, `--request-timeout`},
		{"server --node-monitor-grace-period 1s", usage, `--node-monitor-grace-period must not be shorter than --node-monitor-period`},
		{"server --leader-elect-lease-duration 1s", usage, `--leader-elect-lease-duration must be longer`},
		{"server --secure-port PORT", failed, `cannot serve on 127.0.0.1:PORT.*address already in use.*--secure-port`},
		{"server --data-dir FILE", failed, `the data folder FILE.*not a directory`},
		{"server --data-dir FILE/below", failed, `the data folder FILE/below`},
		{"server --data-dir /proc/wheelhouse", failed, `the data folder /proc/wheelhouse cannot be made`},
		{"server --data-dir FOREIGN", failed, `the folder FOREIGN is no master.s, and holds thesis.txt.*--data-dir`},
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // after the parallel tests
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, foreign := filepath.Join(dir, "file"), filepath.Join(dir, "foreign")
			write(t, file, "text")
			write(t, filepath.Join(foreign, "thesis.txt"), "text")
			places := strings.NewReplacer("DIR", dir, "FILE", file, "FOREIGN", foreign, "PORT", port)
			args := strings.Fields(places.Replace(test.args))
			if args[0] == "server" {
				for _, other := range [][2]string{{"--data-dir", filepath.Join(dir, "data")}, {"--bind-address", "127.0.0.1"}, {"--secure-port", "0"}} {
					if !strings.Contains(test.args, other[0]) {
						args = append(args, other[0], other[1])
					}
				}
			}
			r, err := process.Run(binary, patience, args...)
			if err != nil {
				t.Fatal(err)
			}
			if r.Code != test.code {
				t.Errorf("exit code %d, want %d", r.Code, test.code)
			}
			if r.Stdout != "" {
				t.Errorf("stdout: %s", r.Stdout)
			}
			checkLine(t, r.Stderr, places.Replace(test.want))
		})
	}
}

// checkLine wants one line that matches.
func checkLine(t *testing.T, stderr, want string) {
	t.Helper()
	if !strings.HasPrefix(stderr, "wheelhouse: ") || strings.Count(stderr, "\n") != 1 || !regexp.MustCompile(want).MatchString(stderr) {
		t.Errorf("stderr, want one line with %s:\n%s", want, stderr)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAccepted starts masters as others start upstream's API server.
func TestAccepted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	// What kubeadm's manifest holds, as far as it asks for what a master always does.
	kubeadm := []string{
		"--advertise-address=192.0.2.10", "--allow-privileged=true", "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", "--enable-bootstrap-token-auth=true",
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--service-cluster-ip-range=10.96.0.0/12",
		"--leader-elect=true", "--use-service-account-credentials=true", "--controllers=*,bootstrapsigner,tokencleaner",
		"--v=2",
	}
	server, err := process.Start(binary, dir, 0, kubeadm...)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	kubeconfig := filepath.Join(dir, "admin.kubeconfig")
	r, err := process.Run(binary, patience, "kubectl", "--kubeconfig", kubeconfig, "get", "namespace", "default", "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 || r.Stdout != "namespace/default\n" {
		t.Errorf("kubectl: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	r, err = process.Run(binary, patience, "kubectl", "--kubeconfig", kubeconfig, "get", "pod", "none")
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 1 || r.Stderr != "Error from server (NotFound): pods \"none\" not found\n" {
		t.Errorf("kubectl: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	info, err := os.Stat(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the kubeconfig has mode %o: others can read the administrator's key", mode)
	}
	if code, err := server.Stop(patience); err != nil || code != 0 {
		t.Errorf("SIGTERM: code %d, %v", code, err)
	}

	// The same folder again, with the serving certificate and the kubeconfig in places of the operator's choice.
	elsewhere := filepath.Join(t.TempDir(), "kubeconfig")
	server, err = process.Start(binary, dir, 0, "--components=apiserver", "--advertise-address=127.0.0.9", "--write-kubeconfig="+elsewhere, "--tls-min-version=VersionTLS13",
		"--tls-cert-file="+filepath.Join(dir, "pki", "apiserver.crt"), "--tls-private-key-file="+filepath.Join(dir, "pki", "apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	if r, err = process.Run(binary, patience, "kubectl", "--kubeconfig", elsewhere, "get", "namespace", "default", "-o", "name"); err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 || r.Stdout != "namespace/default\n" {
		t.Errorf("kubectl with certificates of the operator: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestCorrupt damages what a master kept; the next start must say so instead of serving half of it.
func TestCorrupt(t *testing.T) {
	original := filepath.Join(t.TempDir(), "data")
	server, err := process.Start(binary, original, 0, "--components", "apiserver")
	if err != nil {
		t.Fatal(err)
	}
	if code, err := server.Stop(patience); err != nil || code != 0 {
		t.Fatalf("code %d, %v", code, err)
	}
	garbage := strings.Repeat("garbage!", 1<<16)
	tests := []struct {
		name, file, text, want string
	}{
		{"database", "etcd/member/snap/db", garbage, `snap/db is damaged`},
		{"database that is cut off", "etcd/member/snap/db", "CUT", `snap/db is damaged .*restore a backup`},
		{"value in the database", "etcd/member/snap/db", "FLIPPED", `snap/db is damaged .*restore a backup`},
		{"log", "etcd/member/wal/*.wal", garbage, `wal is damaged`},
		{"authority", "pki/ca.crt", "garbage", `ca.crt`},
		{"key of the authority", "pki/ca.key", "garbage", `ca.key`},
		{"key of tokens", "pki/sa.key", "garbage", `sa.key`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, test.file))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s: no such file (%v)", test.file, err)
			}
			for _, file := range files {
				text := test.text
				if text == "CUT" || text == "FLIPPED" {
					text = change(t, file, text)
				}
				write(t, file, text)
			}
			r, err := process.Run(binary, patience, "server", "--data-dir", dir, "--bind-address", "127.0.0.1", "--secure-port", "0")
			if err != nil {
				t.Fatal(err)
			}
			if r.Code != failed {
				t.Errorf("exit code %d, want %d", r.Code, failed)
			}
			checkLine(t, r.Stderr, test.want)
		})
	}
}

// change gives the text of a database with its end missing, or with a bit of a stored value flipped.
func change(t *testing.T, file, how string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if how == "CUT" {
		return string(data[:16<<10])
	}
	at := bytes.Index(data, []byte("kube-node-lease\x12\x00"))
	if at < 0 {
		t.Fatal("the namespace is not in the database")
	}
	data[at] ^= 2
	return string(data)
}

// TestHelp holds the help to what a reader at a terminal needs.
func TestHelp(t *testing.T) {
	for _, args := range []string{"--help", "help", "", "server --help", "simulate --help", "version --help", "help server"} {
		t.Run(args, func(t *testing.T) {
			r, err := process.Run(binary, patience, strings.Fields(args)...)
			if err != nil {
				t.Fatal(err)
			}
			if r.Code != 0 || r.Stderr != "" {
				t.Errorf("code %d, stderr: %s", r.Code, r.Stderr)
			}
			if !strings.Contains(r.Stdout, "Usage:\n  wheelhouse") {
				t.Errorf("no usage:\n%s", r.Stdout)
			}
			if strings.Contains(args, "server") {
				for _, want := range []string{"Master flags:", "Serving flags:", "Accepted for compatibility flags:", "--data-dir string", "--secure-port int"} {
					if !strings.Contains(r.Stdout, want) {
						t.Errorf("no %q:\n%s", want, r.Stdout)
					}
				}
			} else if args != "simulate --help" && args != "version --help" {
				for _, want := range []string{"wheelhouse server --simulate-nodes 3", "server ", "simulate ", "kubectl ", "version "} {
					if !strings.Contains(r.Stdout, want) {
						t.Errorf("no %q:\n%s", want, r.Stdout)
					}
				}
			}
		})
	}
}

func TestVersion(t *testing.T) {
	r, err := process.Run(binary, patience, "version")
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 || !regexp.MustCompile(`^wheelhouse v\S+ \(Kubernetes v1\.37, go1\.\S+, \w+/\w+\)\n$`).MatchString(r.Stdout) {
		t.Errorf("code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r, err = process.Run(binary, patience, "version", "-o", "json"); err != nil {
		t.Fatal(err)
	}
	var info struct{ Major, Minor, GitVersion string }
	if err := json.Unmarshal([]byte(r.Stdout), &info); err != nil || info.Major != "1" || info.Minor != "37" || !strings.HasPrefix(info.GitVersion, "v1.37.") {
		t.Errorf("%+v, %v: %s", info, err, r.Stdout)
	}
}
