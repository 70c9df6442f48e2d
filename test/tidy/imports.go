// Package tidy holds the rules of the house as data; its tests check the source against them.
package tidy

// module is the path that all packages of this repository begin with.
const module = "github.com/wheelhouse-k8s/wheelhouse/"

// edge forbids packages under From to import packages under To (both are folders, or a module path in To).
type edge struct {
	From, To string
	// Except names folders under From that may.
	Except []string
	Why    string
}

// apart are folders whose subfolders do not import each other, but for what stands in internal for all of them.
var apart = map[string]string{
	"controllers": "each controller stands alone",
	"master":      "rooms know nothing of each other: what one needs of another, master hands it as a function",
}

// forbidden is the import policy. Tests may import what they need.
var forbidden = []edge{
	{From: "", To: "k8s.io/kubernetes", Why: "it is not meant as a library and breaks go install"},

	{From: "durable", To: "github.com/", Why: "a file knows nothing of what is in it"},
	{From: "durable", To: "k8s.io/", Why: "a file knows nothing of what is in it"},

	{From: "store", To: "api", Why: "the store knows keys and bytes, not Kubernetes"},
	{From: "store", To: "registry", Why: "imports go downward"},
	{From: "store", To: "k8s.io/", Why: "the store knows keys and bytes, not Kubernetes"},

	{From: "store", To: "encryption", Why: "a store keeps bytes; what they mean, a backup is told"},
	{From: "store/backup", To: "store/etcd", Why: "a backup is of any source that gives a snapshot"},
	{From: "store/backup", To: "admin", Why: "imports go downward"},
	{From: "store/etcd", To: "store/backup", Why: "a store does not know who copies it"},

	{From: "api", To: "store", Why: "a kind does not know how it is kept"},
	{From: "api", To: "registry", Why: "a kind does not know how it is kept"},
	{From: "api", To: "apiserver", Why: "a kind never sees a verb"},
	{From: "api", To: "client", Why: "a kind never sees a verb"},
	{From: "api/kind", To: "api/podspec", Why: "what a kind is comes before any kind"},
	{From: "api/kind", To: "api/core", Why: "what a kind is comes before any kind"},
	{From: "api/podspec", To: "api/core", Why: "what pods and templates share knows neither"},
	{From: "api/podspec", To: "api/workload", Why: "a pod does not know who made it"},
	{From: "api/workload", To: "api/core", Why: "what workloads share knows none of them"},
	{From: "api/workload", To: "api/apps", Why: "what workloads share knows none of them"},

	{From: "api", To: "codec", Except: []string{"api/bounds"}, Why: "a kind does not know how it is written; its bounds read what comes in"},
	{From: "api/shape", To: "api", Why: "a type is described before there are kinds"},

	{From: "codec", To: "registry", Why: "an object brings its encodings along, whoever keeps it"},
	{From: "codec/wire", To: "codec", Why: "all encodings stand on it"},
	{From: "codec/wire", To: "api/kind", Why: "bytes know messages and numbers, no kinds"},
	{From: "codec/objectjson", To: "api/kind", Why: "an encoding is that of a type, whatever its kind"},
	{From: "codec/canonical", To: "api/kind", Why: "an encoding is that of a type, whatever its kind"},
	{From: "codec", To: "store", Why: "bytes on the wire are not the bytes of the store"},
	{From: "codec", To: "apiserver", Why: "imports go downward"},
	{From: "patch", To: "registry", Why: "a patch is a function of an object"},
	{From: "patch", To: "store", Why: "a patch is a function of an object"},
	{From: "patch", To: "apiserver", Why: "imports go downward"},

	{From: "registry", To: "apiserver", Why: "imports go downward"},
	{From: "registry", To: "client", Why: "the server wing does not use the client wing"},
	{From: "registry", To: "controllers", Why: "the server wing does not use the client wing"},

	{From: "apiserver", To: "client", Why: "the two wings meet only in master"},
	{From: "apiserver", To: "reconcile", Why: "the two wings meet only in master"},
	{From: "apiserver", To: "controllers", Why: "the two wings meet only in master"},
	{From: "apiserver", To: "scheduler", Why: "the two wings meet only in master"},
	{From: "apiserver", To: "master", Why: "imports go downward"},

	{From: "client", To: "registry", Why: "clients reach objects through a transport"},
	{From: "client", To: "store", Why: "clients reach objects through a transport"},
	{From: "client", To: "apiserver", Why: "clients reach objects through a transport"},
	{From: "reconcile", To: "registry", Why: "controllers cannot reach the store even by accident"},
	{From: "reconcile", To: "store", Why: "controllers cannot reach the store even by accident"},
	{From: "reconcile", To: "apiserver", Why: "controllers see the client only"},
	{From: "reconcile", To: "controllers", Why: "imports go downward"},
	{From: "reconcile", To: "scheduler", Why: "imports go downward"},
	{From: "controllers", To: "registry", Why: "controllers cannot reach the store even by accident"},
	{From: "controllers", To: "store", Why: "controllers cannot reach the store even by accident"},
	{From: "controllers", To: "apiserver", Why: "controllers see the client only"},
	{From: "controllers", To: "scheduler", Why: "each loop stands alone"},
	{From: "scheduler", To: "registry", Why: "the scheduler cannot reach the store even by accident"},
	{From: "scheduler", To: "store", Why: "the scheduler cannot reach the store even by accident"},
	{From: "scheduler", To: "apiserver", Why: "the scheduler sees the client only"},
	{From: "scheduler", To: "controllers", Why: "each loop stands alone"},
	{From: "election", To: "registry", Why: "leadership is a Lease, reached like any object"},
	{From: "election", To: "store", Why: "leadership is a Lease, reached like any object"},

	{From: "encryption", To: "registry", Why: "imports go downward"},
	{From: "encryption", To: "apiserver", Why: "imports go downward"},
	{From: "registry", To: "encryption", Why: "what is encrypted is the store's business"},

	{From: "admin", To: "registry", Why: "the door of commands knows no command"},
	{From: "admin", To: "store", Why: "the door of commands knows no command"},
	{From: "admin", To: "apiserver", Why: "the door of commands knows no command"},

	{From: "membership", To: "registry", Why: "who is a master is the store's business, not that of what is in it"},
	{From: "membership", To: "apiserver", Why: "imports go downward"},
	{From: "membership", To: "master", Why: "imports go downward"},

	{From: "admin", To: "master", Why: "the door of commands knows no command"},
	{From: "registry/notes", To: "master", Why: "imports go downward"},
	{From: "datafolder", To: "master", Why: "imports go downward"},
	{From: "datafolder", To: "apiserver", Why: "imports go downward"},

	{From: "simulate", To: "master", Why: "nodes speak the public API"},
	{From: "simulate", To: "apiserver", Why: "nodes speak the public API"},
	{From: "simulate", To: "registry", Why: "nodes speak the public API"},
	{From: "pki", To: "apiserver", Why: "imports go downward"},
	{From: "pki", To: "registry", Why: "imports go downward"},
}
