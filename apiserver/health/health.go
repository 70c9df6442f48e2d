// Package health answers whether the server lives and is ready, and what it is: /healthz, /livez, /readyz, /version.
package health

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"k8s.io/klog/v2"
)

// Check is one named condition. Check's error is told to whoever asks for the check by its own path; elsewhere
// its reason is withheld, because those paths are public.
type Check struct {
	Name  string
	Check func(*http.Request) error
}

// Ping is a check that passes as long as the server answers.
var Ping = Check{Name: "ping", Check: func(*http.Request) error { return nil }}

// Stopping is a check that fails from the moment the channel is closed, so that load balancers send nothing new.
func Stopping(stopping <-chan struct{}) Check {
	return Check{Name: "shutdown", Check: func(*http.Request) error {
		select {
		case <-stopping:
			return fmt.Errorf("process is shutting down")
		default:
			return nil
		}
	}}
}

// endpoint is /livez and its like.
type endpoint struct {
	name   string
	checks []Check
	report func(check, endpoint string, ok bool)
}

// Handler answers "/<name>" with the result of all checks and "/<name>/<check>" with that of one. report, which may be
// nil, is told of each result of the former.
func Handler(name string, checks []Check, report func(check, endpoint string, ok bool)) http.Handler {
	if report == nil {
		report = func(string, string, bool) {}
	}
	return &endpoint{name, checks, report}
}

// Waiting answers for a server that does not serve yet: it lives, and says what it waits for.
func Waiting(name string, reason func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/"+name), "/") {
		case "/" + Ping.Name:
			fmt.Fprint(w, "ok")
		default:
			http.Error(w, fmt.Sprintf("[+]%s ok\n[-]etcd failed: %s\n%s check failed", Ping.Name, reason(), name), http.StatusServiceUnavailable)
		}
	})
}

// ServeHTTP implements http.Handler.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	one, isOne := strings.CutPrefix(r.URL.Path, "/"+e.name+"/")
	if !isOne || one == "" {
		e.all(w, r)
		return
	}
	for _, c := range e.checks {
		if c.Name == one {
			if err := c.Check(r); err != nil {
				http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, "ok")
			return
		}
	}
	http.NotFound(w, r)
}

func (e *endpoint) all(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	unknown := map[string]bool{}
	for _, name := range query["exclude"] {
		unknown[name] = true
	}
	var text strings.Builder
	failed := false
	for _, c := range e.checks {
		if slices.Contains(query["exclude"], c.Name) {
			delete(unknown, c.Name)
			fmt.Fprintf(&text, "[+]%s excluded: ok\n", c.Name)
			continue
		}
		err := c.Check(r)
		e.report(c.Name, e.name, err == nil)
		if err == nil {
			fmt.Fprintf(&text, "[+]%s ok\n", c.Name)
			continue
		}
		failed = true
		fmt.Fprintf(&text, "[-]%s failed: reason withheld\n", c.Name)
		klog.V(2).InfoS("a health check failed", "endpoint", e.name, "check", c.Name, "err", err)
	}
	if len(unknown) > 0 {
		var quoted []string
		for _, name := range slices.Sorted(maps.Keys(unknown)) {
			quoted = append(quoted, fmt.Sprintf("%q", name))
		}
		fmt.Fprintf(&text, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(quoted, ","))
	}
	if failed {
		http.Error(w, text.String()+e.name+" check failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !query.Has("verbose") {
		fmt.Fprint(w, "ok")
		return
	}
	fmt.Fprintf(w, "%s%s check passed\n", text.String(), e.name)
}
