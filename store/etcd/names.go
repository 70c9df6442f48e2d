package etcd

import (
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// names translates between the keys of the program and those in etcd. They differ when several programs share an etcd:
// then what stands under root here stands under prefix there. The zero value changes nothing.
type names struct {
	root, prefix string
}

// out is a key, or the beginning of keys, as etcd knows it.
func (n *names) out(key string) []byte {
	if n.root == n.prefix {
		return []byte(key)
	}
	rest, ok := strings.CutPrefix(key, n.root)
	if !ok { // it would be among the keys of others
		panic(fmt.Sprintf("key %q does not begin with %q", key, n.root))
	}
	return []byte(n.prefix + rest)
}

// in is a key as the program knows it.
func (n *names) in(key []byte) string {
	if n.root == n.prefix {
		return string(key)
	}
	return n.root + string(key[len(n.prefix):])
}

// RealKey is the key in etcd of a key of the program.
func (k *keyspace) RealKey(key string) string { return string(k.names.out(key)) }

// endOf is the first key that does not begin with the prefix.
func endOf(prefix []byte) []byte { return []byte(clientv3.GetPrefixRangeEnd(string(prefix))) }
