package podspec

import (
	"math"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Allowances are rules that are not held against an object which broke them before they existed.
// The zero value allows nothing, which is right for new objects.
type Allowances struct {
	SelectorLabelValues     bool // label values in selectors of affinity terms
	NodeAffinityLabelValues bool // label values in required node affinity
	SpreadSelectors         bool // label selectors of topology spread constraints
	ProjectedTokenPaths     bool // paths of projected service account tokens that leave the volume
	HostNamespaceSysctls    bool // sysctls of a namespace that is the node's
}

// validator walks a pod spec. It holds what checks deep in the tree need to know of the whole.
type validator struct {
	problems
	spec *corev1.PodSpec
	// meta is the pod's own metadata; nil within a template, for which some rules are not yet due.
	meta  *metav1.ObjectMeta
	allow Allowances
	// volumes are those without problems, so that mounts of a bad volume are reported too.
	volumes []*corev1.Volume
	// byName is an index of volumes when they are many.
	byName map[string]*corev1.Volume
	// names of containers and init containers, as far as they have been visited.
	names kind.NameSet
	// claims are the names of the pod's resource claims.
	claims kind.NameSet
	// hostUsers is false when the pod has a user namespace of its own.
	hostUsers bool
}

// Validate judges a pod spec. meta is the pod's metadata and nil for the spec of a template.
// It expects defaults to be set.
func Validate(spec *corev1.PodSpec, meta *metav1.ObjectMeta, at *field.Path, allow Allowances) field.ErrorList {
	v := validator{spec: spec, meta: meta, allow: allow, hostUsers: spec.HostUsers == nil || *spec.HostUsers}
	v.podSpec(at)
	return v.List
}

func (v *validator) podSpec(at *field.Path) {
	s := v.spec
	if s.TerminationGracePeriodSeconds == nil {
		v.Required(at, "terminationGracePeriodSeconds", "")
	}
	v.podVolumes(at.Child("volumes"))
	v.podResourceClaims(at)
	v.containers(at.Child("containers"))
	v.initContainers(at)
	v.ephemeralContainers(at)
	if s.Resources != nil {
		v.podLevelResources(at)
	}
	v.hostNetworkPorts(at)
	kind.RequiredOneOf(&v.Problems, at, "restartPolicy", s.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	kind.RequiredOneOf(&v.Problems, at, "dnsPolicy", s.DNSPolicy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	if len(s.NodeSelector) > 0 {
		v.Add(metav1validation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector")))
	}
	v.podSecurityContext(at)
	if s.Affinity != nil {
		v.affinity(s.Affinity, at.Child("affinity"))
	}
	v.dnsConfig(at)
	v.gates(at)
	v.topologySpread(at)
	v.windowsHostProcess(at)
	v.userNamespace(at)
	v.podNames(at)
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		v.Invalid(at, "activeDeadlineSeconds", *d, validation.InclusiveRangeError(1, math.MaxInt32))
	}
	if len(s.Tolerations) > 0 {
		v.Add(ValidateTolerations(s.Tolerations, at.Child("tolerations")))
	}
	v.hostAliases(at)
	if s.PreemptionPolicy != nil {
		kind.RequiredOneOf(&v.Problems, at, "preemptionPolicy", *s.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	if s.Overhead != nil {
		v.containerResources(&corev1.ResourceRequirements{Limits: s.Overhead}, at.Child("overhead"), validateContainerResourceName)
	}
	v.operatingSystem(at)
}

// podNames are the names and host names in a spec that follow naming rules and nothing else.
func (v *validator) podNames(at *field.Path) {
	s := v.spec
	if s.ServiceAccountName != "" {
		v.Subdomain(at, "serviceAccountName", s.ServiceAccountName)
	}
	if s.NodeName != "" {
		v.Subdomain(at, "nodeName", s.NodeName)
	}
	if s.Hostname != "" {
		v.Label(at, "hostname", s.Hostname)
	}
	if s.Subdomain != "" {
		v.Label(at, "subdomain", s.Subdomain)
	}
	if s.PriorityClassName != "" {
		v.Subdomain(at, "priorityClassName", s.PriorityClassName)
	}
	if s.RuntimeClassName != nil {
		v.Messages(at, "runtimeClassName", *s.RuntimeClassName, apivalidation.NameIsDNSSubdomain(*s.RuntimeClassName, false))
	}
	if s.HostnameOverride != nil {
		v.hostnameOverride(*s.HostnameOverride, at)
	}
}

// hostnameMax is the longest host name that Linux knows.
const hostnameMax = 64

func (v *validator) hostnameOverride(name string, at *field.Path) {
	if v.spec.SetHostnameAsFQDN != nil && *v.spec.SetHostnameAsFQDN {
		v.Forbidden(at, "hostnameOverride", "may not be set together with setHostnameAsFQDN")
	}
	if v.spec.HostNetwork {
		v.Forbidden(at, "hostnameOverride", "may not be set for a pod in the node's network (hostNetwork)")
	}
	v.Subdomain(at, "hostnameOverride", name)
	if len(name) > hostnameMax {
		v.List = append(v.List, field.TooLong(at.Child("hostnameOverride"), name, hostnameMax))
	}
}

// hostNetworkPorts: in the node's network a container's port is the node's port. Templates may leave the host port
// out, since it is filled in when a pod is made.
func (v *validator) hostNetworkPorts(at *field.Path) {
	if !v.spec.HostNetwork {
		return
	}
	for i := range v.spec.Containers {
		for j, port := range v.spec.Containers[i].Ports {
			if (v.meta != nil || port.HostPort != 0) && port.HostPort != port.ContainerPort {
				v.Invalid(at.Child("containers").Index(i).Child("ports").Index(j), "hostPort", port.HostPort, "must equal containerPort when hostNetwork is true")
			}
		}
	}
}

// userNamespace: a pod with users of its own may not enter namespaces of the node that know the node's users.
func (v *validator) userNamespace(at *field.Path) {
	if v.hostUsers {
		return
	}
	const detail = "may not be true when hostUsers is false"
	if v.spec.HostNetwork {
		v.Forbidden(at, "hostNetwork", detail)
	}
	// The capital letters are upstream's, and clients see them.
	if v.spec.HostPID {
		v.Forbidden(at, "HostPID", detail)
	}
	if v.spec.HostIPC {
		v.Forbidden(at, "HostIPC", detail)
	}
}

// Limits of resolv.conf.
const (
	dnsNameserversMax  = 3
	dnsSearchesMax     = 32
	dnsSearchLengthMax = 2048
)

func (v *validator) dnsConfig(at *field.Path) {
	c := v.spec.DNSConfig
	if v.spec.DNSPolicy == corev1.DNSNone {
		if c == nil {
			v.Required(at, "dnsConfig", "must be set when dnsPolicy is None")
			return
		}
		if len(c.Nameservers) == 0 {
			v.Required(at.Child("dnsConfig"), "nameservers", "must name at least one server when dnsPolicy is None")
			return
		}
	}
	if c == nil {
		return
	}
	at = at.Child("dnsConfig")
	if len(c.Nameservers) > dnsNameserversMax {
		v.Invalid(at, "nameservers", c.Nameservers, "may name at most 3 servers")
	}
	for i, server := range c.Nameservers {
		v.Add(validation.IsValidIP(at.Child("nameservers").Index(i), server))
	}
	if len(c.Searches) > dnsSearchesMax {
		v.Invalid(at, "searches", c.Searches, "may have at most 32 search paths")
	}
	length := len(c.Searches) - 1
	for i, search := range c.Searches {
		length += len(search)
		v.searchPath(search, at.Child("searches").Index(i))
	}
	if length > dnsSearchLengthMax {
		v.Invalid(at, "searches", c.Searches, "may have at most 2048 characters, spaces between search paths included")
	}
	for i := range c.Options {
		if c.Options[i].Name == "" {
			v.Required(at.Child("options").Index(i), "", "must not be empty")
		}
	}
}

// searchPath accepts the root, a trailing dot and underscores, which resolvers accept.
func (v *validator) searchPath(search string, at *field.Path) {
	if search == "." {
		return
	}
	if n := len(search); n > 0 && search[n-1] == '.' {
		search = search[:n-1]
	}
	v.Messages(at, "", search, validation.IsDNS1123SubdomainWithUnderscore(search))
}

func (v *validator) hostAliases(at *field.Path) {
	for i := range v.spec.HostAliases {
		alias := &v.spec.HostAliases[i]
		here := at.Child("hostAliases").Index(i)
		v.Add(validation.IsValidIP(here.Child("ip"), alias.IP))
		for j, name := range alias.Hostnames {
			v.Subdomain(here.Child("hostnames").Index(j), "", name)
		}
	}
}

// gates are what must be so before a pod is scheduled, and before it is ready.
func (v *validator) gates(at *field.Path) {
	for i, gate := range v.spec.ReadinessGates {
		v.Messages(at.Child("readinessGates").Index(i), "conditionType", string(gate.ConditionType), kind.QualifiedName(string(gate.ConditionType)))
	}
	var seen kind.NameSet
	for i, gate := range v.spec.SchedulingGates {
		here := at.Child("schedulingGates").Index(i)
		v.Messages(here, "", gate.Name, kind.QualifiedName(gate.Name))
		if !seen.Add(gate.Name) {
			v.Duplicate(here, "", gate.Name)
		}
	}
}

// podResourceClaims are the pod's links to ResourceClaims, or to templates of them.
func (v *validator) podResourceClaims(at *field.Path) {
	for i := range v.spec.ResourceClaims {
		c := &v.spec.ResourceClaims[i]
		here := at.Child("resourceClaims").Index(i)
		switch {
		case c.Name == "":
			v.Required(here, "name", "")
		case !v.claims.Add(c.Name):
			v.Duplicate(here, "name", c.Name)
		default:
			v.Label(here, "name", c.Name)
		}
		if (c.ResourceClaimName == nil) == (c.ResourceClaimTemplateName == nil) {
			v.Invalid(here, "", *c, "must have either resourceClaimName or resourceClaimTemplateName")
		}
		if c.ResourceClaimName != nil {
			v.Subdomain(here, "resourceClaimName", *c.ResourceClaimName)
		}
		if c.ResourceClaimTemplateName != nil {
			v.Subdomain(here, "resourceClaimTemplateName", *c.ResourceClaimTemplateName)
		}
	}
}
