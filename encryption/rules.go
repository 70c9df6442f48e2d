package encryption

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

// root is the prefix of all keys.
const root = "/registry/"

// rule says how the objects of one resource are kept.
type rule struct {
	resource    schema.GroupResource
	prefix      string // of the keys
	transformer value.Transformer
	// ttl after which the store drops the objects; 0 means never.
	ttl    time.Duration
	broken atomic.Pointer[broken]
}

// rules are one loaded configuration. They never change, but for the rules of custom resources, which are found as their
// keys are seen.
type rules struct {
	config *encryptionconfig.EncryptionConfiguration
	// sections describe it.
	sections []Section
	close    context.CancelFunc
	// writing counts the writes whose values were encrypted under these rules and that are not yet stored.
	writing atomic.Int64
	// byPrefix of the keys; nil for what is known and not encrypted.
	byPrefix map[string]*rule
	// custom resources by prefix: nil *rule for those that are not encrypted. open tells whether there can be any.
	custom sync.Map
	open   bool
}

// Keys that are no kind's are encrypted by upstream as resources of these names.
var otherPrefixes = map[string]schema.GroupResource{
	ranges + "serviceips/":       {Resource: "serviceipallocations"},
	ranges + "servicenodeports/": {Resource: "servicenodeportallocations"},
	masterLeases:                 {Resource: "apiServerIPInfo"},
	root + "peerserverleases/":   {Resource: "apiServerPeerIPInfo"},
}

const (
	ranges = root + "ranges/"
	// masterLeases are renewed by their owners every few seconds, and are not rewritten.
	masterLeases = root + "masterleases/"
)

func (s *Store) load(ctx context.Context) (*rules, error) {
	ctx, cancel := context.WithCancel(ctx)
	config, err := encryptionconfig.LoadEncryptionConfig(ctx, s.o.File, s.o.Reload, s.o.ID)
	var data []byte
	if err == nil {
		data, err = os.ReadFile(s.o.File)
	}
	var sections []Section
	if err == nil {
		sections, err = Describe(data)
	}
	if err == nil && fmt.Sprintf("sha256:%x", sha256.Sum256(data)) != config.EncryptionFileContentHash {
		err = errors.New("it is being changed right now")
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("the encryption configuration %s cannot be used: %w", s.o.File, err)
	}
	r := &rules{config: config, sections: sections, close: cancel, byPrefix: map[string]*rule{}}
	for _, k := range s.o.Kinds {
		if k.Stored() {
			r.byPrefix[k.StoragePrefix] = r.rule(k.GR(), k.StoragePrefix)
			if found := r.byPrefix[k.StoragePrefix]; found != nil {
				found.ttl = k.TTL
				if k.TTL > 0 && s.o.EventTTL > 0 {
					found.ttl = s.o.EventTTL
				}
			}
		}
	}
	for prefix, gr := range otherPrefixes {
		key := prefix
		if strings.HasPrefix(prefix, ranges) { // the one object of such a resource has no name below it
			key = strings.TrimSuffix(prefix, "/")
		}
		r.byPrefix[prefix] = r.rule(gr, key)
	}
	for gr := range config.Transformers {
		// Custom resources have a group of at least two words.
		if gr.Group == "*" || strings.Contains(gr.Group, ".") {
			r.open = true
		}
	}
	return r, nil
}

// rule makes the rule of a resource as upstream finds it, nil if the configuration does not mention it.
func (r *rules) rule(gr schema.GroupResource, prefix string) *rule {
	for _, name := range []schema.GroupResource{gr, {Group: gr.Group, Resource: "*"}, {Group: "*", Resource: "*"}} {
		if r.config.Transformers[name] != nil {
			transformers := encryptionconfig.StaticTransformers(r.config.Transformers)
			return &rule{resource: gr, prefix: prefix, transformer: transformers.TransformerForResource(gr)}
		}
	}
	return nil
}

// of finds the rule of a key, nil if it is not encrypted: its resource is the first or the first two parts below the root.
func (r *rules) of(key string) *rule {
	if !strings.HasPrefix(key, root) {
		return nil
	}
	first := strings.IndexByte(key[len(root):], '/')
	if first < 0 {
		return r.byPrefix[key+"/"]
	}
	end := len(root) + first + 1
	if found, known := r.byPrefix[key[:end]]; known {
		return found
	}
	second := strings.IndexByte(key[end:], '/')
	if second < 0 {
		return r.byPrefix[key+"/"] // a key that is a resource's only one: /registry/ranges/servicenodeports
	}
	prefix := key[:end+second+1]
	if found, known := r.byPrefix[prefix]; known {
		return found
	}
	if !r.open || !strings.Contains(key[len(root):end], ".") {
		return nil
	}
	return r.customRule(prefix, schema.GroupResource{Group: key[len(root) : end-1], Resource: prefix[end : len(prefix)-1]})
}

func (r *rules) customRule(prefix string, gr schema.GroupResource) *rule {
	if found, ok := r.custom.Load(prefix); ok {
		return found.(*rule)
	}
	found, _ := r.custom.LoadOrStore(strings.Clone(prefix), r.rule(gr, strings.Clone(prefix)))
	return found.(*rule)
}
