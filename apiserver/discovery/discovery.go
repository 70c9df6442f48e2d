// Package discovery tells clients which resources are served: version by version under /api and /apis, and all at once in
// an aggregated document, from bytes that are made when the set of kinds changes.
package discovery

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/munnerz/goautoneg"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec"
)

// Handler answers the paths of discovery. What is no document of its own is answered with 404; paths of
// unknown versions and resources are the server's to answer.
type Handler struct {
	address   string
	documents *kind.Derived[map[string]*pages]
}

// pages are the documents of one path: for clients that ask for it by the aggregated form, and for others.
type pages struct{ plain, aggregated *document }

// document is an object in all formats. It never changes.
type document struct {
	bodies [len(formats)][]byte
	etag   string
}

var formats = [...]codec.Format{codec.JSON, codec.YAML, codec.Protobuf}

// New makes a Handler for what a catalog holds. address is where clients reach the server, host and port.
func New(catalog *kind.Catalog, address string) *Handler {
	h := &Handler{address: address}
	h.documents = kind.Derive(catalog, func(now *kind.Kinds, _ map[string]*pages) map[string]*pages { return h.write(now.All()) })
	return h
}

// write makes the documents of kinds.
func (h *Handler) write(kinds []*kind.Kind) map[string]*pages {
	all := groups(kinds)
	documents := map[string]*pages{}
	var core, others []apidiscoveryv2.APIGroupDiscovery
	list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
	versions := &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: h.address}}}
	for _, g := range all {
		prefix := "/apis/" + g.name
		if g.name == "" {
			prefix = "/api"
			core = append(core, g.aggregated())
		} else {
			others = append(others, g.aggregated())
			a := g.apiGroup()
			list.Groups = append(list.Groups, a)
			a.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			documents[prefix] = &pages{plain: newDocument(&a)}
		}
		for _, v := range g.versions {
			if g.name == "" {
				versions.Versions = append(versions.Versions, v.Version)
			}
			documents[prefix+"/"+v.Version] = &pages{plain: newDocument(v.resources())}
		}
	}
	documents["/api"] = &pages{plain: newDocument(versions), aggregated: newDocument(aggregatedList(core))}
	documents["/apis"] = &pages{plain: newDocument(list), aggregated: newDocument(aggregatedList(others))}
	return documents
}

func aggregatedList(groups []apidiscoveryv2.APIGroupDiscovery) *apidiscoveryv2.APIGroupDiscoveryList {
	if groups == nil {
		groups = []apidiscoveryv2.APIGroupDiscovery{}
	}
	return &apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: apidiscoveryv2.SchemeGroupVersion.String()}, Items: groups}
}

// newDocument writes an object, which must say its kind, in all formats. The objects are our own, so that nothing can fail.
func newDocument(obj runtime.Object) *document {
	d := &document{}
	gvk := obj.GetObjectKind().GroupVersionKind()
	for n, f := range formats {
		body, err := codec.AppendObject(nil, codec.Media{Format: f}, obj, gvk)
		if err != nil {
			panic(fmt.Sprintf("encode a discovery document: %v", err))
		}
		d.bodies[n] = body
	}
	d.etag = fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(d.bodies[0])))
	return d
}

// Has tells whether a path has a document now.
func (h *Handler) Has(path string) bool {
	_, ok := h.documents.Get()[strings.TrimSuffix(path, "/")]
	return ok
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, ok := h.documents.Get()[strings.TrimSuffix(r.URL.Path, "/")]
	switch {
	case !ok:
		http.NotFound(w, r)
	case r.Method != http.MethodGet:
		fail(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "the server does not allow this method on the requested resource")
	case found.aggregated != nil && wantsAggregated(r.Header.Get("Accept")) >= 0:
		found.aggregated.serveAggregated(w, r, wantsAggregated(r.Header.Get("Accept")))
	default:
		media, ok := codec.Negotiate(r.Header.Get("Accept"))
		if !ok || media.Form != codec.Whole {
			fail(w, http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
				"only the following media types are accepted: "+strings.Join(codec.Supported, ", "))
			return
		}
		found.plain.write(w, r, slices.Index(formats[:], media.Format), media.Format.ContentType())
	}
}

const aggregatedParams = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// wantsAggregated is the number of the format in which a client wants the aggregated form, -1 if it does not want it, or
// wants something else more.
func wantsAggregated(accept string) int {
	if !strings.Contains(accept, "apidiscovery.k8s.io") {
		return -1
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		for n, f := range formats {
			media, sub, _ := strings.Cut(f.ContentType(), "/")
			if clause.Type != media && clause.Type != "*" || clause.SubType != sub && clause.SubType != "*" {
				continue
			}
			if clause.Params["as"] == "" && clause.Params["g"] == "" && clause.Params["v"] == "" {
				return -1
			}
			if clause.Params["g"] == "apidiscovery.k8s.io" && clause.Params["v"] == "v2" && clause.Params["as"] == "APIGroupDiscoveryList" {
				return n
			}
		}
	}
	return -1
}

func (d *document) serveAggregated(w http.ResponseWriter, r *http.Request, format int) {
	header := w.Header()
	header.Set("ETag", d.etag)
	header.Set("Vary", "Accept")
	header.Set("Cache-Control", "public")
	if r.Header.Get("If-None-Match") == d.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	d.write(w, r, format, formats[format].ContentType()+aggregatedParams)
}

func (d *document) write(w http.ResponseWriter, r *http.Request, format int, contentType string) {
	body := d.bodies[format]
	if formats[format] == codec.JSON && wantsPretty(r) {
		var pretty bytes.Buffer
		if json.Indent(&pretty, body, "", "  ") == nil {
			body = pretty.Bytes()
		}
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body) // the client has gone if this fails
}

// wantsPretty: people read what browsers and command line tools show.
func wantsPretty(r *http.Request) bool {
	if wish := r.URL.Query()["pretty"]; len(wish) > 0 {
		return wish[0] != "false" && wish[0] != "0"
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

func fail(w http.ResponseWriter, code int32, reason metav1.StatusReason, message string) {
	status := &metav1.Status{Status: metav1.StatusFailure, Message: message, Reason: reason, Details: &metav1.StatusDetails{}, Code: code}
	body, err := codec.AppendObject(nil, codec.Media{}, status, schema.GroupVersionKind{Version: "v1", Kind: "Status"})
	if err != nil {
		panic(err) // a Status is JSON
	}
	w.Header().Set("Content-Type", codec.JSON.ContentType())
	w.WriteHeader(int(code))
	_, _ = w.Write(body)
}
