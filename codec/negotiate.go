package codec

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/munnerz/goautoneg"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Form is the shape that a client asks for.
type Form uint8

// The forms.
const (
	// Whole is the object or list itself.
	Whole Form = iota
	// Table is rows of cells, as kubectl get prints them.
	Table
	// Partial is metadata only.
	Partial
	// PartialList is a list of metadata only.
	PartialList
)

// Media is what the client wants to get.
type Media struct {
	Format Format
	Form   Form
	// Version of meta.k8s.io in which Table and the partial forms are written: v1 or v1beta1.
	Version string
	Pretty  bool
}

// NegotiateFor chooses for objects of a kind: whole trees have no protobuf, though their metadata has.
func NegotiateFor(k *kind.Kind, accept string) (Media, bool) {
	m, ok := Negotiate(accept)
	if k.Form == kind.Tree && ok && m.Format == Protobuf && m.Form == Whole {
		return negotiate(accept, true)
	}
	return m, ok
}

// Negotiate chooses by an Accept header; false means that nothing which the client accepts can be given.
func Negotiate(accept string) (Media, bool) {
	switch accept {
	case "", "*/*", "application/json", "application/json, */*":
		return Media{}, true
	case "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json",
		"application/vnd.kubernetes.protobuf, application/json":
		return Media{Format: Protobuf}, true
	}
	if found, ok := negotiated.Load(accept); ok {
		r := found.(result)
		return r.media, r.ok
	}
	m, ok := negotiate(accept, false)
	// The bound keeps clients that send a new header each time from filling the memory.
	if len(accept) < 512 && negotiatedLen.Load() < 256 {
		if _, loaded := negotiated.LoadOrStore(accept, result{m, ok}); !loaded {
			negotiatedLen.Add(1)
		}
	}
	return m, ok
}

type result struct {
	media Media
	ok    bool
}

var (
	negotiated    sync.Map
	negotiatedLen atomic.Int32
)

func negotiate(accept string, tree bool) (Media, bool) {
	if !named(accept) {
		return Media{}, false
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		for f, name := range contentTypes {
			if !matches(clause, name) {
				continue
			}
			if m, ok := accepts(clause.Params, Format(f)); ok && !(tree && m.Format == Protobuf && m.Form == Whole) {
				return m, true
			}
		}
	}
	return Media{}, false
}

// named tells whether one of the media types stands in the header by its full name, or "*/*" does: upstream's router asks
// this before it negotiates, so a lone "application/*" is not acceptable.
func named(accept string) bool {
	for _, part := range strings.Split(accept, ",") {
		part, _, _ = strings.Cut(part, ";")
		part = strings.TrimSpace(part)
		if part == "*/*" {
			return true
		}
		for _, name := range contentTypes {
			if part == name {
				return true
			}
		}
	}
	return false
}

func matches(c goautoneg.Accept, name string) bool {
	t, sub, _ := strings.Cut(name, "/")
	return (c.Type == "*" || c.Type == t) && (c.SubType == "*" || c.SubType == sub)
}

// accepts reads the parameters of one clause; false when they ask for what cannot be given.
func accepts(params map[string]string, f Format) (Media, bool) {
	m := Media{Format: f}
	var as, group, version string
	for k, v := range params {
		switch k {
		case "as":
			as = v
		case "g":
			group = v
		case "v":
			version = v
		case "pretty":
			m.Pretty = v == "1"
		case "stream":
			if v != "watch" {
				return m, false
			}
		case "sv":
			return m, false
		}
	}
	if as == "" && group == "" && version == "" {
		return m, true
	}
	if group != "meta.k8s.io" || version != "v1" && version != "v1beta1" {
		return m, false
	}
	m.Version = version
	switch as {
	case "Table":
		m.Form = Table
		return m, f != Protobuf
	case "PartialObjectMetadata":
		m.Form = Partial
	case "PartialObjectMetadataList":
		m.Form = PartialList
	default:
		return m, false
	}
	return m, true
}
