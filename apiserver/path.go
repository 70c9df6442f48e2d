package apiserver

import (
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// maxSegments of a path that mean something: /apis/group/version/watch/namespaces/ns/resource/name/subresource; what
// follows stays in the last one.
const maxSegments = 10

// target is what a request's method and path speak of.
type target struct {
	path string
	// verb as RBAC knows it; for what is no resource the method in lower case.
	verb                         kind.Verb
	resourceRequest              bool
	group, version, resource     string
	namespace, name, subresource string
	// byPath tells that name stands in the path; else it may come from a field selector.
	byPath bool
	// watchPath: the old form of a watch, with /watch/ in the path.
	watchPath bool
	// proxyPath: the old form of a proxy, which is served no more.
	proxyPath bool
	// rest is what follows the subresource, for proxies; begins with a slash unless empty.
	rest string
	// long: a path that is no resource and takes its time.
	long bool
}

// segments splits a path; the last element holds the remainder when there are more.
func segments(path string, into *[maxSegments]string) int {
	path = strings.Trim(path, "/")
	if path == "" {
		return 0
	}
	n := 0
	for n < maxSegments-1 {
		head, tail, more := strings.Cut(path, "/")
		into[n] = head
		n++
		if !more {
			return n
		}
		path = tail
	}
	into[n] = path
	return n + 1
}

// readTarget reads method and path as upstream's RequestInfo does. query is called only when needed.
func readTarget(method, urlPath string, query func() url.Values) target {
	t := target{path: urlPath, verb: kind.Verb(strings.ToLower(method))}
	var parts [maxSegments]string
	n := segments(urlPath, &parts)
	at := 0
	switch {
	case n >= 3 && parts[0] == "api":
		at = 1
	case n >= 4 && parts[0] == "apis":
		t.group, at = parts[1], 2
	default:
		return t
	}
	t.resourceRequest = true
	t.version = parts[at]
	at++
	if (parts[at] == "watch" || parts[at] == "proxy") && n > at+1 {
		t.verb, t.watchPath, t.proxyPath = kind.Verb(parts[at]), parts[at] == "watch", parts[at] == "proxy"
		at++
	} else {
		t.verb = verbs[method]
	}
	if parts[at] == "namespaces" && n > at+1 {
		t.namespace = parts[at+1]
		if n > at+2 && parts[at+2] != "status" && parts[at+2] != "finalize" {
			at += 2
		}
	}
	t.resource = parts[at]
	if n > at+1 {
		t.name, t.byPath = parts[at+1], true
	}
	if n > at+2 {
		t.subresource = parts[at+2]
	}
	if n > at+3 {
		t.rest = "/" + strings.Join(parts[at+3:n], "/")
		if strings.HasSuffix(urlPath, "/") {
			t.rest += "/"
		}
	}
	t.refine(query)
	return t
}

// refine tells list, watch and deletecollection from get and delete.
func (t *target) refine(query func() url.Values) {
	if t.byPath {
		return
	}
	switch t.verb {
	case kind.Delete:
		t.verb = kind.DeleteCollection
	case kind.Get:
		t.verb = kind.List
		q := query()
		if len(q) == 0 {
			return
		}
		if v, ok := q["watch"]; ok && len(v) > 0 && isTrue(v[0]) {
			t.verb = kind.Watch
		}
		if s := q.Get("fieldSelector"); s != "" && len(s) <= maxNaming {
			selector, err := fields.ParseSelector(s)
			if err != nil {
				return
			}
			if name, ok := selector.RequiresExactMatch("metadata.name"); ok && len(path.IsValidPathSegmentName(name)) == 0 {
				t.name = name
			}
		}
	}
}

// isTrue is upstream's reading of a boolean in a query: everything but "false" and "0".
func isTrue(s string) bool { return s != "0" && !strings.EqualFold(s, "false") }

// verbs are what methods do to an object; refine tells what they do to a collection.
var verbs = map[string]kind.Verb{
	http.MethodGet: kind.Get, http.MethodHead: kind.Get, http.MethodPost: kind.Create, http.MethodPut: kind.Update,
	http.MethodPatch: kind.Patch, http.MethodDelete: kind.Delete,
}

// requestInfo is the target in the form that libraries expect in a context.
func (t *target) requestInfo() *request.RequestInfo {
	info := &request.RequestInfo{
		IsResourceRequest: t.resourceRequest, Path: t.path, Verb: string(t.verb), APIGroup: t.group, APIVersion: t.version,
		Namespace: t.namespace, Resource: t.resource, Subresource: t.subresource, Name: t.name,
	}
	if t.resourceRequest {
		info.APIPrefix = "apis"
		if t.group == "" {
			info.APIPrefix = "api"
		}
	}
	return info
}

// longRunning are the subresources that hold a connection.
var longRunning = sets.New("attach", "exec", "proxy", "log", "portforward")

// isLongRunning tells whether the request is exempt from the time limit and from the limits on requests in flight.
func (t *target) isLongRunning() bool {
	return t.long || t.resourceRequest && (t.verb == kind.Watch || t.proxyPath || t.subresource != "" && longRunning.Has(t.subresource)) ||
		strings.HasPrefix(t.path, "/debug/pprof/")
}

// readOnly tells in which of the two groups the request counts as being in flight.
func (t *target) readOnly() bool { return t.verb.Reads() }

// methods are what clients send for verbs.
var methods = map[kind.Verb]string{
	kind.Get: http.MethodGet, kind.List: http.MethodGet, kind.Watch: http.MethodGet, kind.Create: http.MethodPost, kind.Update: http.MethodPut,
	kind.Patch: http.MethodPatch, kind.Delete: http.MethodDelete, kind.DeleteCollection: http.MethodDelete,
}

// targetOf is what the path of a request from within the process would speak of. The name of what is made stands in no path.
func targetOf(r *Request) target {
	t := target{verb: r.Verb, resourceRequest: true, group: r.Kind.GVK.Group, version: r.Kind.GVK.Version, resource: r.Kind.Plural,
		namespace: r.Namespace, subresource: r.Subresource}
	if t.byPath = r.Subresource != "" || !r.Verb.OfCollection(); t.byPath {
		t.name = r.Name
	}
	if r.Kind.IsNamespace {
		t.namespace = t.name
	}
	return t
}
