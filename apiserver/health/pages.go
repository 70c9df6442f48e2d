package health

import (
	"net/http"

	"k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/apiserver/pkg/server/statusz"
	"k8s.io/component-base/compatibility"
)

// componentName is what the pages call the server: their readers know upstream's name.
const componentName = "kube-apiserver"

// pages collects what upstream's packages would put into a mux.
type pages map[string]http.Handler

// Handle implements the mux that they expect.
func (p pages) Handle(path string, h http.Handler) { p[path] = h }

// flags are the names and values of the command line.
type flags map[string]string

// GetFlagz implements flagz.Reader.
func (f flags) GetFlagz() map[string]string { return f }

// Pages are the handlers of /statusz, which lists paths to look at next, and of /flagz, by their paths.
func Pages(paths []string, values map[string]string) map[string]http.Handler {
	p := pages{}
	version := compatibility.NewEffectiveVersionFromString(major+"."+minor+"."+patch, "", "")
	statusz.Install(p, componentName, statusz.NewRegistry(version, statusz.WithListedPaths(paths)))
	flagz.Install(p, componentName, flags(values))
	return p
}
