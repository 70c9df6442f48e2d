package compat

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// caseTime is how long a case may take unless it says otherwise.
const caseTime = 10 * time.Second

var errDeadline = errors.New("case time limit")

// run is one case being replayed.
type run struct {
	c       *Case
	client  *Client
	vars    map[string]any // ${…} of the case
	created []string       // paths of what was made, to be removed
	end     time.Time
}

func newRun(c *Case, client *Client, nonce, shared string) *run {
	sum := sha1.Sum([]byte(nonce + c.ID))
	h := hex.EncodeToString(sum[:])
	r := &run{c: c, client: client, vars: map[string]any{"u": "k" + h[:7], "ns": "ns-k" + h[8:15]}}
	if c.NS == "shared" {
		r.vars["ns"] = shared
	}
	limit := caseTime
	if c.Seconds > 0 {
		limit = time.Duration(c.Seconds * float64(time.Second))
	}
	r.end = time.Now().Add(limit)
	return r
}

func (r *run) own() bool { return r.c.NS == "" || r.c.NS == "own" }

// back replaces the run's own words by their names in the case.
func (r *run) back(s string) string {
	s = strings.ReplaceAll(s, r.vars["ns"].(string), "${ns}")
	return strings.ReplaceAll(s, r.vars["u"].(string), "${u}")
}

// run gives what the server answered, in the form of Case.Expect.
func (r *run) run(ctx context.Context) any {
	defer r.cleanup(ctx)
	got, err := r.judge(ctx)
	if err != nil {
		return map[string]any{"error": r.back(err.Error())}
	}
	return plain(got)
}

func (r *run) judge(ctx context.Context) (any, error) {
	if r.own() {
		if err := r.client.makeNamespace(ctx, r.vars["ns"].(string)); err != nil {
			return nil, fmt.Errorf("setup: %w", err)
		}
	}
	for _, s := range r.c.Setup {
		if err := r.step(ctx, s); err != nil {
			return nil, err
		}
	}
	if r.c.Dump != nil {
		return r.dump(ctx, r.c.Dump)
	}
	first, err := r.main(ctx, r.c.Request)
	if err != nil || len(r.c.After) == 0 {
		return first, err
	}
	var after []any
	for _, s := range r.c.After {
		v, err := r.main(ctx, s)
		if err != nil {
			return nil, err
		}
		after = append(after, v)
	}
	return map[string]any{"first": first, "after": after}, nil
}

// raw sends one request of the case.
func (r *run) raw(ctx context.Context, req map[string]any) (*answer, error) {
	left := min(time.Until(r.end), 9500*time.Millisecond)
	if left <= 0 {
		return nil, errDeadline
	}
	header := http.Header{"Accept": {"application/json"}, "User-Agent": {""}} // an empty one keeps Go from adding its own
	for k, v := range object(fill(req["headers"], r.vars)) {
		switch v := v.(type) {
		case nil:
			header.Del(k)
		case []any:
			header[http.CanonicalHeaderKey(k)] = texts(v)
		default:
			header.Set(k, fmt.Sprint(v))
		}
	}
	body, has := r.body(req)
	if has && header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	auth := "cert"
	if a, ok := req["auth"]; ok {
		auth = text(fill(a, r.vars))
	}
	_, watch := req["watch"]
	target := text(fill(req["path"], r.vars))
	a, err := r.client.do(ctx, call{method: text(req["method"]), path: target, header: header, body: body, hasBody: has, auth: auth, stream: watch, limit: left})
	if err != nil {
		return nil, err
	}
	if a.code == 201 && !watch && !strings.Contains(target, "dryRun") {
		r.note(target, text(req["method"]), a.data)
	}
	return a, nil
}

func (r *run) body(req map[string]any) ([]byte, bool) {
	if from, ok := req["bodyFrom"]; ok {
		v := clone(r.vars[text(from)])
		return []byte(canonical(edit(v, list(fill(req["edit"], r.vars))))), true
	}
	if raw, ok := req["raw"]; ok {
		return []byte(text(fill(raw, r.vars))), true
	}
	b, ok := req["body"]
	if !ok {
		return nil, false
	}
	v := fill(b, r.vars)
	if pad := list(req["pad"]); pad != nil {
		v = edit(clone(v), []any{[]any{pad[0], strings.Repeat("x", int(number(pad[1])))}})
	}
	return []byte(canonical(v)), true
}

// note remembers what was created.
func (r *run) note(target, method string, data []byte) {
	if method != "POST" && method != "PUT" && method != "PATCH" {
		return
	}
	v, _ := parse(string(data))
	name := text(walk(v, path("metadata", "name")))
	p, _, _ := strings.Cut(target, "?")
	p = strings.TrimRight(p, "/")
	parts := strings.Split(p, "/")
	if name == "" || len(parts) < 4 {
		return
	}
	skip := 4
	if parts[1] == "api" {
		skip = 3
	}
	rest := parts[min(skip, len(parts)):]
	if len(rest) > 2 && rest[0] == "namespaces" {
		rest = rest[2:]
	}
	if len(rest) > 2 { // a subresource
		return
	}
	if method == "POST" {
		p += "/" + url.PathEscape(name)
	}
	if !slices.Contains(r.created, p) {
		r.created = append(r.created, p)
	}
}

// holds tells whether an answer is what "until" waits for.
func (r *run) holds(until map[string]any, a *answer) bool {
	if code, ok := until["code"]; ok && int(number(code)) != a.code {
		return false
	}
	p, ok := until["path"]
	if !ok {
		return true
	}
	v, _ := parse(string(a.data))
	return canonical(walk(v, list(p))) == canonical(fill(until["value"], r.vars))
}

// step is one request of the setup: it must succeed, or is repeated until it gives what it must.
func (r *run) step(ctx context.Context, req map[string]any) error {
	if s, ok := req["sleep"]; ok { // part of the recorded scenario, which waits for the server's clock to move on
		return pause(ctx, time.Duration(number(s)*float64(time.Second)))
	}
	if _, ok := req["foreach"]; ok {
		return r.each(ctx, req)
	}
	begin := time.Now()
	var a *answer
	for {
		var err error
		if a, err = r.raw(ctx, req); err != nil {
			return err
		}
		until := object(req["until"])
		if until == nil {
			if a.code >= 400 && !slices.ContainsFunc(list(req["ok"]), func(v any) bool { return int(number(v)) == a.code }) {
				return fmt.Errorf("setup: %s %s -> %d %.300s", text(req["method"]), text(req["path"]), a.code, a.data)
			}
			break
		}
		if r.holds(until, a) {
			break
		}
		if soft, ok := until["soft"]; ok && time.Since(begin).Seconds() > number(soft) {
			break
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	v, _ := parse(string(a.data))
	for name, p := range object(req["save"]) {
		r.vars[name] = walk(v, list(p))
	}
	return nil
}

// each repeats a request for every object of a list, as a node agent would.
func (r *run) each(ctx context.Context, req map[string]any) error {
	count := 1
	if c, ok := req["count"]; ok {
		count = int(number(c))
	}
	var items []any
	for {
		a, err := r.raw(ctx, map[string]any{"method": "GET", "path": req["foreach"]})
		if err != nil {
			return err
		}
		v, _ := parse(string(a.data))
		if items = list(object(v)["items"]); len(items) >= count {
			break
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	for i, o := range items {
		r.vars["name"], r.vars["i"] = text(walk(o, path("metadata", "name"))), fmt.Sprint(i+1)
		if _, err := r.raw(ctx, object(req["do"])); err != nil {
			return err
		}
	}
	return nil
}

// main sends a judged request.
func (r *run) main(ctx context.Context, req map[string]any) (any, error) {
	var a *answer
	for {
		var err error
		if a, err = r.raw(ctx, req); err != nil {
			return nil, err
		}
		until := object(req["until"])
		if until == nil || r.holds(until, a) || time.Until(r.end) < 2*time.Second {
			break
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
	got := r.verdict(req, a)
	for name, p := range object(req["save"]) {
		v, ok := parse(string(a.data))
		if !ok {
			r.vars[name] = ""
			continue
		}
		r.vars[name] = walk(v, list(p))
	}
	return got, nil
}

var namespacePath = regexp.MustCompile(`^/api/v1/namespaces/([^/]+)$`)

// cleanup removes what the case made; what cannot be removed does not concern the case.
func (r *run) cleanup(ctx context.Context) {
	for _, p := range slices.Backward(r.created) {
		if m := namespacePath.FindStringSubmatch(p); m != nil {
			r.client.dropNamespace(ctx, m[1])
		} else {
			r.client.drop(ctx, p)
		}
	}
	for _, p := range r.c.Cleanup {
		r.client.drop(ctx, text(fill(p, r.vars)))
	}
	if r.own() {
		r.client.dropNamespace(ctx, r.vars["ns"].(string))
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
