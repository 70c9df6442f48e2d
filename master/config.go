package master

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/admission"
	"github.com/wheelhouse-k8s/wheelhouse/controllers"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/master/enrol"
	"github.com/wheelhouse-k8s/wheelhouse/master/identity"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Component is a part of a master that can be left out.
type Component string

// The components of --components.
const (
	APIServer   Component = "apiserver"
	Controllers Component = "controllers"
	Scheduler   Component = "scheduler"
)

// Components are all of them, in the order of their start.
var Components = []Component{APIServer, Controllers, Scheduler}

// Config says everything about one master. Default gives a complete one.
type Config struct {
	// Components that this process runs. The API server is always among them.
	Components []Component

	// DataDir holds the store, the authority and the kubeconfig. Empty keeps everything in memory.
	DataDir string
	// Kubeconfig of the administrator is written here; empty means admin.kubeconfig in DataDir.
	Kubeconfig string
	// PKIDir holds the authority in kubeadm's layout; empty means pki in DataDir.
	PKIDir string

	// Join are URLs of masters to join at the first start, Token lets it, and AuthorityHashes, each sha256:HEX of a public
	// key, say which authority they must have.
	Join            []string
	Token           string
	AuthorityHashes []string
	// PeerPort is where other masters reach this one's member of the store; 0 chooses a free one once.
	PeerPort int
	// RecoverQuorum makes this the only master, after ForgetOthers has confirmed it.
	RecoverQuorum, ForgetOthers bool
	// ForgetStore names the store for which this master's data were given up, when RecoverQuorum is to go on with them after all.
	ForgetStore string
	// NewCluster begins a new, empty cluster on a folder whose store is lost, once. Replace, with Join, moves a folder's data
	// aside if they are not those of the cluster to join.
	NewCluster, Replace bool

	// BindAddress and SecurePort are where HTTPS is served; port 0 takes a free one.
	BindAddress string
	SecurePort  int
	// AdvertiseAddress is where the cluster reaches this master; empty finds the host's default address.
	AdvertiseAddress string
	// TLSNames are further names and addresses in the serving certificate.
	TLSNames []string
	// TLSCertFile and TLSKeyFile replace the serving certificate that the authority issues.
	TLSCertFile, TLSKeyFile string
	TLSMinVersion           string
	// TLSCipherSuites of TLS 1.2, by name; none means those with forward secrecy and authenticated encryption.
	TLSCipherSuites []string

	// ServiceRanges are the cluster IP ranges, one a family.
	ServiceRanges []netip.Prefix
	// NodePorts is the range of node ports.
	NodePorts utilnet.PortRange

	// Quota of the database in bytes, CompactionInterval of history, EventTTL of events.
	Quota              int64
	CompactionInterval time.Duration
	EventTTL           time.Duration

	// External is the external etcd to be used instead of a member in this process.
	External External
	// HealthTimeout and ReadyTimeout bound the checks of the store behind /livez and /readyz.
	HealthTimeout, ReadyTimeout time.Duration

	// EncryptionConfig is the operator's EncryptionConfiguration; empty lets the masters encrypt secrets with a key of their
	// own. EncryptionReload takes changes of the file without a restart.
	EncryptionConfig string
	EncryptionReload bool

	AnonymousAuth         bool
	ServiceAccountIssuers []string
	APIAudiences          []string
	MaxTokenExpiration    time.Duration
	EnableAdmission       []string
	DisableAdmission      []string
	// AdmissionConfig is a file that says how admission plugins are set up. Hardened turns on what a cluster shared with
	// strangers needs.
	AdmissionConfig       string
	Hardened              bool
	NotReadyToleration    int64 // seconds
	UnreachableToleration int64 // seconds
	MaxRequestsInflight   int
	MaxMutatingInflight   int
	RequestTimeout        time.Duration
	// GoawayChance is the part of HTTP/2 requests after which the client is asked for a new connection.
	GoawayChance float64
	// Profiling serves /debug/pprof/.
	Profiling         bool
	MinRequestTimeout time.Duration
	// LeaseDuration, RenewDeadline and RetryPeriod of the leadership of controllers and scheduler; 0 goes by the store:
	// members in the masters notice themselves when one is gone, with an external etcd only the lease's end tells.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration

	// Controller manager settings; RootCA.Source is filled in from the authority.
	ControllerManager controllers.Options

	// Flags are the command line's names and values, which /flagz shows.
	Flags map[string]string

	// SimulateNodes is the number of nodes that this process simulates over its own HTTPS API.
	SimulateNodes int

	// Backups that the master makes by itself.
	Backups backups.Plan

	// Kinds are served besides the built-in ones, from the start: for programs that have a master within them.
	Kinds []*kind.Kind

	// Now is the clock of certificates and tokens; nil means time.Now.
	Now func() time.Time

	// store that masters of one process share, instead of one in memory each; for tests.
	store store.Store

	// Log takes lines for the operator; nil drops them. Warn takes those that tell of what is not as it should be; nil gives them
	// to Log.
	Log, Warn func(format string, args ...any)
}

func (c *Config) warn(format string, args ...any) {
	if c.Warn != nil {
		c.Warn(format, args...)
		return
	}
	c.Log(format, args...)
}

// Default is the configuration of a master whose operator said nothing.
func Default() Config {
	return Config{
		Components:            Components,
		DataDir:               DefaultDataDir(),
		BindAddress:           "0.0.0.0",
		SecurePort:            6443,
		PeerPort:              2380,
		TLSMinVersion:         "VersionTLS12",
		ServiceRanges:         []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
		NodePorts:             utilnet.PortRange{Base: 30000, Size: 2768},
		Quota:                 8 << 30,
		CompactionInterval:    5 * time.Minute,
		EventTTL:              time.Hour,
		External:              External{Prefix: DefaultPrefix},
		HealthTimeout:         checkTimeout,
		ReadyTimeout:          checkTimeout,
		AnonymousAuth:         true,
		ServiceAccountIssuers: []string{"https://kubernetes.default.svc.cluster.local"},
		NotReadyToleration:    300,
		UnreachableToleration: 300,
		MaxRequestsInflight:   400,
		MaxMutatingInflight:   200,
		RequestTimeout:        time.Minute,
		MinRequestTimeout:     30 * time.Minute,
		ControllerManager:     controllers.DefaultOptions(),
	}
}

// DataDirVariable names the environment variable that moves the default data folder.
const DataDirVariable = "WHEELHOUSE_DATA_DIR"

// DefaultDataDir is where a master keeps its data unless told otherwise: /var/lib/wheelhouse for root,
// the user's own data folder for others.
func DefaultDataDir() string {
	if dir := os.Getenv(DataDirVariable); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/wheelhouse"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "wheelhouse")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "wheelhouse-data"
	}
	return filepath.Join(home, ".local", "share", "wheelhouse")
}

// leaseTimes are LeaseDuration, RenewDeadline and RetryPeriod.
func (c *Config) leaseTimes() (lease, renew, retry time.Duration) {
	lease, renew, retry = 15*time.Second, 10*time.Second, 4*time.Second
	if c.external() {
		lease, renew, retry = 4*time.Second, 3*time.Second, time.Second
	}
	return cmp.Or(c.LeaseDuration, lease), cmp.Or(c.RenewDeadline, renew), cmp.Or(c.RetryPeriod, retry)
}

// Runs tells whether the component is wanted.
func (c *Config) Runs(want Component) bool {
	for _, have := range c.Components {
		if have == want {
			return true
		}
	}
	return false
}

// Check finds what cannot work, before anything is started.
func (c *Config) Check() error {
	if !c.Runs(APIServer) {
		return errors.New("--components must include apiserver: controllers and scheduler of this process reach it by function calls")
	}
	if c.SecurePort < 0 || c.SecurePort > 65535 {
		return fmt.Errorf("--secure-port %d is not a port: use 1 to 65535, or 0 for a free one", c.SecurePort)
	}
	if net.ParseIP(c.BindAddress) == nil {
		return fmt.Errorf("--bind-address %q is not an IP address", c.BindAddress)
	}
	if err := errors.Join(c.checkAdvertised(), c.checkEncryption(), c.checkExternal(), c.checkDataDir()); err != nil {
		return err
	}
	if c.PeerPort < 0 || c.PeerPort > 65535 {
		return fmt.Errorf("--peer-port %d is not a port: use 1 to 65535, or 0 for a free one", c.PeerPort)
	}
	enrolment := c.enrolment(nil)
	if err := enrolment.Check(); err != nil {
		return err
	}
	if err := errors.Join(c.checkTLS(), c.checkGoaway()); err != nil {
		return err
	}
	plugins, err := c.admission()
	if err != nil {
		return err
	}
	if err := admission.Check(plugins); err != nil {
		return err
	}
	if err := c.Backups.Check(c.DataDir); err != nil {
		return err
	}
	if c.SimulateNodes < 0 {
		return fmt.Errorf("--simulate-nodes %d: the number of nodes cannot be negative", c.SimulateNodes)
	}
	if lease, renew, retry := c.leaseTimes(); lease <= renew || renew <= retry {
		return errors.New("--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline, and that longer than --leader-elect-retry-period")
	}
	if c.ControllerManager.NodeLifecycle.MonitorGracePeriod < c.ControllerManager.NodeLifecycle.MonitorPeriod {
		return errors.New("--node-monitor-grace-period must not be shorter than --node-monitor-period")
	}
	if _, err := c.ControllerManager.Select(); err != nil {
		return err
	}
	return c.checkRanges()
}

// checkAdvertised: others must be able to reach the address.
func (c *Config) checkAdvertised() error {
	if c.AdvertiseAddress == "" {
		return nil
	}
	ip := net.ParseIP(c.AdvertiseAddress)
	switch {
	case ip == nil:
		return fmt.Errorf("--advertise-address %q is not an IP address", c.AdvertiseAddress)
	case ip.IsLoopback(): // masters side by side on one machine
		if probe, err := net.ListenPacket("udp", net.JoinHostPort(ip.String(), "0")); err != nil {
			return fmt.Errorf("--advertise-address %s: this machine does not have it: %w", c.AdvertiseAddress, err)
		} else {
			return probe.Close()
		}
	case ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast():
		return fmt.Errorf("--advertise-address %s: the cluster cannot reach this master there; give an address of this host's network", c.AdvertiseAddress)
	}
	return nil
}

func (c *Config) checkRanges() error {
	if len(c.ServiceRanges) == 0 || len(c.ServiceRanges) > 2 {
		return errors.New("--service-cluster-ip-range needs one range, or one of each IP family separated by a comma")
	}
	for _, r := range c.ServiceRanges {
		if r != r.Masked() {
			return fmt.Errorf("--service-cluster-ip-range %s: the range begins at %s", r, r.Masked())
		}
		if size := r.Addr().BitLen() - r.Bits(); size < 3 {
			return fmt.Errorf("--service-cluster-ip-range %s is too small: at least 8 addresses are needed", r)
		}
	}
	if len(c.ServiceRanges) == 2 && c.ServiceRanges[0].Addr().Is4() == c.ServiceRanges[1].Addr().Is4() {
		return errors.New("--service-cluster-ip-range: two ranges must be of different IP families")
	}
	return nil
}

// ParseRanges reads the value of --service-cluster-ip-range.
func ParseRanges(text string) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, part := range strings.Split(text, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP range such as 10.96.0.0/12", part)
		}
		ranges = append(ranges, p.Masked())
	}
	return ranges, nil
}

// admission is how the flags set up admission plugins.
func (c *Config) admission() (admission.Options, error) {
	configuration, err := admission.ReadConfiguration(c.AdmissionConfig)
	return admission.Options{
		Enable: c.EnableAdmission, Disable: c.DisableAdmission, Configuration: configuration, Hardened: c.Hardened,
		NotReadySeconds: c.NotReadyToleration, UnreachableSeconds: c.UnreachableToleration,
	}, err
}

// managesKeys tells whether the masters keep the encryption keys by themselves.
func (c *Config) managesKeys() bool { return c.EncryptionConfig == "" && c.DataDir != "" }

// checkEncryption finds flags that do not go together.
func (c *Config) checkEncryption() error {
	if c.EncryptionReload && c.EncryptionConfig == "" {
		return errors.New("--encryption-provider-config-automatic-reload needs --encryption-provider-config")
	}
	return nil
}

// encryption is how this master, of a name, encrypts. A master in memory that was given no configuration does not.
func (c *Config) encryption(self string) keys.Options {
	o := keys.Options{
		File: c.EncryptionConfig, Managed: c.managesKeys(), Reload: c.EncryptionReload,
		Self: self, Kinds: api.Kinds(), EventTTL: c.EventTTL, Log: c.Log, Warn: c.warn,
	}
	if o.Managed {
		o.File = filepath.Join(c.DataDir, datafolder.EncryptionFile)
	}
	return o
}

// identity is what the master's knowledge of its store goes by.
func (c *Config) identity(self func() (name, url string), proven func(*http.Request) bool) identity.Options {
	o := identity.Options{
		DataDir: c.DataDir, PKIDir: c.PKIDir, Recovering: c.RecoverQuorum, NewCluster: c.NewCluster, Self: self, Proven: proven,
		Now: c.Now, Warn: c.warn,
	}
	if c.external() {
		o.Servers = strings.Join(c.External.Servers, ",")
	}
	return o
}

// enrolment is what the operator wants of this start.
func (c *Config) enrolment(peerURL func() (string, error)) enrol.Options {
	return enrol.Options{
		DataDir: c.DataDir, PKIDir: c.PKIDir, Join: c.Join, Token: c.Token, AuthorityHashes: c.AuthorityHashes,
		RecoverQuorum: c.RecoverQuorum, ForgetOthers: c.ForgetOthers, ForgetStore: c.ForgetStore, NewCluster: c.NewCluster, Replace: c.Replace,
		External: c.external(), Settings: c.sharedSettings(), PeerURL: peerURL, Now: c.Now, Log: c.Log, Warn: c.warn,
	}
}

// sharedSettings are the flags that all masters must have alike.
func (c *Config) sharedSettings() map[string]string {
	var ranges []string
	for _, r := range c.ServiceRanges {
		ranges = append(ranges, r.String())
	}
	settings := map[string]string{"service-cluster-ip-range": strings.Join(ranges, ",")}
	if len(c.ServiceAccountIssuers) > 0 {
		settings["service-account-issuer"] = c.ServiceAccountIssuers[0]
	}
	return settings
}

// storeKind is where the data are, in a word.
func (c *Config) storeKind() string {
	switch {
	case c.external():
		return "external"
	case c.DataDir == "":
		return "memory"
	}
	return "embedded"
}
