package apiserver_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// A client that never ends its body keeps no seat among the writers: the request's time ends it.
func TestUnendingBody(t *testing.T) {
	h := newHouse(t, func(o *apiserver.Options) { o.Timeout = 100 * time.Millisecond })
	config := h.as("root")
	for _, protocol := range []string{"h2", "http/1.1"} {
		config.NextProtos = []string{protocol}
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		body, more := io.Pipe()
		go func() { _, _ = io.WriteString(more, `{"metadata":`) }() // and nothing more
		r, err := http.NewRequest(http.MethodPost, config.Host+base+"/configmaps", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("%s: %s", protocol, resp.Status)
		}
		more.Close()
		client.CloseIdleConnections()
	}
}

// A client that does not read its answer keeps no seat among the readers either.
func TestUnreadAnswer(t *testing.T) {
	h := newHouse(t, func(o *apiserver.Options) { o.Timeout = 300 * time.Millisecond })
	for n := range 16 {
		if _, err := h.server.Do(t.Context(), &apiserver.Request{User: root, Verb: "create", Kind: api.Of[*corev1.ConfigMap](), Namespace: "default",
			Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("large-", n)}, Data: map[string]string{"k": strings.Repeat("x", 1<<20)}}}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := tls.Dial("tcp", strings.TrimPrefix(h.config.Host, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer root\r\n\r\n", base)
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if reads, _ := h.server.InFlight(); reads == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the request is still at work")
		}
	}
}
