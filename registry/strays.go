package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/stored"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Own begins the masters' own keys. No kind has any below it.
const Own = Root + "wheelhouse/"

// A stray is a stored value that may be an object, of a kind that is not served: the kind was removed and left objects behind, this
// process has not been told of it yet, or this version does not know it. Nobody can read, change or delete it. But it may be in a
// namespace, and it may have owners; neither may be let go as if there were nothing. So the mirror keeps in mind where each stray is and
// whom it names as its owners: read from its metadata, which all objects have in common. What it learns is the same whether
// it saw the kind go or found the keys at its start.
type stray struct {
	namespace string
	// object tells that the key is built as an object's; nothing can be in a namespace, or have owners, that has not.
	object bool
	owners []types.UID
	// opaque: the value cannot be read, or is another object than its key says. Whatever has this key may name any owner.
	opaque bool
	// sealed: it cannot be decrypted now, and is opaque therefore.
	sealed bool
}

// below is the part of a stray's key that it has in common with all of its kind.
func (one *stray) below(key string) string {
	end := strings.LastIndexByte(key, '/')
	if one.namespace != "" {
		end = strings.LastIndexByte(key[:end], '/')
	}
	return key[:end+1]
}

// keySet is a set of store keys.
type keySet map[string]struct{}

// strays are all keys below Root that belong to no kind. Only the mirror's goroutine changes them.
type strays struct {
	mu          sync.RWMutex // guards all below
	byKey       map[string]stray
	byNamespace map[string]keySet
	byOwner     map[types.UID]keySet
	opaque      keySet
	sealed      map[string]keySet // by what all keys of a kind have in common: what is sealed with one key is of one kind
}

func newStrays() *strays {
	return &strays{byKey: map[string]stray{}, byNamespace: map[string]keySet{}, byOwner: map[types.UID]keySet{}, opaque: keySet{}, sealed: map[string]keySet{}}
}

func (s *strays) count() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return int64(len(s.byKey))
}

// put enters a key, or what it holds now.
func (s *strays) put(key string, one stray) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
	key = strings.Clone(key) // the store's message need not outlive it
	s.byKey[key] = one
	if !one.object {
		return
	}
	enter(s.byNamespace, one.namespace, key)
	for _, uid := range one.owners {
		enter(s.byOwner, uid, key)
	}
	if one.opaque {
		s.opaque[key] = struct{}{}
	}
	if one.sealed {
		enter(s.sealed, one.below(key), key)
	}
}

// drop forgets a key.
func (s *strays) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
}

// dropAll forgets the keys that a kind has taken over.
func (s *strays) dropAll(t *table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.byKey {
		if strings.HasPrefix(key, t.prefix) && t.well(key) {
			s.remove(key)
		}
	}
}

// remove is called with mu held.
func (s *strays) remove(key string) {
	one, ok := s.byKey[key]
	if !ok {
		return
	}
	delete(s.byKey, key)
	delete(s.opaque, key)
	leave(s.byNamespace, one.namespace, key)
	for _, uid := range one.owners {
		leave(s.byOwner, uid, key)
	}
	if one.sealed {
		leave(s.sealed, one.below(key), key)
	}
}

// replace takes over what a load has found.
func (s *strays) replace(found *strays) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byKey, s.byNamespace, s.byOwner, s.opaque, s.sealed = found.byKey, found.byNamespace, found.byOwner, found.opaque, found.sealed
}

func (s *strays) anySealed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.sealed) > 0
}

// sealedKeys are some keys of each kind whose values cannot be decrypted, at most max of one.
func (s *strays) sealedKeys(max int) (some []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, keys := range s.sealed {
		most := len(some) + max
		for key := range keys {
			if len(some) == most {
				break
			}
			some = append(some, key)
		}
	}
	return some
}

// find gives the keys of a namespace ("" for all), of those that name an owner or may name it if one is given.
func (s *strays) find(namespace string, owner types.UID) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []string
	take := func(from keySet) {
		for key := range from {
			if namespace == "" || s.byKey[key].namespace == namespace {
				found = append(found, key)
			}
		}
	}
	switch {
	case owner != "":
		take(s.byOwner[owner])
		take(s.opaque)
	case namespace != "":
		take(s.byNamespace[namespace])
	default:
		for _, keys := range s.byNamespace {
			take(keys)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func enter[K comparable](index map[K]keySet, at K, key string) {
	keys := index[at]
	if keys == nil {
		keys = keySet{}
		index[at] = keys
	}
	keys[key] = struct{}{}
}

func leave[K comparable](index map[K]keySet, at K, key string) {
	keys := index[at]
	if delete(keys, key); len(keys) == 0 {
		delete(index, at)
	}
}

// note keeps up with a change of a key that belongs to no kind.
func (r *Registry) note(e *store.Event) {
	if e.Deleted {
		r.strays.drop(e.Key)
		return
	}
	one := strayOf(&e.Entry)
	r.strays.put(e.Key, one)
	if one.sealed {
		r.startUnsealing()
	}
	r.outstanding.take(e.Key, e.Value, e.Revision) // a request that was at work when its kind went wrote it
}

// strayOf reads what is known of a stored value without its kind.
func strayOf(e *store.Entry) stray {
	var one stray
	if one.namespace, one.object = objectKey(e.Key); !one.object {
		return one
	}
	if one.sealed = e.Sealed != nil; one.sealed {
		one.opaque = true
		return one
	}
	is, err := stored.IdentityOf(e.Value)
	if one.opaque = err != nil || is.Namespace != one.namespace || is.Name != nameIn(e.Key); !one.opaque {
		one.owners = is.Owners
	}
	return one
}

// nameIn is the name of the object that a key promises.
func nameIn(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// nameless are the first parts of keys below which API servers keep what is kept as an object and is none: it has no name, nor owners.
var nameless = []string{"ranges", "masterleases", "peerserverleases"}

// objectKey tells by how it is built whether a key can be an object's, and of which namespace. All API servers build keys alike:
//
//	<resource>/<name>  <resource>/<namespace>/<name>  <group>/<resource>/<name>  <group>/<resource>/<namespace>/<name>
//
// Which parts there are shows the first one: the name of a resource has no dot, and that of a group that stands in keys always has one.
// What is built otherwise, and the masters' own keys, are no objects of any kind: they hold up nothing.
func objectKey(key string) (namespace string, ok bool) {
	path, below := strings.CutPrefix(key, Root)
	if !below || strings.HasPrefix(key, Own) {
		return "", false
	}
	parts := strings.Split(path, "/")
	if slices.Contains(parts, "") || slices.Contains(nameless, parts[0]) {
		return "", false
	}
	if strings.Contains(parts[0], ".") || parts[0] == "services" { // services/specs and services/endpoints
		parts = parts[1:]
	}
	switch len(parts) {
	case 2:
		return "", true
	case 3:
		return parts[1], len(validation.IsDNS1123Label(parts[1])) == 0
	}
	return "", false
}

// abandon makes strays of what a table holds: the same as a restarted process would. The caller is the mirror's goroutine.
func (r *Registry) abandon(t *table) {
	t.entries.Ascend(func(e entry) bool {
		one := stray{owners: owners(e.item)}
		one.namespace, one.object = objectKey(e.key)
		r.strays.put(e.key, one)
		return true
	})
	for key, u := range t.unreadable { // the mirror may have a former state of it
		r.strays.put(key, u.stray)
	}
	if r.strays.anySealed() {
		r.startUnsealing()
	}
}

// errStray is what is wrong with a stray.
var errStray = errors.New("no kind that is served explains this key")

// Strays fails while values are stored that may be objects of kinds that are not served: in a namespace ("" for anywhere), and, if
// an owner is given, dependents of it. The error is one of values that cannot be read, and names their keys.
func (r *Registry) Strays(namespace string, owner types.UID) error {
	if !r.loaded() {
		return apierrors.NewServiceUnavailable("the stored objects have not been loaded yet")
	}
	keys := r.strays.find(namespace, owner)
	if len(keys) == 0 {
		return nil
	}
	of := "all namespaces"
	if namespace != "" {
		of = "namespace " + namespace
	}
	details := &metav1.StatusDetails{}
	for _, key := range keys[:min(len(keys), causesMax)] {
		details.Causes = append(details.Causes, unreadableCause(key, errStray))
	}
	message := fmt.Sprintf("values are stored that may be objects of %s, of kinds that are not served: %s", of, keys[0])
	if more := len(keys) - 1; more > 0 {
		message = fmt.Sprintf("%s (and %d more)", message, more)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonStoreReadError, Message: message, Details: details,
	}}
}

// Empty proves by a read of the store that nothing is stored of a kind, readable or not, whether it is served or not.
func (r *Registry) Empty(ctx context.Context, info *kind.Kind) (bool, error) {
	page, err := r.store.List(ctx, info.StoragePrefix, store.ListOptions{Limit: 1})
	if err != nil {
		return false, storeError(err, info.GR(), kind.List)
	}
	return len(page.Entries) == 0, nil
}
