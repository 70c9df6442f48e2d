package podspec

import (
	"fmt"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PodWarnings are what a user should hear of a pod that is accepted all the same.
func PodWarnings(p *corev1.Pod) []string {
	var w warnings
	if messages := kind.DNSLabel(p.Name); len(messages) > 0 && p.Name != "" {
		w.list = append(w.list, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", messages))
	}
	w.template(&p.ObjectMeta, &p.Spec, nil)
	return w.list
}

// NamePrefixWarnings are about the name of a workload from which the names of its pods are made.
func NamePrefixWarnings(name string) []string {
	messages := kind.DNSLabel(name)
	if name == "" || len(messages) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", messages)}
}

// TemplateWarnings are what a user should hear of a template that is accepted all the same.
func TemplateWarnings(t *corev1.PodTemplateSpec, at *field.Path) []string {
	var w warnings
	w.template(&t.ObjectMeta, &t.Spec, at)
	return w.list
}

// warnings gathers texts, each about a field.
type warnings struct{ list []string }

func (w *warnings) about(at *field.Path, text string) {
	w.list = append(w.list, at.String()+": "+text)
}

// below gives a path within a template at, or within a pod if at is nil.
func within(at *field.Path, name string) *field.Path {
	if at == nil {
		return field.NewPath(name)
	}
	return at.Child(name)
}

func (w *warnings) template(meta *metav1.ObjectMeta, s *corev1.PodSpec, at *field.Path) {
	spec := within(at, "spec")
	w.nodeLabels(s, spec)
	if len(meta.Annotations) > 0 {
		w.annotations(meta, s, at)
	}
	for i := range s.Volumes {
		w.volume(&s.Volumes[i], spec, i)
	}
	w.tokenPaths(s, spec)
	w.repeatedEntries(s, spec)
	w.fraction(s.Overhead, func() *field.Path { return spec.Child("overhead") })
	for c := range Containers(s) {
		w.fraction(c.Resources.Limits, func() *field.Path { return c.Path(spec).Child("resources", "limits") })
		w.fraction(c.Resources.Requests, func() *field.Path { return c.Path(spec).Child("resources", "requests") })
		w.hiddenEnv(c, spec)
	}
	w.ports(s, spec)
	w.addresses(s, spec)
	w.withoutEffect(s, spec)
}

// deprecatedNodeLabels are labels that newer ones replaced.
var deprecatedNodeLabels = map[string]string{
	"beta.kubernetes.io/arch":                  `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                    `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region": `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":   `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":         `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
}

func (w *warnings) nodeLabels(s *corev1.PodSpec, spec *field.Path) {
	for _, key := range sortedKeys(s.NodeSelector) {
		if text, ok := deprecatedNodeLabels[key]; ok {
			w.about(spec.Child("nodeSelector").Key(key), text)
		}
	}
	if n := NodeAffinity(s); n != nil {
		at := spec.Child("affinity", "nodeAffinity")
		if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			for i := range r.NodeSelectorTerms {
				w.nodeTerm(&r.NodeSelectorTerms[i], at.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i))
			}
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			w.nodeTerm(&n.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"))
		}
	}
	for i := range s.TopologySpreadConstraints {
		c, at := &s.TopologySpreadConstraints[i], spec.Child("topologySpreadConstraints").Index(i)
		if text, ok := deprecatedNodeLabels[c.TopologyKey]; ok {
			w.about(at.Child("topologyKey"), c.TopologyKey+" is "+text)
		}
		if c.LabelSelector == nil {
			w.about(at.Child("labelSelector"), selectsNothing)
		}
	}
}

func (w *warnings) nodeTerm(t *corev1.NodeSelectorTerm, at *field.Path) {
	for i := range t.MatchExpressions {
		r, here := &t.MatchExpressions[i], at.Child("matchExpressions").Index(i)
		if text, ok := deprecatedNodeLabels[r.Key]; ok {
			w.about(here.Child("key"), r.Key+" is "+text)
		}
		for j, value := range r.Values {
			if messages := validation.IsValidLabelValue(value); len(messages) > 0 {
				w.about(here.Child("values").Index(j), fmt.Sprintf("%q is invalid: %s", value, strings.Join(messages, "; ")))
			}
		}
	}
}

func (w *warnings) annotations(meta *metav1.ObjectMeta, s *corev1.PodSpec, at *field.Path) {
	path := func(key string) *field.Path { return within(at, "metadata").Child("annotations").Key(key) }
	for _, deprecated := range []struct{ key, text string }{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, ok := meta.Annotations[deprecated.key]; ok {
			w.about(path(deprecated.key), deprecated.text)
		}
	}
	const useSeccompField = `non-functional in v1.27+; use the "seccompProfile" field instead`
	whole := s.SecurityContext
	if _, ok := meta.Annotations[seccompPodAnnotation]; ok && (whole == nil || whole.SeccompProfile == nil) {
		w.about(path(seccompPodAnnotation), useSeccompField)
	}
	for c := range Containers(s) {
		if _, ok := meta.Annotations[seccompContainerPrefix+c.Name]; ok && (c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil) {
			w.about(path(seccompContainerPrefix+c.Name), useSeccompField)
		}
		w.appArmorAnnotation(meta, s, c.Container, at == nil, path)
	}
}

// appArmorAnnotation: in a pod the annotation has been copied to the field by now, so there it counts as the only
// source if it agrees with the field.
func (w *warnings) appArmorAnnotation(meta *metav1.ObjectMeta, s *corev1.PodSpec, c *corev1.Container, pod bool, path func(string) *field.Path) {
	text, ok := meta.Annotations[appArmorAnnotation+c.Name]
	if !ok {
		return
	}
	var own *corev1.AppArmorProfile
	if c.SecurityContext != nil {
		own = c.SecurityContext.AppArmorProfile
	}
	inWhole := s.SecurityContext != nil && s.SecurityContext.AppArmorProfile != nil
	profile := appArmorFromText(text)
	copied := pod && profile != nil && !sameAppArmor(profile, s.SecurityContext) && sameAppArmor(profile, &corev1.PodSecurityContext{AppArmorProfile: own})
	if copied || own == nil && (!inWhole || pod && profile == nil) {
		w.about(path(appArmorAnnotation+c.Name), `deprecated since v1.30; use the "appArmorProfile" field instead`)
	}
}

func (w *warnings) volume(v *corev1.Volume, spec *field.Path, i int) {
	for _, old := range []struct {
		set        bool
		name, text string
	}{
		{v.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
		{v.GitRepo != nil, "gitRepo", "deprecated in v1.11"},
		{v.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
		{v.Flocker != nil, "flocker", "deprecated in v1.22, non-functional in v1.25+"},
		{v.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
		{v.Quobyte != nil, "quobyte", "deprecated in v1.22, non-functional in v1.25+"},
		{v.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
		{v.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
		{v.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
	} {
		if old.set {
			w.about(spec.Child("volumes").Index(i).Child(old.name), old.text)
		}
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		requests := v.Ephemeral.VolumeClaimTemplate.Spec.Resources.Requests
		if size, ok := requests[corev1.ResourceStorage]; ok && fractional(size) {
			at := spec.Child("volumes").Index(i).Child("ephemeral", "volumeClaimTemplate", "spec", "resources", "requests")
			w.about(at.Key(string(corev1.ResourceStorage)), fractionText(size))
		}
	}
}

// tokenPaths: other sources that write where a token is written.
func (w *warnings) tokenPaths(s *corev1.PodSpec, spec *field.Path) {
	var tokens kind.NameSet
	found := false
	for i := range s.Volumes {
		if p := s.Volumes[i].Projected; p != nil {
			for j := range p.Sources {
				if t := p.Sources[j].ServiceAccountToken; t != nil {
					tokens.Add(t.Path)
					found = true
				}
			}
		}
	}
	if !found {
		return
	}
	clash := func(path string, at func() *field.Path) {
		if tokens.Has(path) {
			w.about(at(), fmt.Sprintf("has duplicated path with ServiceAccountToken %q", path))
		}
	}
	for i := range s.Volumes {
		p := s.Volumes[i].Projected
		if p == nil {
			continue
		}
		at := func(source string) *field.Path {
			return spec.Child("volumes").Index(i).Child("projected", "sources", source)
		}
		for _, src := range p.Sources {
			if src.ConfigMap != nil {
				for j, item := range src.ConfigMap.Items {
					clash(item.Path, func() *field.Path { return at("configMap").Index(j) })
				}
			}
			if src.Secret != nil {
				for j, item := range src.Secret.Items {
					clash(item.Path, func() *field.Path { return at("secrets").Index(j) })
				}
			}
			if src.DownwardAPI != nil {
				for j, item := range src.DownwardAPI.Items {
					clash(item.Path, func() *field.Path { return at("downwardAPI").Index(j) })
				}
			}
			if src.ClusterTrustBundle != nil {
				clash(src.ClusterTrustBundle.Path, func() *field.Path { return at("ClusterTrustBundle") })
			}
		}
	}
}

func (w *warnings) repeatedEntries(s *corev1.PodSpec, spec *field.Path) {
	var ips, secrets kind.NameSet
	for i := range s.HostAliases {
		if ip := s.HostAliases[i].IP; !ips.Add(ip) {
			w.about(spec.Child("hostAliases").Index(i).Child("ip"), fmt.Sprintf("duplicate ip %q", ip))
		}
	}
	for i := range s.ImagePullSecrets {
		name := s.ImagePullSecrets[i].Name
		at := func() *field.Path { return spec.Child("imagePullSecrets").Index(i).Child("name") }
		if !secrets.Add(name) {
			w.about(at(), fmt.Sprintf("duplicate name %q", name))
		}
		if name == "" {
			w.about(at(), fmt.Sprintf("invalid empty name %q", name))
		}
	}
}

func fractional(q resource.Quantity) bool { return q.MilliValue()%1000 != 0 }

func fractionText(q resource.Quantity) string {
	return fmt.Sprintf("fractional byte value %q is invalid, must be an integer", q.String())
}

func (w *warnings) fraction(list corev1.ResourceList, at func() *field.Path) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := list[name]; ok && fractional(q) {
			w.about(at().Key(string(name)), fractionText(q))
		}
	}
}

// hiddenEnv: a variable that is set twice is fine if the second value builds on the first.
func (w *warnings) hiddenEnv(c Container, spec *field.Path) {
	var seen kind.NameSet
	for i := range c.Env {
		e := &c.Env[i]
		if seen.Add(e.Name) {
			continue
		}
		if ref := "$(" + e.Name + ")"; e.ValueFrom != nil || e.Value == ref || !strings.Contains(e.Value, ref) {
			w.about(c.Path(spec).Child("env").Index(i), fmt.Sprintf("hides previous definition of %q, which may be dropped when using apply", e.Name))
		}
	}
}

// portWarningsMax ends the comparison of ports, whose number of pairs is large where a port is repeated often.
const portWarningsMax = 100

// ports: the same port in several containers, unless host ports or addresses tell them apart.
func (w *warnings) ports(s *corev1.PodSpec, spec *field.Path) {
	type seen struct {
		port *corev1.ContainerPort
		at   func() *field.Path
	}
	type number struct {
		port     int32
		protocol corev1.Protocol
	}
	all := map[number][]seen{}
containers:
	for c := range Containers(s) {
		for i := range c.Ports {
			port := &c.Ports[i]
			at := func() *field.Path { return c.Path(spec).Child("ports").Index(i) }
			if port.HostIP != "" && port.HostPort == 0 {
				w.about(at(), fmt.Sprintf("hostIP set without hostPort: %+v", *port))
			}
			key := number{port.ContainerPort, port.Protocol}
			for _, other := range all[key] {
				if len(w.list) > portWarningsMax {
					continue containers
				}
				switch {
				case port.HostIP == other.port.HostIP && port.HostPort == other.port.HostPort:
					w.about(at(), "duplicate port definition with "+other.at().String())
				case port.HostPort == 0 || other.port.HostPort == 0:
					w.about(at(), "overlapping port definition with "+other.at().String())
				case port.HostPort == other.port.HostPort && (port.HostIP == "") != (other.port.HostIP == ""):
					w.about(at(), "dangerously ambiguous port definition with "+other.at().String())
				}
			}
			all[key] = append(all[key], seen{port, at})
		}
	}
}

// addresses that are accepted for compatibility, such as those with leading zeros.
func (w *warnings) addresses(s *corev1.PodSpec, spec *field.Path) {
	if s.DNSConfig != nil {
		for i, ip := range s.DNSConfig.Nameservers {
			w.list = append(w.list, validation.GetWarningsForIP(spec.Child("dnsConfig", "nameservers").Index(i), ip)...)
		}
	}
	for i := range s.HostAliases {
		w.list = append(w.list, validation.GetWarningsForIP(spec.Child("hostAliases").Index(i).Child("ip"), s.HostAliases[i].IP)...)
	}
}

// withoutEffect: settings that cannot have the effect which they seem to have.
func (w *warnings) withoutEffect(s *corev1.PodSpec, spec *field.Path) {
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.about(spec.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	if s.Affinity == nil {
		return
	}
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if a := s.Affinity.PodAffinity; a != nil {
		at := spec.Child("affinity", "podAffinity")
		w.nullSelectors(a.RequiredDuringSchedulingIgnoredDuringExecution, at.Child(required))
		w.nullWeightedSelectors(a.PreferredDuringSchedulingIgnoredDuringExecution, at.Child(preferred))
	}
	if a := s.Affinity.PodAntiAffinity; a != nil {
		at := spec.Child("affinity", "podAntiAffinity")
		w.nullSelectors(a.RequiredDuringSchedulingIgnoredDuringExecution, at.Child(required))
		w.nullWeightedSelectors(a.PreferredDuringSchedulingIgnoredDuringExecution, at.Child(preferred))
	}
}

const selectsNothing = "a null labelSelector results in matching no pod"

func (w *warnings) nullSelectors(affinityTerms []corev1.PodAffinityTerm, at *field.Path) {
	for i := range affinityTerms {
		if affinityTerms[i].LabelSelector == nil {
			w.about(at.Index(i).Child("labelSelector"), selectsNothing)
		}
	}
}

func (w *warnings) nullWeightedSelectors(affinityTerms []corev1.WeightedPodAffinityTerm, at *field.Path) {
	for i := range affinityTerms {
		if affinityTerms[i].PodAffinityTerm.LabelSelector == nil {
			w.about(at.Index(i).Child("podAffinityTerm", "labelSelector"), selectsNothing)
		}
	}
}
