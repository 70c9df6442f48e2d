package apiserver

import (
	"compress/gzip"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/wheelhouse-k8s/wheelhouse/codec"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// compressFrom is the size from which answers are compressed for clients that ask for it.
const compressFrom = 128 << 10

var statusKind = schema.GroupVersionKind{Version: "v1", Kind: "Status"}

// answers are the buffers in which answers of one object are built.
var answers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

const answerMax = 256 << 10

// fail answers with the error's Status.
func (x *exchange) fail(err error) {
	status := statusOf(err)
	media, _ := codec.Negotiate(x.r.Header.Get("Accept"))
	media.Form = codec.Whole
	media.Pretty = media.Pretty || x.wantsPretty()
	body, err := codec.AppendObject(nil, media, status, statusKind)
	if err != nil {
		http.Error(x, err.Error(), http.StatusInternalServerError)
		return
	}
	h := x.Header()
	if d := status.Details; d != nil && d.RetryAfterSeconds > 0 && h.Get("Retry-After") == "" {
		h.Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	h.Set("Content-Type", media.Format.ContentType())
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.WriteHeader(int(status.Code))
	if x.r.Method != http.MethodHead {
		_, _ = x.Write(body) // the client has gone if this fails
	}
}

// reply writes the answer to a request of a resource.
func (x *exchange) reply(rt *route, resp *Response) {
	x.warn(resp.Warnings)
	switch {
	case resp.Item != nil:
		x.replyItem(rt, resp)
	case resp.List != nil:
		x.replyList(rt, resp)
	default:
		x.replyObject(resp)
	}
}

func (x *exchange) replyItem(rt *route, resp *Response) {
	include, err := x.includeObject()
	if err != nil {
		x.fail(err)
		return
	}
	p := answers.Get().(*[]byte)
	body, err := rt.codec.AppendItem((*p)[:0], x.media, resp.Item, include)
	if err != nil {
		x.fail(err)
		return
	}
	if x.send(resp.Code, body) == nil && cap(body) <= answerMax {
		*p = body
		answers.Put(p)
	}
}

func (x *exchange) replyObject(resp *Response) {
	gvk := resp.GVK
	if gvk.Kind == "" {
		gvk = statusKind
	}
	media := x.media
	if media.Form != codec.Whole {
		if gvk != statusKind {
			x.fail(notAcceptable(codec.Supported))
			return
		}
		media.Form = codec.Whole
	}
	body, err := codec.AppendObject(nil, media, resp.Object, gvk)
	if err != nil {
		x.fail(err)
		return
	}
	_ = x.send(resp.Code, body) // the client has gone if this fails
}

// send writes an answer whose bytes are all there. After an error, which means that the client has gone, the connection may
// still be reading them: they must not be used again.
func (x *exchange) send(code int, body []byte) error {
	h := x.Header()
	h["Content-Type"] = contentType[x.media.Format]
	if len(body) >= compressFrom && x.acceptsGzip() {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		x.WriteHeader(code)
		z := compressors.Get().(*gzip.Writer)
		z.Reset(x)
		_, err := z.Write(body)
		err = errors.Join(err, z.Close())
		compressors.Put(z)
		return err
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.WriteHeader(code)
	_, err := x.Write(body)
	return err
}

// contentType holds ready header values; they are shared and never changed.
var contentType = map[codec.Format][]string{
	codec.JSON:     {codec.JSON.ContentType()},
	codec.YAML:     {codec.YAML.ContentType()},
	codec.Protobuf: {codec.Protobuf.ContentType()},
}

// compressors use the fastest level: the network is seldom slower than that.
var compressors = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	return z
}}

func (x *exchange) replyList(rt *route, resp *Response) {
	include, err := x.includeObject()
	if err != nil {
		x.fail(err)
		return
	}
	if x.media.Form == codec.Partial {
		x.fail(notAcceptable(codec.Supported))
		return
	}
	l := codec.List[*registry.Item]{Kind: rt.codec, Items: resp.List.Items, Include: include, Meta: metav1.ListMeta{
		Continue: resp.List.Continue, RemainingItemCount: resp.List.Remaining}}
	if resp.List.Revision > 0 { // what is computed has none
		l.Meta.ResourceVersion = strconv.FormatInt(resp.List.Revision, 10)
	}
	w := &listWriter{x: x, code: resp.Code, gzip: x.acceptsGzip()}
	if size := l.Size(x.media); size >= 0 {
		w.gzip = w.gzip && size >= compressFrom
		if !w.gzip {
			x.Header()["Content-Length"] = []string{strconv.Itoa(size)}
		}
		w.sized = true
	}
	x.Header()["Content-Type"] = contentType[x.media.Format]
	if err := l.Write(w, x.media); err != nil {
		if x.code == 0 {
			x.Header().Del("Content-Length")
			x.fail(err)
			return
		}
		// The answer is broken in the middle; only the end of the connection tells the client.
		panic(http.ErrAbortHandler)
	}
	w.close()
}

// listWriter decides when the first part of a list is there whether the whole is compressed.
type listWriter struct {
	x    *exchange
	code int
	// gzip: the client would like it; sized: the list is surely large enough.
	gzip, sized bool
	held        []byte
	z           *gzip.Writer
}

func (w *listWriter) Write(b []byte) (int, error) {
	switch {
	case w.z != nil:
		return w.z.Write(b)
	case w.x.code != 0:
		return w.x.Write(b)
	case !w.gzip:
		w.x.WriteHeader(w.code)
		return w.x.Write(b)
	case !w.sized && len(w.held)+len(b) < compressFrom:
		w.held = append(w.held, b...)
		return len(b), nil
	}
	h := w.x.Header()
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	w.x.WriteHeader(w.code)
	w.z = compressors.Get().(*gzip.Writer)
	w.z.Reset(w.x)
	if _, err := w.z.Write(w.held); err != nil {
		return 0, err
	}
	return w.z.Write(b)
}

func (w *listWriter) close() {
	switch {
	case w.z != nil:
		_ = w.z.Close() // the client has gone if this fails
		compressors.Put(w.z)
	case w.x.code == 0:
		_ = w.x.send(w.code, w.held) // the client has gone if this fails
	}
}

// warn adds Warning headers; many or long warnings are cut, as upstream does.
func (x *exchange) warn(texts []string) {
	const most, mostEach = 4 << 10, 256
	total := 0
	for _, t := range texts {
		total += utf8.RuneCountInString(t)
	}
	written := 0
	for _, t := range texts {
		if n := utf8.RuneCountInString(t); total > most && n > mostEach {
			t = string([]rune(t)[:mostEach])
		}
		if written += utf8.RuneCountInString(t); written > 4*most {
			return
		}
		if header, err := utilnet.NewWarningHeader(299, "-", t); err == nil {
			x.Header().Add("Warning", header)
		}
	}
}

func (x *exchange) acceptsGzip() bool {
	for _, v := range x.r.Header["Accept-Encoding"] {
		for part := range strings.SplitSeq(v, ",") {
			name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
			if name == "gzip" && strings.ReplaceAll(q, " ", "") != "q=0" {
				return true
			}
		}
	}
	return false
}

// wantsPretty tells whether a person reads the answer.
func (x *exchange) wantsPretty() bool {
	if v, ok := x.values()["pretty"]; ok && len(v) > 0 && v[0] != "" {
		pretty, _ := strconv.ParseBool(v[0])
		return pretty
	}
	agent := x.r.Header.Get("User-Agent")
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// observation is what is told of the exchange.
func (x *exchange) observation(took time.Duration) Observation {
	t := &x.target
	o := Observation{Verb: string(t.verb), Group: t.group, Version: t.version, Resource: t.resource, Subresource: t.subresource, Path: t.path,
		Code: x.code, Bytes: x.bytes, DryRun: x.dryRun, Duration: took, LongRunning: t.isLongRunning()}
	switch {
	case !t.resourceRequest:
	case t.name != "":
		o.Scope = "resource"
	case t.namespace != "":
		o.Scope = "namespace"
	default:
		o.Scope = "cluster"
	}
	if o.Code == 0 {
		o.Code = http.StatusOK
	}
	return o
}
