package apiserver

import (
	"bytes"
	"io"
	"net/http"
	"sort"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec"
)

// Handler is the HTTP door.
func (s *Server) Handler() http.Handler { return s }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reserveStack()
	s.active.Add(1)
	defer s.active.Add(-1)
	x := &exchange{answerWriter: answerWriter{ResponseWriter: w}, r: r, ctx: r.Context(), start: s.Now()}
	x.limits = &s.limits
	x.arrive(s.GoawayChance)
	defer x.depart()
	if r.ProtoMajor == 1 && x.hasBody() {
		x.before = x.beforeAnswer
	}
	if x.misshapen = misshapen(r); x.misshapen == nil {
		x.target = readTarget(r.Method, r.URL.Path, x.values)
	}
	if !x.target.resourceRequest {
		p, _ := s.paths.find(x.target.path)
		x.target.long = p.LongRunning
	}
	s.handle(x)
}

// dispatch finds who answers.
func (s *Server) dispatch(x *exchange) {
	t := &x.target
	if t.resourceRequest {
		if rt := s.routes.find(t.group, t.version, t.resource); rt != nil {
			s.serveResource(x, rt)
			return
		}
	}
	if p, ok := s.paths.find(t.path); ok {
		if p.GetOnly && x.r.Method != http.MethodGet {
			x.fail(methodNotAllowed())
			return
		}
		r := x.r.WithContext(x.contextWithUser())
		if x.arrived {
			r.Body = io.NopCloser(bytes.NewReader(x.whole))
		}
		p.Handler.ServeHTTP(x, r)
		return
	}
	if s.ownsPath(t.path) {
		x.fail(notFoundPath())
		return
	}
	http.NotFound(x, x.r)
}

// ownsPath tells whether a missing path is answered by a Status: those below /api and below a group that is served.
func (s *Server) ownsPath(path string) bool {
	var parts [maxSegments]string
	n := segments(path, &parts)
	return n > 0 && parts[0] == "api" || n > 1 && parts[0] == "apis" && parts[1] != "" && s.routes.groups[parts[1]]
}

// pathTable finds the handler of a path that is no resource.
type pathTable struct {
	exact    map[string]Path
	prefixes []Path // longest first
}

func newPathTable(paths []Path) pathTable {
	t := pathTable{exact: map[string]Path{}}
	for _, p := range paths {
		if strings.HasSuffix(p.Pattern, "/") && p.Pattern != "/" {
			t.prefixes = append(t.prefixes, p)
			p.Pattern = strings.TrimSuffix(p.Pattern, "/")
			if _, taken := t.exact[p.Pattern]; taken {
				continue
			}
		}
		t.exact[p.Pattern] = p
	}
	sort.SliceStable(t.prefixes, func(i, j int) bool { return len(t.prefixes[i].Pattern) > len(t.prefixes[j].Pattern) })
	return t
}

func (t pathTable) find(path string) (Path, bool) {
	if p, ok := t.exact[path]; ok {
		return p, true
	}
	if trimmed := strings.TrimSuffix(path, "/"); strings.HasPrefix(path, "/api") {
		if p, ok := t.exact[trimmed]; ok {
			return p, true
		}
	}
	for _, p := range t.prefixes {
		if strings.HasPrefix(path, p.Pattern) {
			return p, true
		}
	}
	return Path{}, false
}

// serveResource judges path and method, then calls the verb.
func (s *Server) serveResource(x *exchange, rt *route) {
	serve, err := s.verbFor(&x.target, rt, x.r.Method)
	if err != nil {
		x.fail(err)
		return
	}
	media, ok := codec.Negotiate(x.r.Header.Get("Accept"))
	if !ok {
		x.fail(notAcceptable())
		return
	}
	x.media = media
	x.media.Pretty = media.Pretty || x.wantsPretty()
	serve(x, rt)
}

// verbHandler answers one verb of one resource.
type verbHandler func(x *exchange, rt *route)

// verbFor chooses the verb, or tells why there is none: 404 for a path that does not exist, 405 for a method that the
// path does not have.
func (s *Server) verbFor(t *target, rt *route, method string) (verbHandler, error) {
	info := rt.info
	inNamespace := t.namespace != "" && !isNamespaces(info)
	switch {
	case t.byPath && t.name == "": // "pods//status" names no pod
		return nil, notFoundPath()
	case inNamespace && !info.Namespaced, isNamespaces(info) && t.namespace != "" && t.namespace != t.name:
		return nil, notFoundPath()
	case info.Namespaced && !inNamespace:
		if t.byPath || !info.Serves("list") {
			return nil, notFoundPath()
		}
		if method != http.MethodGet {
			return nil, methodNotAllowed()
		}
	}
	switch {
	case t.watchPath:
		return s.watchPathVerb(t, rt, method)
	case t.verb == "proxy":
		return nil, notFoundPath()
	case t.subresource != "":
		return s.subresourceVerb(t, rt, method)
	case t.rest != "":
		return nil, notFoundPath()
	case t.byPath:
		return s.itemVerb(info, method)
	}
	return s.collectionVerb(info, method)
}

func isNamespaces(info *kind.Info) bool { return info.Plural == "namespaces" && info.GVK.Group == "" }

func (s *Server) collectionVerb(info *kind.Info, method string) (verbHandler, error) {
	verbs := map[string]struct {
		name  string
		serve verbHandler
	}{
		http.MethodGet:    {"list", s.serveList},
		http.MethodPost:   {"create", s.serveCreate},
		http.MethodDelete: {"deletecollection", s.serveDeleteCollection},
	}
	if v, ok := verbs[method]; ok && info.Serves(v.name) {
		return v.serve, nil
	}
	return nil, methodNotAllowed()
}

func (s *Server) itemVerb(info *kind.Info, method string) (verbHandler, error) {
	if !info.Serves("get") {
		return nil, notFoundPath()
	}
	switch {
	case method == http.MethodGet:
		return s.serveGet, nil
	case method == http.MethodPut && info.Serves("update"):
		return s.serveUpdate, nil
	case method == http.MethodPatch && info.Serves("patch"):
		return s.servePatch, nil
	case method == http.MethodDelete && info.Serves("delete"):
		return s.serveDelete, nil
	}
	return nil, methodNotAllowed()
}

func (s *Server) watchPathVerb(t *target, rt *route, method string) (verbHandler, error) {
	switch {
	case !rt.info.Serves("watch") || t.subresource != "":
		return nil, notFoundPath()
	case method != http.MethodGet:
		return nil, methodNotAllowed()
	}
	return s.serveList, nil
}

// subresourceVerb is the verb of a whole-object subresource, of scale, or of an action.
func (s *Server) subresourceVerb(t *target, rt *route, method string) (verbHandler, error) {
	verb := verbOf(method)
	if method == http.MethodHead {
		verb = ""
	}
	if rt.info.Scale != nil && t.subresource == "scale" && t.rest == "" {
		return choose(verb, []string{"get", "patch", "update"}, map[string]verbHandler{
			"get": s.serveGetScale, "update": s.serveUpdateScale, "patch": s.servePatch})
	}
	if p, ok := rt.info.Part(t.subresource); ok && t.rest == "" {
		return choose(verb, p.Verbs, map[string]verbHandler{"get": s.serveGet, "update": s.serveUpdate, "patch": s.servePatch})
	}
	for _, a := range rt.info.Actions {
		if a.Name == t.subresource && (t.rest == "" || a.Name == "proxy") {
			if a.Name == "proxy" {
				return s.serveAction, nil
			}
			return choose(verb, a.Verbs, map[string]verbHandler{"get": s.serveAction, "create": s.serveAction})
		}
	}
	return nil, notFoundPath()
}

func choose(verb string, served []string, handlers map[string]verbHandler) (verbHandler, error) {
	for _, v := range served {
		if v == verb && handlers[verb] != nil {
			return handlers[verb], nil
		}
	}
	return nil, methodNotAllowed()
}
