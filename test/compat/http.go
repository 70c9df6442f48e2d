package compat

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// Client talks to the server under test as an administrator, without credentials, or with a token.
type Client struct {
	server       *url.URL
	admin, plain *http.Client
	me           string
}

// NewClient makes a client; config must carry an administrator's credentials.
func NewClient(ctx context.Context, config *rest.Config) (*Client, error) {
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	c := &Client{server: server}
	config = rest.CopyConfig(config)
	config.QPS, config.DisableCompression = -1, true
	if c.admin, err = rest.HTTPClientFor(config); err != nil {
		return nil, err
	}
	anonymous := rest.AnonymousClientConfig(config)
	anonymous.DisableCompression = true
	if c.plain, err = rest.HTTPClientFor(anonymous); err != nil {
		return nil, err
	}
	a, err := c.send(ctx, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)
	if err != nil {
		return nil, err
	}
	v, _ := parse(string(a.data))
	c.me = text(walk(v, path("status", "userInfo", "username")))
	return c, nil
}

// call is one HTTP request.
type call struct {
	method, path string
	header       http.Header
	body         []byte
	hasBody      bool
	auth         string // cert, none, or bearer TOKEN
	stream       bool
	limit        time.Duration
}

// answer is what came back; lines is not nil for a stream that began.
type answer struct {
	code   int
	header http.Header
	data   []byte
	lines  []string
}

func (c *Client) do(ctx context.Context, k call) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, k.limit)
	defer cancel()
	var body io.Reader
	if k.hasBody {
		body = bytes.NewReader(k.body)
	}
	r, err := http.NewRequestWithContext(ctx, k.method, c.server.String(), body)
	if err != nil {
		return nil, err
	}
	r.URL.Path, r.URL.Opaque = "", k.path // sent as it is written
	for name, values := range k.header {
		r.Header[name] = values
	}
	client := c.plain
	if k.auth == "cert" {
		client = c.admin
	} else if token, ok := strings.CutPrefix(k.auth, "bearer "); ok {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	a := &answer{code: response.StatusCode, header: response.Header}
	if k.stream && a.code == http.StatusOK {
		a.lines = []string{}
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				a.lines = append(a.lines, line)
			}
		}
		return a, nil // a stream ends when the server, or the time limit, ends it
	}
	a.data, err = io.ReadAll(response.Body)
	return a, err
}

func (c *Client) send(ctx context.Context, method, target, body string) (*answer, error) {
	return c.do(ctx, call{method: method, path: target, auth: "cert", body: []byte(body), hasBody: body != "", limit: 5 * time.Second,
		header: http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}}})
}

// makeNamespace makes a namespace with its default service account, which no controller makes here.
func (c *Client) makeNamespace(ctx context.Context, name string) error {
	for target, body := range map[string]string{
		"/api/v1/namespaces": fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name),
	} {
		if a, err := c.send(ctx, "POST", target, body); err != nil || (a.code != 201 && a.code != 409) {
			return fmt.Errorf("namespace: %v %+v", err, a)
		}
	}
	a, err := c.send(ctx, "POST", "/api/v1/namespaces/"+name+"/serviceaccounts", `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}`)
	if err != nil || (a.code != 201 && a.code != 409) {
		return fmt.Errorf("service account: %v %+v", err, a)
	}
	return nil
}

// drop removes an object, with its finalizers.
func (c *Client) drop(ctx context.Context, target string) {
	for range 3 {
		a, err := c.send(ctx, "DELETE", target, `{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"propagationPolicy":"Background"}`)
		if err != nil || a.code == 404 {
			return
		}
		v, ok := parse(string(a.data))
		if a.code != 200 || !ok {
			continue
		}
		if text(object(v)["kind"]) != "Status" && walk(v, path("metadata", "finalizers")) != nil {
			c.do(ctx, call{method: "PATCH", path: target, auth: "cert", hasBody: true, limit: 5 * time.Second,
				body:   []byte(`{"metadata":{"finalizers":null}}`),
				header: http.Header{"Accept": {"application/json"}, "Content-Type": {"application/merge-patch+json"}}})
		}
		return
	}
}

// dropNamespace removes a namespace without anyone emptying it.
func (c *Client) dropNamespace(ctx context.Context, name string) {
	target := "/api/v1/namespaces/" + name
	a, err := c.send(ctx, "DELETE", target, "{}")
	if err != nil || (a.code != 200 && a.code != 202 && a.code != 409) {
		return
	}
	v, _ := parse(string(a.data))
	if text(object(v)["kind"]) == "Namespace" || a.code == 409 {
		c.send(ctx, "PUT", target+"/finalize", fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q},"spec":{}}`, name))
	}
}
