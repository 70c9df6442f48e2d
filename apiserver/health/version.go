package health

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"

	"k8s.io/apimachinery/pkg/version"
)

// The version of the Kubernetes API that is served.
const (
	major = "1"
	minor = "37"
	patch = "2"
)

// Version is what the server says of itself. Clients read the API's version from it; the part after the plus names
// the product.
func Version() version.Info {
	v := version.Info{
		Major: major, Minor: minor, EmulationMajor: major, EmulationMinor: minor, MinCompatibilityMajor: major, MinCompatibilityMinor: "36",
		GitVersion: fmt.Sprintf("v%s.%s.%s+wheelhouse", major, minor, patch), GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			v.GitCommit = s.Value
		case "vcs.time":
			v.BuildDate = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				v.GitTreeState = "dirty"
			}
		}
	}
	v.GitCommit = cmp.Or(v.GitCommit, "unknown")
	v.BuildDate = cmp.Or(v.BuildDate, "1970-01-01T00:00:00Z")
	return v
}

// VersionHandler answers /version.
func VersionHandler(v version.Info) http.Handler {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // a struct of strings
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.Error(w, "405: Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data) // the client has gone if this fails
	})
}
