package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// serverFlags are the flags of wheelhouse server: upstream's names where upstream has the flag.
type serverFlags struct {
	config        *master.Config
	components    []string
	serviceRanges string
	nodePorts     utilnet.PortRange
	always        []*alwaysFlag
	backups       backupFlags
	log           logFlags
}

// sections groups the flags as --help shows them.
func (f *serverFlags) sections() cliflag.NamedFlagSets {
	var s cliflag.NamedFlagSets
	f.master(s.FlagSet("master"))
	f.masters(s.FlagSet("several masters"))
	f.serving(s.FlagSet("serving"))
	f.storage(s.FlagSet("cluster store"))
	f.backups.server(s.FlagSet("backup"), &f.config.Backups)
	f.access(s.FlagSet("authentication, authorization and admission"))
	f.controllers(s.FlagSet("controllers and scheduler"))
	f.log.add(s.FlagSet("log"))
	f.accepted(s.FlagSet("accepted for compatibility"))
	return s
}

func (f *serverFlags) master(s *pflag.FlagSet) {
	c := f.config
	s.StringVar(&c.DataDir, "data-dir", c.DataDir, "Folder of the store, the authority and the kubeconfig. $"+master.DataDirVariable+" moves the default.")
	s.StringVar(&c.Kubeconfig, "write-kubeconfig", "", "File for the administrator's kubeconfig (default admin.kubeconfig in the data folder).")
	s.StringVar(&c.PKIDir, "pki-dir", "", "Folder of the authority and certificates in kubeadm's layout (default pki in the data folder).")
	s.StringSliceVar(&f.components, "components", []string{"apiserver", "controllers", "scheduler"},
		"What this process runs. apiserver alone leaves controllers and scheduler to others.")
	s.IntVar(&c.SimulateNodes, "simulate-nodes", 0, "Simulate this many nodes, which run pods in name only.")
}

func (f *serverFlags) masters(s *pflag.FlagSet) {
	c := f.config
	s.StringSliceVar(&c.Join, "join", nil, "URLs of masters to join at the first start; wheelhouse token create prints the whole command.")
	s.StringVar(&c.Token, "token", "", "Token that lets this master join.")
	_ = s.SetAnnotation("token", "classified", []string{"true"}) // /flagz, which monitoring may read, leaves it out
	s.StringSliceVar(&c.AuthorityHashes, "discovery-token-ca-cert-hash", nil, "sha256:HEX of the public key of the authority that the masters to join must have.")
	s.IntVar(&c.PeerPort, "peer-port", c.PeerPort, "Port at which other masters reach this one's store, once there are others; 0 chooses a free one for good.")
	s.BoolVar(&c.Replace, "replace", false, "With --join: if the data folder holds data that are not those of the cluster to join, move them aside, into a folder in it, and join as a new master.")
	s.BoolVar(&c.NewCluster, "new-cluster", false, "When this master's store is lost: begin a new, empty cluster with the authority in its folder. Works once.")
	s.BoolVar(&c.RecoverQuorum, "recover-quorum", false, "When most masters are lost for ever: make this the only one. Says what it would do, and does it with --yes-forget-other-masters.")
	s.BoolVar(&c.ForgetOthers, "yes-forget-other-masters", false, "Confirms --recover-quorum.")
	s.StringVar(&c.ForgetStore, "yes-forget-store", "", "Confirms --recover-quorum with data that were given up: the ID of the store that another master went on with, which is given up in turn.")
}

func (f *serverFlags) serving(s *pflag.FlagSet) {
	c := f.config
	s.StringVar(&c.BindAddress, "bind-address", c.BindAddress, "IP address to serve HTTPS on.")
	s.IntVar(&c.SecurePort, "secure-port", c.SecurePort, "Port to serve HTTPS on; 0 takes a free one.")
	s.StringVar(&c.AdvertiseAddress, "advertise-address", "", "IP address at which the cluster reaches this master (default: the host's).")
	s.StringSliceVar(&c.TLSNames, "tls-san", nil, "Further host names and IP addresses of the serving certificate.")
	s.StringVar(&c.TLSCertFile, "tls-cert-file", "", "Serving certificate to use instead of one from the authority.")
	s.StringVar(&c.TLSKeyFile, "tls-private-key-file", "", "Key of --tls-cert-file.")
	s.StringVar(&c.TLSMinVersion, "tls-min-version", c.TLSMinVersion, "Lowest TLS version: VersionTLS12 or VersionTLS13.")
	s.StringSliceVar(&c.TLSCipherSuites, "tls-cipher-suites", nil, "Cipher suites of TLS 1.2, by Go's names (default: those with forward secrecy and authenticated encryption).")
	s.IntVar(&c.MaxRequestsInflight, "max-requests-inflight", c.MaxRequestsInflight, "Reads served at the same time, shared by priority level and user; 0 for no limit.")
	s.IntVar(&c.MaxMutatingInflight, "max-mutating-requests-inflight", c.MaxMutatingInflight, "Writes served at the same time, shared by priority level and user; 0 for no limit.")
	s.Float64Var(&c.GoawayChance, "goaway-chance", 0, "Part of the requests over HTTP/2 after which the client is asked for a new connection, so that a load balancer spreads clients anew; at most 0.02.")
	s.DurationVar(&c.RequestTimeout, "request-timeout", c.RequestTimeout, "How long a request may take, unless it is a watch.")
	s.BoolVar(&c.Profiling, "profiling", c.Profiling, "Serve profiles at /debug/pprof/ to those who may read them.")
	min := &secondsValue{&c.MinRequestTimeout}
	s.Var(min, "min-request-timeout", "Seconds after which a watch may be ended, at the earliest.")
	s.StringVar(&f.serviceRanges, "service-cluster-ip-range", "10.96.0.0/12", "Range of cluster IPs; two of different families, separated by a comma, for dual stack.")
	f.nodePorts = c.NodePorts
	s.Var(&f.nodePorts, "service-node-port-range", "Range of node ports.")
}

func (f *serverFlags) storage(s *pflag.FlagSet) {
	c := f.config
	s.Int64Var(&c.Quota, "quota-backend-bytes", c.Quota, "Size of the database from which on only reads and deletions work.")
	s.DurationVar(&c.CompactionInterval, "etcd-compaction-interval", c.CompactionInterval, "How long the store keeps history; 0 leaves its end to others, or keeps it for ever.")
	x := &c.External
	s.StringSliceVar(&x.Servers, "etcd-servers", nil, "URLs of an etcd cluster that runs by itself (https://HOST:2379), used instead of a store in the masters.")
	s.StringVar(&x.CAFile, "etcd-cafile", "", "Authority of the etcd servers' certificates.")
	s.StringVar(&x.CertFile, "etcd-certfile", "", "Certificate by which the etcd servers know this master.")
	s.StringVar(&x.KeyFile, "etcd-keyfile", "", "Key of --etcd-certfile.")
	s.StringVar(&x.Prefix, "etcd-prefix", x.Prefix, "Beginning of all keys in etcd.")
	s.DurationVar(&c.HealthTimeout, "etcd-healthcheck-timeout", c.HealthTimeout, "How long the store may take to answer the checks behind /livez and /healthz.")
	s.DurationVar(&c.ReadyTimeout, "etcd-readycheck-timeout", c.ReadyTimeout, "The same for /readyz.")
	s.StringVar(&c.EncryptionConfig, "encryption-provider-config", "", "EncryptionConfiguration to use instead of the masters' own, which encrypts secrets.")
	s.BoolVar(&c.EncryptionReload, "encryption-provider-config-automatic-reload", false, "Take changes of --encryption-provider-config without a restart.")
	s.DurationVar(&c.EventTTL, "event-ttl", c.EventTTL, "How long events are kept.")
}

func (f *serverFlags) access(s *pflag.FlagSet) {
	c := f.config
	s.BoolVar(&c.AnonymousAuth, "anonymous-auth", c.AnonymousAuth, "Serve requests without credentials as system:anonymous.")
	s.StringSliceVar(&c.ServiceAccountIssuers, "service-account-issuer", c.ServiceAccountIssuers, "Issuer of service account tokens; further ones are only accepted.")
	s.StringSliceVar(&c.APIAudiences, "api-audiences", nil, "Audiences of tokens for this API (default: the issuers).")
	s.DurationVar(&c.MaxTokenExpiration, "service-account-max-token-expiration", 0, "Longest life of a service account token; 0 for no bound.")
	s.StringSliceVar(&c.EnableAdmission, "enable-admission-plugins", nil, "Admission plugins to run besides those that are on by default.")
	s.StringSliceVar(&c.DisableAdmission, "disable-admission-plugins", nil, "Admission plugins to leave out.")
	s.StringVar(&c.AdmissionConfig, "admission-control-config-file", "", "AdmissionConfiguration of plugins that take one (EventRateLimit, PodSecurity).")
	s.BoolVar(&c.Hardened, "hardened", false, "Turn on what a cluster shared with strangers needs: AlwaysPullImages, DenyServiceExternalIPs, EventRateLimit, OwnerReferencesPermissionEnforcement, and the baseline Pod Security Standard for every namespace but kube-system.")
	s.Int64Var(&c.NotReadyToleration, "default-not-ready-toleration-seconds", c.NotReadyToleration, "Seconds for which pods tolerate a node that is not ready.")
	s.Int64Var(&c.UnreachableToleration, "default-unreachable-toleration-seconds", c.UnreachableToleration, "Seconds for which pods tolerate a node that cannot be reached.")
}

func (f *serverFlags) controllers(s *pflag.FlagSet) {
	c := f.config
	c.ControllerManager.AddFlags(s)
	s.DurationVar(&c.LeaseDuration, "leader-elect-lease-duration", c.LeaseDuration, "After how much silence another master takes over controllers and scheduler (default 15s, or 4s with --etcd-servers).")
	s.DurationVar(&c.RenewDeadline, "leader-elect-renew-deadline", c.RenewDeadline, "After how long a leader that cannot renew stops leading (default 10s, or 3s with --etcd-servers).")
	s.DurationVar(&c.RetryPeriod, "leader-elect-retry-period", c.RetryPeriod, "How often leadership is renewed or tried (default 4s, or 1s with --etcd-servers).")
}

// accepted are flags of upstream, among them those that kubeadm passes, that ask for what a master always does.
func (f *serverFlags) accepted(s *pflag.FlagSet) {
	for _, a := range []*alwaysFlag{
		{name: "allow-privileged", values: []string{"true"}, boolean: true},
		{name: "authorization-mode", values: []string{"Node,RBAC", "RBAC,Node"}},
		{name: "enable-bootstrap-token-auth", values: []string{"true", "false"}, boolean: true},
		{name: "leader-elect", values: []string{"true"}, boolean: true},
		{name: "use-service-account-credentials", values: []string{"true"}, boolean: true},
		{name: "storage-backend", values: []string{"etcd3"}},
		{name: "storage-media-type", values: []string{"application/vnd.kubernetes.protobuf"}},
		{name: "etcd-count-metric-poll-period"},
		{name: "etcd-db-metric-poll-interval"},
		{name: "endpoint-reconciler-type", values: []string{"lease"}},
		{name: "kubelet-preferred-address-types"},
	} {
		f.always = append(f.always, a)
		flag := s.VarPF(a, a.name, "", a.usage())
		if a.boolean {
			flag.NoOptDefVal = "true"
		}
	}
}

// complete moves what flags hold in their own form into the configuration.
func (f *serverFlags) complete() error {
	c := f.config
	c.Components = nil
	for _, name := range splitList(f.components) {
		component := master.Component(name)
		if !slices.Contains(master.Components, component) {
			return fmt.Errorf("--components: %q is not one of apiserver, controllers, scheduler", name)
		}
		c.Components = append(c.Components, component)
	}
	ranges, err := master.ParseRanges(f.serviceRanges)
	if err != nil {
		return fmt.Errorf("--service-cluster-ip-range: %w", err)
	}
	c.ServiceRanges, c.NodePorts = ranges, f.nodePorts
	if c.CompactionInterval == 0 {
		c.CompactionInterval = -1
	}
	if err := f.backups.configure(c); err != nil {
		return err
	}
	return c.Check()
}

// alwaysFlag accepts only the values that say what Wheelhouse does anyhow; no values means that any is fine.
type alwaysFlag struct {
	name, set string
	values    []string
	boolean   bool
}

func (a *alwaysFlag) String() string { return a.set }
func (a *alwaysFlag) Type() string {
	if a.boolean {
		return "bool"
	}
	return "string"
}

func (a *alwaysFlag) Set(v string) error {
	if a.boolean {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", v)
		}
		v = strconv.FormatBool(b)
	}
	if len(a.values) > 0 && !slices.Contains(a.values, v) {
		return fmt.Errorf("Wheelhouse always runs with %s: leave the flag out", strings.Join(a.values, " or "))
	}
	a.set = v
	return nil
}

func (a *alwaysFlag) usage() string {
	if len(a.values) == 0 {
		return "Has no effect."
	}
	return "Always " + strings.Join(a.values, " or ") + "."
}
