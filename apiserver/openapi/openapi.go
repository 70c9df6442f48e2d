// Package openapi serves the OpenAPI documents, version 2 and 3, of the built-in kinds.
//
// A generator writes the documents, compressed, into the folder documents. The server sends them as they are to
// clients that take gzip, and unpacks them while it sends to others, so that they cost no memory.
package openapi

import (
	"compress/gzip"
	"crypto/sha512"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/munnerz/goautoneg"
)

//go:generate go tool -modfile=../../test/tools/code/go.mod openapi-gen --go-header-file /dev/null --report-filename /dev/null --output-dir generate/definitions --output-pkg github.com/wheelhouse-k8s/wheelhouse/apiserver/openapi/generate/definitions --output-file definitions.go k8s.io/api/admissionregistration/v1 k8s.io/api/apps/v1 k8s.io/api/authentication/v1 k8s.io/api/authorization/v1 k8s.io/api/autoscaling/v1 k8s.io/api/autoscaling/v2 k8s.io/api/batch/v1 k8s.io/api/certificates/v1 k8s.io/api/coordination/v1 k8s.io/api/core/v1 k8s.io/api/discovery/v1 k8s.io/api/events/v1 k8s.io/api/flowcontrol/v1 k8s.io/api/networking/v1 k8s.io/api/node/v1 k8s.io/api/policy/v1 k8s.io/api/rbac/v1 k8s.io/api/resource/v1 k8s.io/api/scheduling/v1 k8s.io/api/storage/v1 k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/runtime k8s.io/apimachinery/pkg/version k8s.io/apimachinery/pkg/util/intstr k8s.io/apimachinery/pkg/api/resource
//go:generate go run -tags generate ./generate documents
//go:generate rm generate/definitions/definitions.go

//go:embed all:documents
var documents embed.FS

// The paths that are served, the last one with what is below it.
const (
	V2Path      = "/openapi/v2"
	V3IndexPath = "/openapi/v3"
	V3Path      = "/openapi/v3/"
)

// format is a way in which a document is written.
type format struct {
	// names by which clients ask for it, below application/.
	names       []string
	contentType string
	suffix      string
}

var (
	jsonFormat = format{names: []string{"json"}, contentType: "application/json", suffix: ".json.gz"}
	v2Formats  = []format{jsonFormat, protobuf("v2")}
	v3Formats  = []format{jsonFormat, protobuf("v3")}
)

// protobuf has a name that is no valid media type, which old clients use, and one that is.
func protobuf(version string) format {
	valid := "com.github.proto-openapi.spec." + version + ".v1.0+protobuf"
	return format{names: []string{"com.github.proto-openapi.spec." + version + "@v1.0+protobuf", valid},
		contentType: "application/" + valid, suffix: ".pb.gz"}
}

// choose picks the format that a client likes best.
func choose(accept string, formats []format) (format, bool) {
	if accept == "" {
		accept = "*/*"
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		if clause.Type != "application" && clause.Type != "*" {
			continue
		}
		for _, f := range formats {
			for _, name := range f.names {
				if clause.SubType == name || clause.SubType == "*" {
					return f, true
				}
			}
		}
	}
	return format{}, false
}

// Handler answers V2Path, V3IndexPath and V3Path.
type Handler struct {
	// hashes of the JSON documents by name: "v2", "v3/api/v1".
	hashes map[string]string
	// index is the list of version 3's documents.
	index     []byte
	indexHash string
}

// New makes a Handler.
func New() *Handler {
	h := &Handler{}
	data, err := documents.ReadFile("documents/hashes.json")
	if err == nil {
		err = json.Unmarshal(data, &h.hashes)
	}
	if err != nil {
		panic(fmt.Sprintf("the embedded OpenAPI documents are damaged: %v", err))
	}
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	for name := range h.hashes {
		if path, ok := strings.CutPrefix(name, "v3/"); ok {
			paths[path] = entry{h.url(path)}
		}
	}
	if h.index, err = json.Marshal(map[string]any{"paths": paths}); err != nil {
		panic(err) // strings only
	}
	h.indexHash = fmt.Sprintf("%X", sha512.Sum512(h.index))
	return h
}

// url is where a document of version 3 may be cached for good.
func (h *Handler) url(path string) string {
	u := url.URL{Path: V3Path + path, RawQuery: url.Values{"hash": {h.hashes["v3/"+path]}}.Encode()}
	return u.String()
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := strings.TrimSuffix(r.URL.Path, "/"); path {
	case V2Path:
		h.serveV2(w, r)
	case V3IndexPath:
		h.serveIndex(w, r)
	default:
		h.serveV3(w, r, strings.TrimPrefix(path, V3Path))
	}
}

func (h *Handler) serveV2(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept-Encoding")
	f, ok := choose(r.Header.Get("Accept"), v2Formats)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	h.send(w, r, "v2", f)
}

func (h *Handler) serveIndex(w http.ResponseWriter, r *http.Request) {
	if unchanged(w, r, h.indexHash) {
		return
	}
	// Upstream leaves the type to be guessed, and clients are used to the guess.
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(h.index) // the client has gone if this fails
}

func (h *Handler) serveV3(w http.ResponseWriter, r *http.Request, path string) {
	header := w.Header()
	header.Set("Vary", "Accept")
	hash, ok := h.hashes["v3/"+path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	f, ok := choose(r.Header.Get("Accept"), v3Formats)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	if asked := r.URL.Query().Get("hash"); asked != "" {
		if asked != hash {
			http.Redirect(w, r, h.url(path), http.StatusMovedPermanently)
			return
		}
		header.Set("Cache-Control", "public, immutable")
		header.Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	if acceptsGzip(r) {
		header.Set("Vary", "Accept, Accept-Encoding")
	}
	h.send(w, r, "v3/"+path, f)
}

// unchanged sets the ETag, and answers 304 if the client has the document.
func unchanged(w http.ResponseWriter, r *http.Request, hash string) bool {
	tag := `"` + hash + `"`
	w.Header().Set("ETag", tag)
	for _, known := range strings.Split(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(known), "W/") == tag {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}

// send writes a document. Its hash stands for it in every format: caches tell those apart by the Vary header.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, name string, f format) {
	if unchanged(w, r, h.hashes[name]) {
		return
	}
	file, err := documents.Open("documents/" + name + f.suffix)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer file.Close()
	w.Header().Set("Content-Type", f.contentType)
	if acceptsGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.Copy(w, file) // the client has gone if this fails
		return
	}
	z, err := gzip.NewReader(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.Copy(w, z)
}

func acceptsGzip(r *http.Request) bool {
	for _, coding := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, quality, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			return strings.ReplaceAll(quality, " ", "") != "q=0"
		}
	}
	return false
}
