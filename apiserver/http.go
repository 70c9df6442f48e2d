package apiserver

import (
	"bytes"
	"io"
	"net/http"
	"sort"
	"strings"
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
	if x.tooLong = tooLong(r); x.tooLong == nil {
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
		if rt := s.routes.Get().find(t.group, t.version, t.resource); rt != nil {
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
	return n > 0 && parts[0] == "api" || n > 1 && parts[0] == "apis" && parts[1] != "" && s.routes.Get().groups[parts[1]]
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
	for _, p := range t.prefixes {
		if strings.HasPrefix(path, p.Pattern) && (p.Has == nil || p.Has(path)) {
			return p, true
		}
	}
	return Path{}, false
}
