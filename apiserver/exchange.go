package apiserver

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/codec"
)

// exchange is one HTTP request on its way through the pipeline, and what has been answered to it.
type exchange struct {
	answerWriter
	held
	r *http.Request
	// visitor is the connection; nil when it is not one of this server's.
	visitor *visitor
	ctx     context.Context
	target  target
	user    user.Info
	media   codec.Media
	start   time.Time
	query   url.Values
	parsed  bool
	dryRun  bool
	// tooLong: the request is refused before anything else is made of it.
	tooLong error
	// arrived: the body has been read to its end; whole is the body of what no verb reads.
	arrived bool
	whole   []byte
	// size of the body, or of what a patch changes if that is larger.
	size int
}

// values is the parsed query; nil if there is none.
func (x *exchange) values() url.Values {
	if !x.parsed {
		x.parsed = true
		if x.r.URL.RawQuery != "" {
			x.query = x.r.URL.Query()
		}
	}
	return x.query
}

// answerWriter counts what is answered.
type answerWriter struct {
	http.ResponseWriter
	code  int
	bytes int64
	// before is called once before anything is answered; may be nil.
	before func(code int)
}

func (w *answerWriter) WriteHeader(code int) {
	if w.code == 0 {
		w.begin(code)
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *answerWriter) begin(code int) {
	w.code = code
	if w.before != nil {
		w.before(code)
	}
}

func (w *answerWriter) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.begin(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Flush sends what has been written.
func (w *answerWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// warnings collects what a Warning header says. Admission may add to it from several goroutines.
type warnings struct {
	mu    sync.Mutex // guards all below
	texts []string
	seen  map[string]bool
}

// AddWarning is for the libraries that find the recorder in a context.
func (w *warnings) AddWarning(_, text string) { w.add(text) }

func (w *warnings) add(texts ...string) {
	if len(texts) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	for _, t := range texts {
		if t != "" && !w.seen[t] {
			w.seen[t] = true
			w.texts = append(w.texts, t)
		}
	}
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.texts
}
