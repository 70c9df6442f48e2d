package apiserver

import (
	"context"
	"net/http"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec"
)

// endpoint is one row of the table of what is served: what one verb of one resource, or of one of its subresources, does. A request
// over HTTP and a call in the process find the same row.
type endpoint struct {
	// decode reads from an HTTP request what the verb needs besides names and user; nil if it needs nothing.
	decode func(x *exchange, c *call) error
	// do gives the answer, however the request came; nil if there is one over HTTP only.
	do func(c *call, ctx context.Context) (*Response, error)
	// stream writes over HTTP what is no single answer: events, or a connection. nil: what do gives is written.
	stream func(x *exchange, c *call)
}

// endpoints are the rows of a resource or of a subresource.
type endpoints struct {
	rows map[kind.Verb]*endpoint
	// all answers every method, and every path below: a proxy. nil for all others.
	all *endpoint
}

func (e *endpoints) set(v kind.Verb, row endpoint) {
	if e.rows == nil {
		e.rows = map[kind.Verb]*endpoint{}
	}
	e.rows[v] = &row
}

func (e *endpoints) find(v kind.Verb) (*endpoint, error) {
	if row := e.rows[v]; row != nil {
		return row, nil
	}
	if e.all != nil {
		return e.all, nil
	}
	return nil, methodNotAllowed()
}

// The rows of what is kept, by verb.
var stored = map[kind.Verb]endpoint{
	kind.Get:              {decode: readGet, do: (*call).get},
	kind.List:             {decode: readList, do: (*call).list},
	kind.Watch:            {decode: readWatch, do: (*call).watch, stream: streamWatch},
	kind.Create:           {decode: readCreate, do: (*call).create},
	kind.Update:           {decode: readUpdate, do: (*call).update},
	kind.Patch:            {decode: readPatch, do: (*call).patch},
	kind.Delete:           {decode: readDelete, do: (*call).delete},
	kind.DeleteCollection: {decode: readDeleteCollection, do: (*call).deleteCollection},
}

// The rows of the scale subresource.
var scales = map[kind.Verb]endpoint{
	kind.Get:    {do: (*call).getScale},
	kind.Update: {decode: readScale, do: (*call).updateScale},
	kind.Patch:  {decode: readPatch, do: (*call).patchScale},
}

// tabulate gives a resource its rows: its own under the empty name, those of its subresources under theirs.
func (s *Server) tabulate(rt *route) {
	rt.table = map[string]*endpoints{"": s.ownRows(rt)}
	for _, a := range rt.info.Actions {
		rt.table[a.Name] = actionRows(rt.info, a)
	}
	if rt.resource == nil {
		return // no object has parts
	}
	for _, p := range rt.info.Parts {
		rows := &endpoints{}
		for _, v := range p.Verbs {
			rows.set(v, stored[v])
		}
		rt.table[p.Name] = rows
	}
	if rt.info.Scale != nil {
		rt.table["scale"] = &endpoints{}
		for v, row := range scales {
			rt.table["scale"].set(v, row)
		}
	}
}

// ownRows are those of the resource itself: of a kind that is kept, that is computed, or whose objects are only answered to.
func (s *Server) ownRows(rt *route) *endpoints {
	rows := &endpoints{}
	computed := s.Computed[rt.gvr.GroupResource()]
	for _, v := range rt.info.Verbs {
		switch a := actionFor(rt.info, ""); {
		case a != nil && v == kind.Create:
			rows.set(v, a.row())
		case computed != nil && v == kind.Get:
			rows.set(v, endpoint{decode: readGet, do: computed.get})
		case computed != nil && v == kind.List:
			rows.set(v, endpoint{decode: readList, do: computed.list})
		case rt.resource != nil:
			rows.set(v, stored[v])
		case s.Reviewer != nil && v == kind.Create:
			rows.set(v, endpoint{decode: readCreate, do: (*call).review})
		}
	}
	return rows
}

// actionRows are those of a subresource with a body of its own, or of one that leads to a node, a pod or a service.
func actionRows(info *kind.Kind, sub kind.Action) *endpoints {
	row := endpoint{stream: connect}
	if a := actionFor(info, sub.Name); a != nil {
		row = a.row()
	}
	if sub.Name == "proxy" {
		return &endpoints{all: &row}
	}
	rows := &endpoints{}
	for _, v := range sub.Verbs {
		rows.set(v, row)
	}
	return rows
}

// locate finds the row that a path and a method speak of, or tells why there is none: 404 for a path that does not exist, 405 for a
// method that the path does not have.
func (rt *route) locate(t *target, method string) (*endpoint, error) {
	info := rt.info
	inNamespace := t.namespace != "" && !info.IsNamespace
	switch {
	case t.byPath && t.name == "": // "pods//status" names no pod
		return nil, notFoundPath()
	case inNamespace && !info.Namespaced, info.IsNamespace && t.namespace != "" && t.namespace != t.name:
		return nil, notFoundPath()
	case info.Namespaced && !inNamespace && (t.byPath || !info.Serves(kind.List)):
		return nil, notFoundPath()
	case info.Namespaced && !inNamespace && method != http.MethodGet:
		return nil, methodNotAllowed()
	case t.watchPath && (!info.Serves(kind.Watch) || t.subresource != ""):
		return nil, notFoundPath()
	case t.watchPath && method != http.MethodGet:
		return nil, methodNotAllowed()
	case t.proxyPath:
		return nil, notFoundPath()
	}
	rows := rt.table[t.subresource]
	switch {
	case rows == nil, t.rest != "" && rows.all == nil:
		return nil, notFoundPath()
	case t.subresource == "" && t.byPath && !t.watchPath && !info.Serves(kind.Get):
		return nil, notFoundPath()
	case t.subresource == "" && t.byPath == t.verb.OfCollection() && !t.watchPath:
		return nil, methodNotAllowed() // what is done to one object is not done to a collection, nor the other way round
	case method == http.MethodHead && rows.all == nil:
		return nil, methodNotAllowed()
	}
	return rows.find(t.verb)
}

// bodyOf is the kind of what a subresource's requests hold: the whole object, a scale, or what each of them says itself.
func (rt *route) bodyOf(subresource string) *kind.Kind {
	if _, part := rt.info.Part(subresource); subresource == "" || part {
		return rt.info
	}
	return scaleKind
}

// serveResource judges path and method, reads the request, and answers it.
func (s *Server) serveResource(x *exchange, rt *route) {
	row, err := rt.locate(&x.target, x.r.Method)
	if err != nil {
		x.fail(err)
		return
	}
	body := rt.bodyOf(x.target.subresource)
	media, ok := codec.NegotiateFor(body, x.r.Header.Get("Accept"))
	if !ok {
		x.fail(notAcceptable(codec.SupportedBy(body)))
		return
	}
	x.media = media
	x.media.Pretty = media.Pretty || x.wantsPretty()
	c := &call{Request: x.request(rt), s: s, rt: rt, row: row, warn: &warnings{}}
	if row.decode != nil {
		if err := row.decode(x, c); err != nil {
			x.fail(err)
			return
		}
	}
	if row.stream != nil {
		row.stream(x, c)
		return
	}
	x.run(c)
}
