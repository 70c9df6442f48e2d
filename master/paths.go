package master

import (
	"net/http"
	"net/http/pprof"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// paths are the handlers of what is no resource.
func (m *Master) paths() []apiserver.Path {
	var paths []apiserver.Path
	if m.config.Profiling {
		paths = append(paths, profiles()...)
	}
	return paths
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
