// Package tidy holds the rules of the house as data; its tests check the source against them.
package tidy

// module is the path that all packages of this repository begin with.
const module = "github.com/wheelhouse-k8s/wheelhouse/"

// rule says what some folders' packages may import beside the standard library. A folder may stand in several rules, and has what they
// allow together; what none allows is not allowed. Tests may import what they need.
type rule struct {
	// Folders from the root, separated by spaces; "controllers/*" are all folders right below, and "." is the root.
	Folders string
	// Own are folders of this repository.
	Own string
	// Others are modules, or names of groups.
	Others string
	// Why says what is left out on purpose.
	Why string
}

// groups are modules that are allowed together.
var groups = map[string][]string{
	"types": {"k8s.io/api", "k8s.io/apimachinery"},
}

// never is not imported, whatever a rule says: k8s.io/kubernetes is not meant as a library and breaks go install.
const never = "k8s.io/kubernetes"

// apart are folders whose subfolders do not import each other, but for what stands in internal for all of them.
var apart = map[string]string{
	"controllers": "each controller stands alone",
	"master":      "rooms know nothing of each other: what one needs of another, master hands it as a function",
}

// policy is what may be imported, in the order of the map in ARCHITECTURE.md.
var policy = []rule{
	{".", "master", "k8s.io/client-go", ""},
	{"cmd/wheelhouse",
		"apiserver/health admin datafolder durable encryption master master/backups master/certificates master/keys master/members " +
			"membership pki simulate store/backup",
		"types k8s.io/apiserver k8s.io/client-go k8s.io/component-base k8s.io/klog/v2 k8s.io/kubectl github.com/coreos/go-systemd/v22 " +
			"github.com/spf13/cobra github.com/spf13/pflag golang.org/x/term", ""},

	// A master: where the two wings meet.
	{"master",
		"api api/kind apiserver apiserver/admission apiserver/auth apiserver/bootstrap apiserver/discovery apiserver/health apiserver/metrics " +
			"apiserver/openapi client admin controllers datafolder election master/backups master/certificates master/enrol master/identity " +
			"master/keys master/members master/roster membership patch pki registry registry/allocate registry/notes scheduler simulate store " +
			"store/etcd store/memory",
		"types k8s.io/apiserver k8s.io/client-go k8s.io/component-base go.uber.org/zap golang.org/x/sync", ""},
	{"master/enrol", "apiserver/health datafolder durable membership pki registry/notes store/etcd", "types golang.org/x/sys",
		"how a start comes to its data is decided before there is a store that is open"},
	{"master/members", "apiserver/health admin datafolder election membership pki registry/notes store store/backup store/etcd",
		"k8s.io/apiserver", ""},
	{"master/identity", "client admin datafolder membership registry registry/notes store store/etcd", "types", ""},
	{"master/roster", "election membership registry/notes store store/etcd", "types", ""},
	{"master/certificates", "apiserver/auth apiserver/health admin datafolder encryption membership pki registry/notes store store/etcd",
		"k8s.io/client-go", ""},
	{"master/keys", "api/kind apiserver/health admin datafolder encryption membership store", "types", ""},
	{"master/backups",
		"api api/kind apiserver/health apiserver/metrics client admin datafolder durable election encryption membership pki registry " +
			"registry/notes store store/backup store/etcd",
		"types k8s.io/client-go github.com/robfig/cron/v3 golang.org/x/sys", ""},
	{"membership", "admin durable store store/etcd", "types k8s.io/client-go",
		"who is a master is the store's business, not that of what is in it"},
	{"datafolder", "admin durable encryption membership pki registry/notes store/etcd", "types", ""},
	{"datafolder/foldertest", "datafolder encryption membership pki store/etcd test/scenario", "go.etcd.io/bbolt", ""},
	{"admin", "", "types k8s.io/apiserver k8s.io/client-go golang.org/x/sys", "the door of commands knows no command"},

	// The server wing. It does not use the client wing.
	{"apiserver", "api/bounds api/core api/kind apiserver/fairness codec patch registry",
		"types k8s.io/apiserver k8s.io/client-go k8s.io/klog/v2 sigs.k8s.io/structured-merge-diff/v6",
		"the wings meet only in master, and the pipeline is handed who authenticates, authorizes and admits"},
	{"apiserver/auth", "api/bounds api/kind api/podspec apiserver/bootstrap/policy registry",
		"types k8s.io/apiserver github.com/go-jose/go-jose/v4 github.com/google/uuid", ""},
	{"apiserver/admission", "api/kind api/podspec apiserver/auth registry",
		"types k8s.io/apiserver k8s.io/client-go k8s.io/component-base k8s.io/component-helpers k8s.io/pod-security-admission k8s.io/utils sigs.k8s.io/yaml", ""},
	{"apiserver/fairness", "api/kind", "k8s.io/apiserver", ""},
	{"apiserver/bootstrap", "api/kind apiserver/auth apiserver/bootstrap/policy registry",
		"types k8s.io/apiserver k8s.io/client-go k8s.io/component-helpers", ""},
	{"apiserver/bootstrap/policy", "", "types", "who may do what is data"},
	{"apiserver/discovery", "api/kind codec", "types github.com/munnerz/goautoneg", ""},
	{"apiserver/openapi", "", "github.com/munnerz/goautoneg", "the documents are made by a generator"},
	{"apiserver/openapi/generate", "api api/kind apiserver/openapi/generate/definitions",
		"types k8s.io/apiserver k8s.io/client-go k8s.io/kube-openapi github.com/emicklei/go-restful/v3 github.com/google/gnostic-models " +
			"google.golang.org/protobuf", ""},
	{"apiserver/health", "", "types k8s.io/apiserver k8s.io/component-base k8s.io/klog/v2", ""},
	{"apiserver/metrics", "api/kind", "types k8s.io/component-base github.com/prometheus/client_golang github.com/prometheus/client_model", ""},

	{"codec", "api/bounds api/kind codec/objectjson codec/wire", "types github.com/munnerz/goautoneg sigs.k8s.io/yaml",
		"an object brings its encodings along, whoever keeps it; bytes on the wire are not the bytes of the store"},
	{"codec/wire codec/objectjson", "api/shape", "types", "bytes know messages, names and numbers, no kinds; all encodings stand on them"},
	{"codec/objectjson", "api/custom", "sigs.k8s.io/json", ""},
	{"codec/canonical", "api/custom api/shape codec/objectjson", "types", "a form is that of a type, whatever its kind"},
	{"codec/stored", "api/bounds api/custom api/kind api/shape codec/objectjson codec/wire", "types sigs.k8s.io/json", ""},
	{"patch", "api/bounds api/custom api/kind api/shape codec/objectjson patch/typeschema",
		"types gopkg.in/evanphx/json-patch.v4 sigs.k8s.io/json sigs.k8s.io/structured-merge-diff/v6 sigs.k8s.io/yaml",
		"a patch is a function of an object, wherever that is kept"},
	{"patch/typeschema", "", "sigs.k8s.io/structured-merge-diff/v6", ""},
	{"patch/typeschema/generate", "patch/typeschema", "types k8s.io/client-go", ""},
	{"registry", "api/bounds api/kind codec/canonical codec/objectjson codec/stored store", "types github.com/google/btree",
		"what is encrypted is the store's business, and how answers are written that of codec"},
	{"registry/allocate", "api/bounds api/core api/kind codec/wire registry store", "types k8s.io/utils", ""},
	{"registry/notes", "registry", "", ""},

	// The client wing. It cannot reach registry and store even by accident: it sees objects through a transport.
	{"controllers",
		"client controllers/bootstrapsigner controllers/clusterrole controllers/deployment controllers/endpoints controllers/endpointslice " +
			"controllers/garbage controllers/namespace controllers/nodelifecycle controllers/podgc controllers/replicaset controllers/rootca " +
			"controllers/serviceaccount controllers/tainteviction controllers/tokencleaner controllers/ttl crew reconcile",
		"github.com/spf13/pflag", ""},
	{"controllers/*",
		"api/kind client reconcile controllers/internal/nodestate controllers/internal/ownership controllers/internal/podstate " +
			"controllers/internal/serving",
		"types k8s.io/klog/v2 k8s.io/utils github.com/spf13/pflag", "a controller knows neither another nor the scheduler"},
	{"controllers/endpoints controllers/endpointslice", "", "k8s.io/endpointslice", ""},
	{"controllers/internal/nodestate controllers/internal/podstate", "", "types", ""},
	{"controllers/internal/ownership", "api/kind client", "types", ""},
	{"controllers/internal/serving", "client controllers/internal/podstate reconcile", "types", ""},
	{"controllers/internal/stagetest", "api api/kind client client/clienttest reconcile test/scenario", "types sigs.k8s.io/yaml", ""},
	{"scheduler", "client crew scheduler/placement", "types", "each loop stands alone: it knows no controller"},
	{"scheduler/placement", "", "types k8s.io/component-helpers k8s.io/klog/v2", "decisions have no client, clock or log; of klog only a type that a library asks for"},
	{"election", "client crew", "types k8s.io/utils", "leadership is a Lease, reached like any object"},
	{"reconcile", "api api/kind client crew", "types k8s.io/client-go k8s.io/component-base", ""},
	{"reconcile/reconciletest", "api/kind", "types", ""},
	{"crew", "", "", ""},
	{"client", "api api/custom api/kind", "types k8s.io/client-go k8s.io/utils", "clients reach objects through a transport"},
	{"client/clienttest", "api/kind client", "types", ""},
	{"simulate", "", "types k8s.io/client-go", "nodes speak the public API"},

	// The kinds. They know neither how they are kept and written nor the verbs that are asked of them.
	{"api",
		"api/apps api/authentication api/authorization api/certificates api/coordination api/core api/discovery api/events api/kind api/networking api/policy " +
			"api/rbac api/resource api/scheduling api/storage",
		"", ""},
	{"api/apps api/authentication api/authorization api/certificates api/coordination api/core api/discovery api/events api/networking api/policy api/rbac " +
		"api/resource api/scheduling api/storage",
		"api/kind", "types", "a group knows no other"},
	{"api/apps api/core", "api/podspec api/workload", "", ""},
	{"api/resource", "api/podspec", "k8s.io/apiserver k8s.io/dynamic-resource-allocation", "expressions that select devices are upstream's"},
	{"api/certificates", "api/podspec", "", "what pods may name of signers and bundles is judged alike"},
	{"api/apps api/core api/discovery api/networking", "", "k8s.io/utils", ""},
	{"api/events", "api/core", "", "its one kind is the other form of core's"},
	{"api/workload", "api/kind api/podspec", "types", "what workloads share knows none of them"},
	{"api/podspec", "api/bounds api/kind", "types k8s.io/component-helpers github.com/distribution/reference",
		"what pods and templates share knows neither, and not who made a pod"},
	{"api/kind", "api/custom", "types", "what a kind is comes before any kind"},
	{"api/bounds", "api/custom api/shape codec/wire", "types", "bounds read what comes in, before it has a kind"},
	{"api/custom", "", "types sigs.k8s.io/json", ""},
	{"api/shape", "", "types", "a type is described before there are kinds"},
	{"api/apitest", "api/kind", "types sigs.k8s.io/json", ""},

	// The store: keys and bytes, not Kubernetes.
	{"encryption", "api/kind durable store", "types k8s.io/apiserver google.golang.org/grpc sigs.k8s.io/yaml", ""},
	{"encryption/plugintest", "", "k8s.io/kms google.golang.org/grpc", ""},
	{"store", "", "", "a store keeps bytes; what they mean, others know"},
	{"store/memory store/storetest", "store", "", ""},
	{"store/memory", "", "github.com/google/btree", ""},
	{"store/etcd", "durable store",
		"go.etcd.io/bbolt go.etcd.io/etcd/api/v3 go.etcd.io/etcd/client/pkg/v3 go.etcd.io/etcd/client/v3 go.etcd.io/etcd/etcdutl/v3 " +
			"go.etcd.io/etcd/pkg/v3 go.etcd.io/etcd/server/v3 go.etcd.io/raft/v3 go.uber.org/zap google.golang.org/grpc " +
			"google.golang.org/protobuf github.com/coreos/go-semver", "a store does not know who copies it"},
	{"store/backup", "durable",
		"filippo.io/age github.com/minio/minio-go/v7 go.etcd.io/bbolt go.etcd.io/etcd/api/v3 golang.org/x/sys google.golang.org/protobuf",
		"a backup is of any source that gives a snapshot"},
	{"pki", "durable", "k8s.io/client-go", ""},
	{"durable", "", "golang.org/x/sys", "a file knows nothing of what is in it"},

	// What measures and tests.
	{"bench", "store/etcd test/process", "types k8s.io/client-go go.etcd.io/etcd/client/v3 go.uber.org/zap", ""},
	{"test/code/users", ". api api/custom api/kind client", "types", "a program of others names what is there for it"},
	{"test/compat", "api api/kind controllers", "k8s.io/client-go", ""},
	{"test/conformance", "test/process", "", "upstream's program is all that talks to the master"},
	{"test/docs", "test/process", "", ""},
	{"test/failures/history", "", "github.com/anishathalye/porcupine", "a history is judged without knowing what made it"},
	{"test/mastertest", "admin api apiserver/auth datafolder durable master/backups master/certificates master/keys master/members " +
		"membership pki store store/memory",
		"types k8s.io/apiserver k8s.io/client-go", "what rooms know of each other only master/ tells them; for their tests this does"},
	{"test/process", "", "k8s.io/client-go golang.org/x/sys", "processes are watched from outside"},
	{"test/scenario test/tidy", "", "", ""},
}
