package client

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"weak"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

const (
	protobuf = "application/vnd.kubernetes.protobuf"
	jsonType = "application/json"
)

// optionsVersion is that in which the options of lists and watches are written, whatever is listed.
var optionsVersion = schema.GroupVersion{Version: "v1"}

// remote is the Transport to an API server over HTTP: any conformant one, with one identity, protobuf and no rate limit.
type remote struct {
	ctx        context.Context
	cfg        *rest.Config
	connection *http.Client

	mu      sync.Mutex                     // guards what follows
	clients map[clientKey]*rest.RESTClient // made when they are needed: kinds may come at any time
	mirrors map[*kind.Kind]*mirror
	// current is how each resource was defined when it was named last. former are the definitions that others have replaced, as long as
	// anybody has them: who is late to learn of it must not begin their views again.
	current map[schema.GroupVersionResource]*kind.Kind
	former  map[weak.Pointer[kind.Kind]]struct{}
}

// clientKey says for which kinds a client serves: those of a group and version or, of trees, one alone.
type clientKey struct {
	version schema.GroupVersion
	tree    *kind.Kind
}

// HTTP is a transport to the API server of cfg. A kind's view begins with its first use and is kept current by one watch until
// ctx ends.
func HTTP(ctx context.Context, cfg *rest.Config) (Transport, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst, cfg.RateLimiter = -1, 0, nil
	cfg.ContentType = protobuf
	cfg.AcceptContentTypes = protobuf + "," + jsonType
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	if cfg.UserAgent == "" {
		cfg.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	connection, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", cfg.Host, err)
	}
	return &remote{
		ctx: ctx, cfg: cfg, connection: connection, clients: map[clientKey]*rest.RESTClient{}, mirrors: map[*kind.Kind]*mirror{},
		current: map[schema.GroupVersionResource]*kind.Kind{}, former: map[weak.Pointer[kind.Kind]]struct{}{},
	}, nil
}

// replaced tells whether another definition has taken the place of this one. If it is new, it takes the place of what there was, of which
// nothing stays. It is called with mu held.
func (t *remote) replaced(k *kind.Kind) bool {
	if _, gone := t.former[weak.Make(k)]; gone {
		return true
	}
	before := t.current[k.GVR()]
	if before == k {
		return false
	}
	t.current[k.GVR()] = k
	if before == nil {
		return false
	}
	maps.DeleteFunc(t.former, func(p weak.Pointer[kind.Kind], _ struct{}) bool { return p.Value() == nil })
	t.former[weak.Make(before)] = struct{}{}
	if m := t.mirrors[before]; m != nil {
		m.end()
		delete(t.mirrors, before)
	}
	delete(t.clients, keyOf(before))
	return false
}

func keyOf(k *kind.Kind) clientKey {
	key := clientKey{version: k.GVK.GroupVersion()}
	if k.Form == kind.Tree {
		key.tree = k
	}
	return key
}

// client is called with mu held.
func (t *remote) client(k *kind.Kind) (*rest.RESTClient, error) {
	key, replaced := keyOf(k), t.replaced(k)
	if c := t.clients[key]; c != nil {
		return c, nil
	}
	cfg := rest.CopyConfig(t.cfg)
	cfg.GroupVersion, cfg.APIPath = &key.version, "/apis"
	if key.version.Group == "" {
		cfg.APIPath = "/api"
	}
	if key.tree != nil {
		cfg.ContentType, cfg.AcceptContentTypes, cfg.NegotiatedSerializer = jsonType, jsonType, trees{k}
	}
	c, err := rest.RESTClientForConfigAndClient(cfg, t.connection)
	if err != nil {
		return nil, fmt.Errorf("cannot reach %s of %s: %w", key.version, cfg.Host, err)
	}
	if key.tree == nil || !replaced {
		t.clients[key] = c
	}
	return c, nil
}

func (t *remote) Do(ctx context.Context, r Request) (runtime.Object, error) {
	q, err := t.request(r)
	if err != nil {
		return nil, err
	}
	obj, err := q.Do(ctx).Get()
	if err != nil {
		return nil, err
	}
	// Noted before the writer knows of its write: when it asks to wait for it, the view knows what to wait for.
	if o, ok := obj.(kind.Object); ok && !r.Verb.Reads() {
		t.await(r.Kind, o)
	}
	return obj, nil
}

// methods are the HTTP methods of the verbs.
var methods = map[kind.Verb]string{
	kind.Get: http.MethodGet, kind.List: http.MethodGet, kind.Create: http.MethodPost, kind.Update: http.MethodPut, kind.Patch: http.MethodPatch,
	kind.Delete: http.MethodDelete, kind.DeleteCollection: http.MethodDelete,
}

func (t *remote) request(r Request) (*rest.Request, error) {
	t.mu.Lock()
	c, err := t.client(r.Kind)
	t.mu.Unlock()
	if err != nil {
		return nil, err
	}
	q := c.Verb(methods[r.Verb]).NamespaceIfScoped(r.Namespace, r.Kind.Namespaced && r.Namespace != "").Resource(r.Kind.Plural)
	if r.Verb == kind.Patch {
		q = c.Patch(r.PatchType).NamespaceIfScoped(r.Namespace, r.Kind.Namespaced && r.Namespace != "").Resource(r.Kind.Plural)
	}
	named := r.Verb != kind.List && r.Verb != kind.DeleteCollection && (r.Verb != kind.Create || r.Subresource != "")
	if named {
		q = q.Name(r.Name)
	}
	if r.Subresource != "" {
		q = q.SubResource(r.Subresource)
	}
	switch r.Verb {
	case kind.Create, kind.Update:
		q = q.Body(r.Object)
	case kind.Patch:
		q = q.Body(r.Patch)
	case kind.List:
		q = q.SpecificallyVersionedParams(&metav1.ListOptions{Limit: r.Limit}, scheme.ParameterCodec, optionsVersion)
	case kind.Delete:
		q = q.Body(&r.Delete)
	case kind.DeleteCollection:
		list := metav1.ListOptions{LabelSelector: r.LabelSelector, FieldSelector: r.FieldSelector}
		q = q.SpecificallyVersionedParams(&list, scheme.ParameterCodec, optionsVersion).Body(&r.Delete)
	}
	return q, nil
}

// await lets WaitFor wait for the write that made o.
func (t *remote) await(k *kind.Kind, o kind.Object) {
	t.mu.Lock()
	m := t.mirrors[k]
	t.mu.Unlock()
	if m != nil {
		m.await(Revision(o))
	}
}

// View implements Transport.
func (t *remote) View(k *kind.Kind) View {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.replaced(k) {
		m := newMirror(k)
		m.end()
		return m
	}
	m := t.mirrors[k]
	if m == nil {
		m = newMirror(k)
		t.mirrors[k] = m
		if c, err := t.client(k); err != nil {
			m.fail(err)
		} else {
			ctx, stop := context.WithCancel(t.ctx) // as long as the transport, not as long as who asked first
			m.stop = stop
			go (&reflector{mirror: m, client: c}).run(ctx)
		}
	}
	return m
}

// started are the views in use: a copy, since who waits for a view must not keep others from beginning one.
func (t *remote) started() []*mirror {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*mirror, 0, len(t.mirrors))
	for _, m := range t.mirrors {
		all = append(all, m)
	}
	return all
}

// Applied is the lowest revision of the views in use. A remote server tells of progress only now and then for
// kinds that do not change.
func (t *remote) Applied() int64 {
	lowest := int64(0)
	for i, m := range t.started() {
		if applied := m.reached(); i == 0 || applied < lowest {
			lowest = applied
		}
	}
	return lowest
}

// WaitFor waits until every view shows the writes that were made through this transport up to the revision.
// (Writes of others that a view cannot know of do not hold it up.)
func (t *remote) WaitFor(ctx context.Context, revision int64) error {
	for _, m := range t.started() {
		if err := m.waitForWrites(ctx, revision); err != nil {
			return err
		}
	}
	return nil
}

// Fresh lists the kinds anew: a remote server tells a watcher of its revision only now and then.
func (t *remote) Fresh(ctx context.Context, kinds ...*kind.Kind) error {
	for _, k := range kinds {
		t.mu.Lock()
		replaced := t.replaced(k)
		t.mu.Unlock()
		if replaced {
			return notServed(k)
		}
	}
	for _, m := range t.started() {
		if len(kinds) > 0 && !slices.Contains(kinds, m.info) {
			continue
		}
		if err := m.refresh(ctx); err != nil {
			return err
		}
	}
	return nil
}
