// Package clients runs programs as users write them, with client-go, against a master.
package clients

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// shared is the master of all tests; each works in a namespace of its own.
var shared *wheelhouse.Master

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if shared, err = wheelhouse.Start(context.Background(), wheelhouse.Options{SimulateNodes: 2}); err != nil {
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

// counter counts requests by what they ask for.
type counter struct {
	mu    sync.Mutex // guards counts
	count map[string]int
}

func (c *counter) add(r *http.Request) {
	q := r.URL.Query()
	what := strings.ToLower(r.Method)
	switch {
	case q.Get("sendInitialEvents") == "true":
		what = "watch-list"
	case q.Get("watch") == "true" || q.Get("watch") == "1":
		what = "watch"
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[what+" "+parts[len(parts)-1]]++
}

func (c *counter) of(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[what]
}

func (c *counter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.count)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// encodings are what clients speak.
var encodings = []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf}

// config is a configuration for one test: without a rate limit of the client, with its requests counted.
func config(encoding string) (*rest.Config, *counter) {
	c := rest.CopyConfig(shared.RESTConfig())
	c.QPS = -1
	c.ContentType = encoding
	count := &counter{count: map[string]int{}}
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			count.add(r)
			return next.RoundTrip(r)
		})
	})
	return c, count
}

// connect makes typed clients and a namespace.
func connect(t *testing.T, encoding string) (clients *kubernetes.Clientset, namespace string, count *counter) {
	t.Helper()
	c, count := config(encoding)
	clients, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := clients.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return clients, ns.Name, count
}

// eventually waits until a condition holds; the condition says what is missing.
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

// within bounds a test's requests.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}
