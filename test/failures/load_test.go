package failures

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/test/failures/history"
	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

const (
	// loadClients write and read at the same time.
	loadClients = 6
	// loadPause is what a client waits between two operations: enough for the masters to be busy, and for a search of
	// the history to end.
	loadPause = 10 * time.Millisecond
	// loadTimeout is how long a client waits for an answer.
	loadTimeout = 2 * time.Second
	// liveNames is how many objects are worked on at a time. A name is given up after so many operations, or so many
	// without an answer, since both make the search longer.
	liveNames, opsPerName, unknownPerName = 6, 60, 5
	// loadLabel marks the objects of the load; its value is the load's number.
	loadLabel = "load"
)

// loads counts those that were ever started, so that each has objects of its own.
var loads atomic.Int32

// load is clients that write and read single objects at random masters, and clients that watch.
type load struct {
	t        *testing.T
	number   int32
	masters  *process.Masters
	recorder *history.Recorder
	watchers []*follower
	cancel   context.CancelFunc
	enough   atomic.Bool // for writers
	writing  sync.WaitGroup
	watching sync.WaitGroup

	mu sync.Mutex // guards what follows
	// endpoints are the masters that are asked.
	endpoints []*endpoint
	names     [liveNames]liveName
	generated int
	serial    int
	failed    error
}

// endpoint is one master as clients see it.
type endpoint struct {
	name, url string
	http      *http.Client
	config    *rest.Config
	// label of the objects of the load.
	label string
	// silent is when a request last got no answer, in nanoseconds since 1970.
	silent atomic.Int64
}

// shunned is for how long clients mostly ask other masters than one that did not answer.
const shunned = 2 * time.Second

// liveName is an object that is worked on.
type liveName struct {
	name         string
	ops, unknown int
	// revision that somebody was told last.
	revision int64
}

// startLoad begins to watch and then to write.
func startLoad(t *testing.T, masters *process.Masters) *load {
	t.Helper()
	l := &load{t: t, number: loads.Add(1), masters: masters, recorder: history.NewRecorder()}
	for i := range l.names {
		l.renew(&l.names[i])
	}
	for _, m := range masters.Living() {
		l.ask(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	t.Cleanup(l.logs)
	t.Cleanup(l.abandon)
	for i := range watchersOfLoad {
		f := newFollower(l, i)
		l.watchers = append(l.watchers, f)
		f.list(ctx)
	}
	for _, f := range l.watchers {
		l.watching.Go(func() { f.run(ctx) })
	}
	for i := range loadClients {
		random := rand.New(rand.NewSource(*seed + int64(i)))
		l.writing.Go(func() {
			for ctx.Err() == nil && !l.enough.Load() {
				l.operate(ctx, i, random)
				time.Sleep(loadPause)
			}
		})
	}
	return l
}

// abandon ends all clients.
func (l *load) abandon() {
	l.cancel()
	l.writing.Wait()
	l.watching.Wait()
}

// ask adds a master to those that clients ask.
func (l *load) ask(m *process.Master) {
	config, err := m.Config()
	if err != nil {
		l.t.Fatal(err)
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.Dial = (&net.Dialer{Timeout: loadTimeout}).DialContext // connections of its own
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endpoints = append(l.endpoints, &endpoint{name: m.Host.Name, url: m.URL(), http: client, config: config, label: fmt.Sprint(l.number)})
}

// forget takes a master from those that clients ask.
func (l *load) forget(m *process.Master) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range l.endpoints {
		if e.name == m.Host.Name {
			l.endpoints = append(append([]*endpoint(nil), l.endpoints[:i]...), l.endpoints[i+1:]...)
			return
		}
	}
}

// any gives a master to ask.
func (l *load) any(random *rand.Rand) *endpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.endpoints[random.Intn(len(l.endpoints))]
	if time.Since(time.Unix(0, e.silent.Load())) < shunned && random.Intn(10) > 0 {
		e = l.endpoints[random.Intn(len(l.endpoints))]
	}
	return e
}

func (l *load) renew(n *liveName) {
	l.generated++
	*n = liveName{name: fmt.Sprintf("object-%d-%d", l.number, l.generated)}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
}

// err is the first thing that went wrong while the load ran.
func (l *load) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// choose makes up the next operation of a client.
func (l *load) choose(client int, random *rand.Rand) (history.Op, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slot := random.Intn(liveNames)
	n := &l.names[slot]
	if n.ops >= opsPerName || n.unknown >= unknownPerName {
		l.renew(n)
	}
	n.ops++
	l.serial++
	o := history.Op{Client: client, Name: n.name}
	expect := int64(0)
	if random.Intn(4) > 0 {
		expect = n.revision
	}
	switch what := random.Intn(10); {
	case what < 3:
		o.Kind = history.Get
	case n.revision == 0 || what == 3:
		o.Kind, o.Value = history.Create, fmt.Sprintf("v%d", l.serial)
	case what == 4:
		o.Kind, o.Expect = history.Delete, expect
	default:
		o.Kind, o.Value, o.Expect = history.Update, fmt.Sprintf("v%d", l.serial), expect
	}
	return o, slot
}

// learn keeps what an operation told.
func (l *load) learn(o history.Op, slot int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := &l.names[slot]
	switch {
	case n.name != o.Name:
	case o.Outcome == history.Unknown:
		n.unknown++
	case o.Outcome == history.Absent, o.Outcome == history.Done && o.Kind == history.Delete:
		n.revision = 0
	case o.Revision != 0:
		n.revision = o.Revision
	}
}

// operate does one operation at one master and records it.
func (l *load) operate(ctx context.Context, client int, random *rand.Rand) {
	o, slot := l.choose(client, random)
	e := l.any(random)
	o.At = e.name
	o.Call = l.recorder.Now()
	happened, err := e.do(ctx, &o)
	o.Return = l.recorder.Now()
	if err != nil {
		l.fail(fmt.Errorf("%s: %w", o, err))
	}
	if happened {
		l.recorder.Add(o)
	}
	l.learn(o, slot)
}

const objects = "/api/v1/namespaces/default/configmaps"

// do asks a master and fills in the outcome. It is false if the operation has surely not happened and tells nothing; an
// error is an answer that no operation of the load should get.
func (e *endpoint) do(ctx context.Context, o *history.Op) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	path, method, body := objects+"/"+o.Name, "", any(nil)
	switch o.Kind {
	case history.Get:
		method = http.MethodGet
	case history.Create:
		path, method, body = objects, http.MethodPost, labelled(o.Name, o.Value, e.label, 0)
	case history.Update:
		method, body = http.MethodPut, labelled(o.Name, o.Value, e.label, o.Expect)
	case history.Delete:
		method = http.MethodDelete
		if o.Expect != 0 {
			revision := strconv.FormatInt(o.Expect, 10)
			body = metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}, Preconditions: &metav1.Preconditions{ResourceVersion: &revision}}
		}
	}
	code, answer, err := e.call(ctx, method, path, body)
	o.Outcome = history.Unknown
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return false, nil
	case err != nil:
		e.silent.Store(time.Now().UnixNano())
		return true, nil
	}
	var got struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Data     map[string]string `json:"data"`
		Reason   metav1.StatusReason
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return true, fmt.Errorf("the answer %d is no JSON: %w: %q", code, err, answer)
	}
	switch {
	case code == http.StatusOK || code == http.StatusCreated:
		o.Outcome = history.Done
		if o.Kind == history.Delete {
			return true, nil
		}
		o.Revision, err = strconv.ParseInt(got.Metadata.ResourceVersion, 10, 64)
		if written := got.Data["value"]; o.Kind == history.Get {
			o.Value = written
		} else if err == nil && written != o.Value {
			err = fmt.Errorf("the answer has the value %q", written)
		}
		return true, err
	case code == http.StatusNotFound && got.Reason == metav1.StatusReasonNotFound:
		o.Outcome = history.Absent
	case code == http.StatusConflict && got.Reason == metav1.StatusReasonAlreadyExists:
		o.Outcome = history.Exists
	case code == http.StatusConflict && got.Reason == metav1.StatusReasonConflict:
		o.Outcome = history.Conflict
	case code == http.StatusTooManyRequests:
		return false, nil
	case code >= 500: // whether it has happened is not known
	default:
		return true, fmt.Errorf("the answer was %d: %s", code, answer)
	}
	return true, nil
}

// labelled is an object of the load; revision 0 replaces whatever is there.
func labelled(name, value, label string, revision int64) *corev1.ConfigMap {
	c := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{loadLabel: label}},
		Data:       map[string]string{"value": value},
	}
	if revision != 0 {
		c.ResourceVersion = strconv.FormatInt(revision, 10)
	}
	return c
}

func (e *endpoint) call(ctx context.Context, method, path string, body any) (int, []byte, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, e.url+path, content)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	response, err := e.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// progress waits until so many further writes are acknowledged.
func (l *load) progress(writes int) {
	l.t.Helper()
	goal := l.recorder.Acknowledged() + writes
	eventually(l.t, "progress of the load", func() error {
		if n := l.recorder.Acknowledged(); n < goal {
			return fmt.Errorf("%d of %d writes", n, goal)
		}
		return l.err()
	})
}

// finish ends the writers, lists, makes a last write, waits until every watcher has seen it, and ends the watchers. It
// returns the list.
func (l *load) finish() history.Segment {
	l.t.Helper()
	l.enough.Store(true)
	l.writing.Wait()
	ctx, random := context.Background(), rand.New(rand.NewSource(*seed))
	var final history.Segment
	eventually(l.t, "a last list", func() (err error) {
		final.Items, final.Revision, err = l.any(random).items(ctx)
		return err
	})
	marker := history.Op{Kind: history.Create}
	eventually(l.t, "a last write", func() error {
		l.serial++
		marker.Name, marker.Value, marker.Call = fmt.Sprintf("end-%d-%d", l.number, l.serial), fmt.Sprintf("v%d", l.serial), l.recorder.Now()
		e := l.any(random)
		marker.At = e.name
		if happened, err := e.do(ctx, &marker); err != nil || !happened {
			return fmt.Errorf("%s: %v", marker, err)
		}
		marker.Return = l.recorder.Now()
		l.recorder.Add(marker)
		if marker.Outcome != history.Done {
			return errors.New(marker.String())
		}
		return nil
	})
	for _, f := range l.watchers {
		eventually(l.t, "the last event of "+f.watch.Name, func() error {
			if at := f.reached(); at < marker.Revision {
				return fmt.Errorf("it is at revision %d, the last write at %d", at, marker.Revision)
			}
			return nil
		})
	}
	l.abandon()
	return final
}

// verify ends the load and judges its history.
func (l *load) verify() {
	l.t.Helper()
	final := l.finish()
	if err := l.err(); err != nil {
		l.t.Error(err)
	}
	ops := l.recorder.Ops()
	begun := time.Now()
	if err := history.CheckObjects(ops, patience); err != nil {
		l.t.Errorf("%.6000s", err)
	}
	var watches []*history.Watch
	connections, relists := 0, 0
	for _, f := range l.watchers {
		watches = append(watches, f.watch)
		connections += f.opened
		relists += len(f.watch.Segments) - 1
	}
	if err := history.CheckWatches(watches, ops, final); err != nil {
		l.t.Errorf("%.6000s", err)
	}
	l.t.Logf("%d operations, %d writes acknowledged, %d without an answer, %d watch connections, %d lists after 410, judged in %s",
		len(ops), l.recorder.Acknowledged(), l.recorder.Count(history.Unknown), connections, relists, time.Since(begun).Round(time.Millisecond))
}

// logs shows what the masters said when something was wrong.
func (l *load) logs() {
	if !l.t.Failed() {
		return
	}
	for _, m := range l.masters.All {
		l.t.Logf("%s:\n%s", m.Host.Name, tail(m.Log.String()))
	}
}

func tail(log string) string {
	const most = 6000
	if len(log) > most {
		log = "…" + log[strings.IndexByte(log[len(log)-most:], '\n')+len(log)-most:]
	}
	return log
}
