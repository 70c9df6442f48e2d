package master

import (
	"errors"
	"net/http"
	"net/http/pprof"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/discovery"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/openapi"
)

// paths are the handlers of what is no resource.
func (m *Master) paths(tokens *auth.Tokens) []apiserver.Path {
	documents := discovery.New(m.server.catalog, m.taken.address())
	paths := []apiserver.Path{
		{Pattern: "/version", Handler: health.VersionHandler(health.Version()), GetOnly: true},
		{Pattern: "/metrics", Handler: m.server.metrics.Handler(), GetOnly: true},
		{Pattern: "/metrics/slis", Handler: m.server.metrics.SLIHandler(), GetOnly: true},
	}
	for _, name := range []string{"livez", "readyz", "healthz"} {
		handler := health.Handler(name, m.checks(name), m.server.metrics.Healthcheck)
		paths = append(paths, apiserver.Path{Pattern: "/" + name, Handler: handler}, apiserver.Path{Pattern: "/" + name + "/", Handler: handler})
	}
	for path, handler := range health.Pages([]string{"/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version"}, m.config.Flags) {
		paths = append(paths, apiserver.Path{Pattern: path, Handler: handler, GetOnly: true})
	}
	for _, path := range []string{"/api/", "/apis/"} {
		paths = append(paths, apiserver.Path{Pattern: path, Handler: documents, Has: documents.Has})
	}
	schemas := openapi.New()
	for _, path := range []string{openapi.V2Path, openapi.V3IndexPath, openapi.V3Path} {
		paths = append(paths, apiserver.Path{Pattern: path, Handler: schemas})
	}
	paths = append(paths, m.commandPaths()...)
	if m.config.Profiling {
		paths = append(paths, profiles()...)
	}
	return append(paths, issuer(tokens, m.URL())...)
}

// bootstrapped are upstream's names of what is done before anything is served, and which some wait for by name.
var bootstrapped = []string{
	"start-system-namespaces-controller",
	"start-cluster-authentication-info-controller",
	"rbac/bootstrap-roles",
	"scheduling/bootstrap-system-priority-classes",
	"bootstrap-controller",
	"start-kubernetes-service-cidr-controller",
}

// checks are the conditions behind a health endpoint, with upstream's names where upstream has the condition.
func (m *Master) checks(endpoint string) []health.Check {
	checks := []health.Check{
		health.Ping,
		{Name: "etcd", Check: func(r *http.Request) error { return m.opened.check(r.Context(), &m.config, endpoint) }},
		{Name: "informer-sync", Check: func(*http.Request) error {
			select {
			case <-m.server.registry.Ready():
				return nil
			default:
				return errors.New("the mirror is not loaded yet")
			}
		}},
	}
	for _, name := range bootstrapped {
		checks = append(checks, health.Check{Name: "poststarthook/" + name, Check: func(*http.Request) error {
			select {
			case <-m.life.ready:
				return nil
			default:
				return errors.New("not finished")
			}
		}})
	}
	checks = append(checks, m.keys.Checks()...)
	if endpoint == "readyz" {
		checks = append(checks, health.Stopping(m.life.stopping))
	}
	return checks
}

// issuer serves what others need to verify service account tokens.
func issuer(tokens *auth.Tokens, server string) []apiserver.Path {
	return []apiserver.Path{
		{Pattern: auth.JWKSPath, Handler: tokens.JWKSHandler(), GetOnly: true},
		{Pattern: auth.IssuerPath, Handler: tokens.IssuerHandler(server), GetOnly: true},
	}
}

// profiles are the runtime's, at upstream's paths; authorization protects them like any other path.
func profiles() []apiserver.Path {
	return []apiserver.Path{
		{Pattern: "/debug/pprof/", Handler: http.HandlerFunc(pprof.Index)},
		{Pattern: "/debug/pprof/profile", Handler: http.HandlerFunc(pprof.Profile)},
		{Pattern: "/debug/pprof/symbol", Handler: http.HandlerFunc(pprof.Symbol)},
		{Pattern: "/debug/pprof/trace", Handler: http.HandlerFunc(pprof.Trace)},
	}
}
