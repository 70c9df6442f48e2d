// Package bombs measures what requests cost that were made to be dear.
//
// A master in a process of its own gets them from an ordinary user, who may create and change objects of every kind, one
// at a time, and says how much CPU time and memory it used for each.
package bombs

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// most CPU time and memory that a request may cost, on a machine on which a unit of work takes usualUnit.
	mostCPU    = 500 * time.Millisecond
	mostMemory = 100 << 20
	bodySize   = 2900 << 10
)

var (
	all   = flag.Bool("all", false, "send the whole corpus instead of a sample")
	only  = flag.String("only", "", "send only the bombs whose name contains this")
	above = flag.Duration("above", 100*time.Millisecond, "show the bombs that cost at least this")
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// bomb is one request.
type bomb struct {
	name, method, path, contentType, body string
	// before are requests that make what the bomb changes; they are not measured.
	before []bomb
	// often: of bombs that are many of a kind, one in so many is sent; 0 is always.
	often uint32
}

// user sends requests as an ordinary user does.
type user struct {
	client *http.Client
	url    string
	token  string
}

func (u *user) send(b bomb) (int, string, error) {
	r, err := http.NewRequest(b.method, u.url+b.path, strings.NewReader(b.body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", b.contentType)
	r.Header.Set("Authorization", "Bearer "+u.token)
	response, err := u.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// makeUser makes an account that may do everything with every resource, and nothing else.
func makeUser(c *child) (*user, error) {
	ctx := context.Background()
	admin, err := kubernetes.NewForConfig(&rest.Config{Host: c.URL, TLSClientConfig: rest.TLSClientConfig{CAData: c.CA, CertData: c.Cert, KeyData: c.Key}})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"default", "user"} {
		if _, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "user"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"},
		Verbs: []string{"get", "list", "create", "update", "patch", "delete", "deletecollection"}}}}
	if _, err := admin.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "user"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "user"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "user", Namespace: "default"}}}
	if _, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	token, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "user", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return &user{url: c.URL, token: token.Status.Token,
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: time.Minute}}, nil
}

// result is what a bomb has cost.
type result struct {
	bomb
	cost
	code   int
	answer string
}

// unit is the CPU time that this process needs now for a fixed piece of work like the server's: it shows how much a busy
// machine slows everything down.
func unit() time.Duration {
	var doc bytes.Buffer
	doc.WriteString("[")
	for i := range 20_000 {
		fmt.Fprintf(&doc, `{"name":"n%d","value":[%d,null]},`, i, i)
	}
	doc.WriteString("{}]")
	least := time.Hour
	for range 3 {
		begun := used()
		var v any
		if json.Unmarshal(doc.Bytes(), &v) != nil {
			return 0
		}
		least = min(least, used()-begun)
	}
	return least
}

// usualUnit is what unit takes on a machine for which the limits are meant.
const usualUnit = 11 * time.Millisecond

func TestBombs(t *testing.T) {
	c, err := start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	}()
	u, err := makeUser(c)
	if err != nil {
		t.Fatal(err)
	}
	var results []result
	for _, b := range corpus() {
		if !strings.Contains(b.name, *only) || !*all && *only == "" && !sampled(b) {
			continue
		}
		r := measure(t, c, u, b)
		for range 2 { // a busy machine makes what is below the limits look dear, never the reverse
			if r.CPU < mostCPU/2 && r.Peak < mostMemory/2 {
				break
			}
			again := measure(t, c, u, b)
			if again.code != r.code {
				t.Errorf("%s: answered with %d, and when repeated with %d %.300s", b.name, r.code, again.code, again.answer)
			}
			r.CPU, r.Peak = min(r.CPU, again.CPU), min(r.Peak, again.Peak)
		}
		results = append(results, r)
	}
	slow := float64(unit()) / float64(usualUnit)
	t.Logf("a unit of work takes %.2f of what is usual", slow)
	report(t, results, max(1, slow))
}

// sampled chooses one in b.often.
func sampled(b bomb) bool {
	h := fnv.New32()
	_, _ = h.Write([]byte(b.name))
	return h.Sum32()%max(1, b.often) == 0
}

func measure(t *testing.T, c *child, u *user, b bomb) result {
	t.Helper()
	for _, first := range b.before {
		if code, answer, err := u.send(first); err != nil || code >= 300 && code != http.StatusNotFound {
			t.Errorf("%s: before it: %d %.300s %v", b.name, code, answer, err)
		}
	}
	if _, err := c.say("begin"); err != nil {
		t.Fatal(err)
	}
	code, answer, err := u.send(b)
	if err != nil {
		t.Errorf("%s: %v", b.name, err)
	}
	spent, err := c.say("end")
	if err != nil {
		t.Fatal(err)
	}
	if code > http.StatusInternalServerError || strings.Contains(answer, "error of its own") { // 500 is upstream's word for some mistakes
		t.Errorf("%s: %d %.300s", b.name, code, answer)
	}
	if code < 300 && b.method == http.MethodPost {
		at, _, _ := strings.Cut(b.path, "?")
		for _, last := range removal(at + "/bomb") {
			_, _, _ = u.send(last) // reviews leave nothing
		}
	}
	return result{b, spent, code, answer}
}

func report(t *testing.T, results []result, slow float64) {
	t.Helper()
	sort.Slice(results, func(i, j int) bool { return results[i].CPU > results[j].CPU })
	var table strings.Builder
	for _, r := range results {
		over := float64(r.CPU) > float64(mostCPU)*slow || r.Peak > mostMemory
		if r.CPU >= *above || r.Peak >= mostMemory/2 || over {
			fmt.Fprintf(&table, "%8s %5d MB  %d  %9d bytes  answer %7d  %s\n", r.CPU.Round(time.Millisecond), r.Peak>>20, r.code, len(r.body), len(r.answer), r.name)
		}
		if over {
			t.Errorf("%s costs %s of CPU time and %d MB; it was answered with %d %.200s", r.name, r.CPU.Round(time.Millisecond), r.Peak>>20, r.code, r.answer)
		}
	}
	t.Logf("%d bombs; those that cost most:\n%s", len(results), table.String())
}
