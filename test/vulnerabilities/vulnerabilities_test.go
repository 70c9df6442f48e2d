// Package vulnerabilities shows that classes of vulnerability that Kubernetes had over the years are not ours.
//
//	class                                                     known from                        test
//	YAML bombs, deep nesting, bodies without end              CVE-2019-11253, CVE-2019-11254    TestBombs
//	strangers reach the decoder                               CVE-2019-11253                    TestStrangers
//	JSON patches that multiply                                CVE-2019-1002100                  TestPatchBlowUp
//	cluster-scoped objects by a namespace's path              CVE-2019-11247                    TestScopes
//	profiles and metrics without rights                       CVE-2019-11248                    TestDebugPaths
//	metrics whose labels anybody can make                     CVE-2020-8551, CVE-2020-8552      TestMetricLabels
//	traffic of others by load balancer status, endpoints      CVE-2020-8554, CVE-2021-25740     TestDefaultRoles
//	secrets in logs                                           CVE-2019-11250, CVE-2020-8563     TestLogs
//	names that leave their place in the store                 CVE-2015-5305, CVE-2022-3162      TestTraversal
//	admission that some verb passes by                        CVE-2016-1905, CVE-2016-1906      TestAdmissionOfAllVerbs
//	secrets by other containers than the usual ones           CVE-2023-2728, CVE-2024-3177      TestMountableSecrets
//	streams and headers without end                           CVE-2023-44487, CVE-2023-45288    TestHTTP2
//	streams that are reset as soon as they begin              CVE-2023-44487, CVE-2023-39325    TestRapidResets
//	bodies that never end keep others from writing            CVE-2019-11254, Slowloris         TestSlowBodies
//	network policies that go before their pods                CVE-2024-7598                     TestNamespaceOrder
//	a master's keys by a Secret, a role or a used token                                         TestJoiningBySecret, TestJoiningByToken, TestKeysByRole
//	nodes that reach further than themselves                  CVE-2025-4563, CVE-2025-5187      TestNodes
package vulnerabilities

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

const (
	patience = 60 * time.Second
	// promptly bounds the answer to an attack, on a machine that is busy with other tests.
	promptly = 5 * time.Second
)

var (
	shared        *wheelhouse.Master
	administrator *kubernetes.Clientset
	client        *http.Client
	// masterLog is what the master wrote at full verbosity.
	masterLog logBuffer
)

// logBuffer keeps what all parts of a master log.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	slog.SetDefault(slog.New(slog.NewTextHandler(&masterLog, &slog.HandlerOptions{Level: slog.Level(-100)})))
	logEverything(&masterLog)
	var err error
	shared, err = wheelhouse.Start(context.Background(), wheelhouse.Options{Configure: func(c *master.Config) {
		c.Log = func(format string, args ...any) { fmt.Fprintf(&masterLog, format+"\n", args...) }
	}})
	if err == nil {
		administrator, err = kubernetes.NewForConfig(unlimited())
	}
	if err == nil {
		client, err = rest.HTTPClientFor(shared.RESTConfig())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func unlimited() *rest.Config {
	c := rest.CopyConfig(shared.RESTConfig())
	c.QPS = -1
	return c
}

// call is one request.
type call struct {
	method, path, body string
	header             map[string]string
	// as asks as another user: name, and groups after it.
	as []string
	// stranger asks without credentials.
	stranger bool
}

// do makes a call; a body makes it a POST unless it says something else.
func (c call) do(t *testing.T) (code int, body string) {
	t.Helper()
	if c.method == "" {
		c.method = http.MethodGet
		if c.body != "" {
			c.method = http.MethodPost
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, c.method, shared.URL()+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	if len(c.as) > 0 {
		r.Header.Set("Impersonate-User", c.as[0])
		for _, group := range c.as[1:] {
			r.Header.Add("Impersonate-Group", group)
		}
	}
	with := client
	if c.stranger {
		with = stranger
	}
	response, err := with.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// stranger has no certificate, and does not care for the server's.
var stranger = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}

// refused checks that a call is answered with one of the codes, soon.
func (c call) refused(t *testing.T, codes ...int) string {
	t.Helper()
	begun := time.Now()
	code, body := c.do(t)
	for _, want := range codes {
		if code == want {
			if took := time.Since(begun); took > promptly {
				t.Errorf("%s %s took %s", c.method, c.path, took)
			}
			return body
		}
	}
	t.Errorf("%s %s: %d instead of %v: %.300s", c.method, c.path, code, codes, body)
	return body
}

func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	t.Fatalf("%s did not come true: %v", what, err)
}

// namespace makes one, with a label or none.
func namespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	ns, err := administrator.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace's service account", func() error {
		_, err := administrator.CoreV1().ServiceAccounts(ns.Name).Get(context.Background(), "default", metav1.GetOptions{})
		return err
	})
	return ns.Name
}

// encode writes an object with its kind.
func encode(t *testing.T, apiVersion, kind string, o any) string {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,%s`, apiVersion, kind, data[1:])
}

func pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if change != nil {
		change(p)
	}
	return p
}

// yamlBomb is a YAML document whose references unfold to a multiple of its size.
func yamlBomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

func TestBombs(t *testing.T) {
	const megabyte = 1 << 20
	path := "/api/v1/namespaces/default/configmaps"
	yaml := map[string]string{"Content-Type": "application/yaml"}
	protobuf := map[string]string{"Content-Type": "application/vnd.kubernetes.protobuf"}
	head := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bomb"},"data":`
	tests := []struct {
		name   string
		header map[string]string
		body   string
		codes  []int
	}{
		{"references", yaml, yamlBomb(), []int{400, 413, 422}},
		{"nested YAML", yaml, "apiVersion: v1\nkind: ConfigMap\ndata: " + strings.Repeat("[", 100_000), []int{400, 413, 422}},
		{"nested YAML maps", yaml, "apiVersion: v1\nkind: ConfigMap\ndata: " + strings.Repeat("{a: ", 100_000), []int{400, 413, 422}},
		{"nested JSON", nil, head + strings.Repeat("[", megabyte), []int{400, 413, 422}},
		{"nested JSON maps", nil, head + strings.Repeat(`{"a":`, megabyte/5), []int{400, 413, 422}},
		{"nested JSON in an unknown field", nil, `{"apiVersion":"v1","kind":"ConfigMap","other":` + strings.Repeat("[", megabyte) + strings.Repeat("]", megabyte) + "}", []int{400, 413, 422}},
		{"nested protobuf", protobuf, "k8s\x00" + strings.Repeat("\x0a\xff\xff\xff\x0f", megabyte/5), []int{400, 413, 422}},
		{"number", nil, head + strings.Repeat("9", megabyte) + "}", []int{400, 422}},
		{"string without end", nil, head + `"` + strings.Repeat("\\u0000", megabyte/6), []int{400, 422}},
		{"body over the limit", nil, head + `{"a":"` + strings.Repeat("x", 4*megabyte) + `"}}`, []int{413}},
		{"object over the limit of config maps", nil, head + `{"a":"` + strings.Repeat("x", 2*megabyte) + `"}}`, []int{422}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			answer := call{method: http.MethodPost, path: path, header: test.header, body: test.body}.refused(t, test.codes...)
			if len(answer) > 16<<10 {
				t.Errorf("the answer repeats the attack: %d bytes", len(answer))
			}
		})
	}
}

// TestStrangers sends what only the decoder would refuse: who may not write is told that instead.
func TestStrangers(t *testing.T) {
	path := "/api/v1/namespaces/default/configmaps"
	yaml := map[string]string{"Content-Type": "application/yaml"}
	call{path: path, header: yaml, body: yamlBomb(), stranger: true}.refused(t, 403)
	call{path: path, header: map[string]string{"Content-Type": "application/yaml", "Authorization": "Bearer wrong"}, body: yamlBomb(), stranger: true}.refused(t, 401)
	call{path: path, header: yaml, body: yamlBomb(), as: []string{"nobody"}}.refused(t, 403)
	patch := map[string]string{"Content-Type": "application/json-patch+json"}
	call{method: http.MethodPatch, path: path + "/kube-root-ca.crt", header: patch, body: "[", stranger: true}.refused(t, 403)
	call{path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", header: yaml, body: yamlBomb(), stranger: true}.refused(t, 403)
}

func TestPatchBlowUp(t *testing.T) {
	ctx := context.Background()
	ns := namespace(t, nil)
	if _, err := administrator.CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/namespaces/" + ns + "/configmaps/m"
	send := func(contentType, body string, codes ...int) {
		t.Helper()
		call{method: http.MethodPatch, path: path, header: map[string]string{"Content-Type": contentType}, body: body}.refused(t, codes...)
	}
	many := "[" + strings.TrimSuffix(strings.Repeat(`{"op":"add","path":"/data/a","value":"1"},`, 10_001), ",") + "]"
	send("application/json-patch+json", many, 413)
	doubling := `[{"op":"add","path":"/metadata/annotations","value":{"a":"` + strings.Repeat("x", 1000) + `"}}`
	for i := range 40 {
		doubling += fmt.Sprintf(`,{"op":"copy","from":"/metadata/annotations","path":"/metadata/annotations/n%d"}`, i)
	}
	send("application/json-patch+json", doubling+"]", 400, 413, 422)
	send("application/json-patch+json", strings.Repeat("[", 1<<20), 400, 413)
	send("application/merge-patch+json", strings.Repeat(`{"data":`, 1<<17), 400, 413)
	send("application/strategic-merge-patch+json", strings.Repeat(`{"data":`, 1<<17), 400, 413)
	send("application/apply-patch+yaml", yamlBomb(), 400, 413, 415, 422)
	o, err := administrator.CoreV1().ConfigMaps(ns).Get(ctx, "m", metav1.GetOptions{})
	if err != nil || len(o.Data) != 1 || len(o.Annotations) > 0 {
		t.Errorf("a refused patch has changed the object: %v %v", o, err)
	}
}

// TestScopes asks for every cluster-scoped resource by a namespace's path, with rights in that namespace only.
func TestScopes(t *testing.T) {
	ctx := context.Background()
	ns := namespace(t, nil)
	_, err := administrator.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "owner"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "owner"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the owner's rights", func() error {
		if code, body := (call{path: "/api/v1/namespaces/" + ns + "/configmaps", as: []string{"owner"}}).do(t); code != 200 {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	_, lists, err := administrator.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, list := range lists {
		prefix := "/apis/" + list.GroupVersion
		if list.GroupVersion == "v1" {
			prefix = "/api/v1"
		}
		for _, r := range list.APIResources {
			if r.Namespaced || strings.Contains(r.Name, "/") || r.Name == "namespaces" {
				continue
			}
			tried++
			call{path: prefix + "/namespaces/" + ns + "/" + r.Name, as: []string{"owner"}}.refused(t, 404)
			call{path: prefix + "/namespaces/" + ns + "/" + r.Name + "/any", as: []string{"owner"}}.refused(t, 404)
			call{method: http.MethodDelete, path: prefix + "/namespaces/" + ns + "/" + r.Name + "/any", as: []string{"owner"}}.refused(t, 404)
			call{path: prefix + "/namespaces/" + ns + "/" + r.Name, body: "{}", as: []string{"owner"}}.refused(t, 404)
		}
	}
	if tried < 10 {
		t.Errorf("only %d cluster-scoped resources were tried", tried)
	}
}

func TestDebugPaths(t *testing.T) {
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/pprof/trace", "/debug/pprof/cmdline", "/metrics", "/metrics/slis", "/logs/", "/debug/flags/v"} {
		call{path: path, stranger: true}.refused(t, 403)
		call{path: path, as: []string{"somebody", "system:authenticated"}}.refused(t, 403)
	}
	if code, body := (call{path: "/metrics"}).do(t); code != 200 {
		t.Errorf("the metrics are refused to the administrator: %d %s", code, body)
	}
	if code, _ := (call{path: "/debug/pprof/"}).do(t); code != 404 {
		t.Errorf("profiles are served unasked: %d", code)
	}
}

// TestProfiling: who asks for profiles by flag has them, for those who may read them.
func TestProfiling(t *testing.T) {
	m, err := wheelhouse.Start(context.Background(), wheelhouse.Options{Configure: func(c *master.Config) { c.Profiling = true }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	}()
	owner, err := rest.HTTPClientFor(m.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	for code, c := range map[int]*http.Client{200: owner, 403: stranger} {
		response, err := c.Get(m.URL() + "/debug/pprof/heap")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != code {
			t.Errorf("%d instead of %d", response.StatusCode, code)
		}
	}
}

// TestCipherSuites offers, over TLS 1.2, each suite by itself: those without forward secrecy, or with CBC, are refused.
func TestCipherSuites(t *testing.T) {
	accepted := 0
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
			continue
		}
		c, err := tls.Dial("tcp", address(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
		if err != nil {
			continue
		}
		c.Close()
		accepted++
		if !strings.HasPrefix(suite.Name, "TLS_ECDHE_") || strings.Contains(suite.Name, "CBC") || strings.Contains(suite.Name, "RC4") {
			t.Errorf("%s is accepted", suite.Name)
		}
	}
	if accepted == 0 {
		t.Error("no suite is accepted")
	}
	if _, err := tls.Dial("tcp", address(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

// TestMetricLabels sends what differs in all that a client can choose. The number of series does not follow.
func TestMetricLabels(t *testing.T) {
	series := func() map[string]bool {
		code, body := call{path: "/metrics"}.do(t)
		if code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		found := map[string]bool{}
		for line := range strings.Lines(body) {
			if !strings.HasPrefix(line, "#") {
				name, _, _ := strings.Cut(line, "} ")
				found[name] = true
			}
		}
		return found
	}
	attack := func(i int) {
		for _, c := range []call{
			{path: fmt.Sprintf("/any/%d", i)},
			{path: fmt.Sprintf("/apis/group%d/v1/things", i)},
			{path: fmt.Sprintf("/apis/apps/v%d/deployments", i)},
			{path: fmt.Sprintf("/api/v1/things%d", i)},
			{path: fmt.Sprintf("/api/v1/namespaces/n%d/pods/p%d", i, i)},
			{path: fmt.Sprintf("/api/v1/namespaces/n%d/pods/p%d/part%d", i, i, i)},
			{path: fmt.Sprintf("/api/v1/namespaces/n/pods/p/log%d?dryRun=x%d", i, i)},
			{path: "/api/v1/namespaces/default", header: map[string]string{"User-Agent": fmt.Sprintf("agent-%d", i)}},
			{path: "/api/v1/namespaces/default", header: map[string]string{"Accept": fmt.Sprintf("application/x-%d", i)}},
			{path: "/api/v1/namespaces/default", as: []string{fmt.Sprintf("user-%d", i)}},
			{path: "/api/v1/namespaces/default", method: fmt.Sprintf("METHOD%d", i)},
			{path: "/api/v1/namespaces/default/configmaps", body: "x", header: map[string]string{"Content-Type": fmt.Sprintf("application/x-%d", i)}},
			{path: fmt.Sprintf("/api/v1/configmaps?limit=1&fieldSelector=metadata.name=x%d", i), stranger: true},
		} {
			c.do(t)
		}
	}
	attack(0)
	attack(1)
	before := series()
	const attacks = 100
	for i := range attacks {
		attack(i + 2)
	}
	// The master's own requests may use a resource for the first time; a label made of the attacks would come with each.
	var added []string
	for name := range series() {
		if !before[name] && strings.Contains(name, "{") && !strings.Contains(name, "_bucket{") {
			added = append(added, name)
		}
	}
	if len(added) >= attacks/2 {
		t.Errorf("%d series were added: %v", len(added), added)
	}
}
