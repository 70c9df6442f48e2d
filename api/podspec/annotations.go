package podspec

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Annotations of pods that have a meaning of their own.
const (
	tolerationsAnnotation   = "scheduler.alpha.kubernetes.io/tolerations"
	deletionCostAnnotation  = corev1.PodDeletionCost
	mirrorAnnotation        = corev1.MirrorPodAnnotationKey
	appArmorAnnotation      = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix
	seccompPodAnnotation    = corev1.SeccompPodAnnotationKey
	seccompContainerPrefix  = corev1.SeccompContainerAnnotationKeyPrefix
	appArmorRuntimeDefault  = corev1.DeprecatedAppArmorBetaProfileRuntimeDefault
	appArmorUnconfined      = corev1.DeprecatedAppArmorBetaProfileNameUnconfined
	appArmorLocalhostPrefix = corev1.DeprecatedAppArmorBetaProfileNamePrefix
	seccompLocalhostPrefix  = corev1.SeccompLocalhostProfileNamePrefix
)

// initContainerAnnotations once held init containers; they are dropped wherever they still turn up.
var initContainerAnnotations = []string{
	"pod.beta.kubernetes.io/init-containers", "pod.alpha.kubernetes.io/init-containers",
	"pod.beta.kubernetes.io/init-container-statuses", "pod.alpha.kubernetes.io/init-container-statuses",
}

func dropInitContainerAnnotations(annotations map[string]string) {
	if len(annotations) == 0 {
		return
	}
	for _, key := range initContainerAnnotations {
		if _, there := annotations[key]; there { // an object that others read must not be written to for nothing
			delete(annotations, key)
		}
	}
}

// ValidateAnnotations judges the annotations of a pod.
func ValidateAnnotations(annotations map[string]string, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var ps problems
	ps.podAnnotations(annotations, spec, at)
	return ps.List
}

// podAnnotations judges the annotations of a pod or of a template.
func (ps *problems) podAnnotations(annotations map[string]string, spec *corev1.PodSpec, at *field.Path) {
	if len(annotations) == 0 {
		return
	}
	if value, ok := annotations[mirrorAnnotation]; ok && spec.NodeName == "" {
		ps.Invalid(at.Key(mirrorAnnotation), "", value, "needs spec.nodeName to be set")
	}
	if text := annotations[tolerationsAnnotation]; text != "" {
		var tolerations []corev1.Toleration
		if err := json.Unmarshal([]byte(text), &tolerations); err != nil {
			ps.Invalid(at, tolerationsAnnotation, text, err.Error())
		} else {
			ps.Add(ValidateTolerations(tolerations, at.Child(tolerationsAnnotation)))
		}
	}
	if cost, ok := annotations[deletionCostAnnotation]; ok && !deletionCost(cost) {
		ps.Invalid(at.Key(deletionCostAnnotation), "", cost, "must be a 32bit integer")
	}
	var containers *kind.NameSet // gathered when an annotation is about one
	for key, profile := range annotations {
		switch {
		case key == seccompPodAnnotation, strings.HasPrefix(key, seccompContainerPrefix):
			ps.seccompAnnotation(profile, at, key)
		case strings.HasPrefix(key, appArmorAnnotation):
			name := strings.TrimPrefix(key, appArmorAnnotation)
			if containers == nil {
				containers = &kind.NameSet{}
				for c := range Containers(spec) {
					containers.Add(c.Name)
				}
			}
			if !containers.Has(name) {
				ps.Invalid(at.Key(key), "", name, "is no container of the pod")
			}
			if profile != "" && profile != appArmorRuntimeDefault && profile != appArmorUnconfined && !strings.HasPrefix(profile, appArmorLocalhostPrefix) {
				ps.Invalid(at.Key(key), "", profile, "is no AppArmor profile")
			}
		}
	}
}

// deletionCost accepts 32-bit integers without a plus sign or leading zeros.
func deletionCost(s string) bool {
	if s == "" || !(s[0] == '-' || s == "0" || s[0] >= '1' && s[0] <= '9') {
		return false
	}
	_, err := strconv.ParseInt(s, 10, 32)
	return err == nil
}

func (ps *problems) seccompAnnotation(profile string, at *field.Path, key string) {
	switch {
	case profile == corev1.SeccompProfileRuntimeDefault, profile == corev1.DeprecatedSeccompProfileDockerDefault, profile == corev1.SeccompProfileNameUnconfined:
	case strings.HasPrefix(profile, seccompLocalhostPrefix):
		ps.descendingPath(strings.TrimPrefix(profile, seccompLocalhostPrefix), at, key)
	default:
		ps.Invalid(at, key, profile, "must be a seccomp profile")
	}
}

// ValidateProfileAnnotations makes sure that the annotations and the fields of a pod ask for the same security profiles.
func ValidateProfileAnnotations(annotations map[string]string, s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var ps problems
	ps.seccompAgrees(annotations, s, at)
	ps.appArmorAgrees(annotations, s, at)
	return ps.List
}

// seccompAgrees: where both the annotation and the field give a profile, they must be the same.
func (ps *problems) seccompAgrees(annotations map[string]string, s *corev1.PodSpec, at *field.Path) {
	if len(annotations) == 0 {
		return
	}
	if s.SecurityContext != nil && s.SecurityContext.SeccompProfile != nil {
		if text, ok := annotations[seccompPodAnnotation]; ok {
			ps.sameSeccomp(text, s.SecurityContext.SeccompProfile, at.Child("securityContext", "seccompProfile"))
		}
	}
	for c := range Containers(s) {
		if c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil {
			continue
		}
		if text, ok := annotations[seccompContainerPrefix+c.Name]; ok {
			ps.sameSeccomp(text, c.SecurityContext.SeccompProfile, c.Path(at).Child("securityContext", "seccompProfile"))
		}
	}
}

func (ps *problems) sameSeccomp(text string, p *corev1.SeccompProfile, at *field.Path) {
	const typeDetail, profileDetail = "must be the type that the annotation gives", "must be the profile that the annotation gives"
	switch p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		if text != corev1.SeccompProfileNameUnconfined {
			ps.Forbidden(at, "type", typeDetail)
		}
	case corev1.SeccompProfileTypeRuntimeDefault:
		if text != corev1.SeccompProfileRuntimeDefault && text != corev1.DeprecatedSeccompProfileDockerDefault {
			ps.Forbidden(at, "type", typeDetail)
		}
	case corev1.SeccompProfileTypeLocalhost:
		if !strings.HasPrefix(text, seccompLocalhostPrefix) {
			ps.Forbidden(at, "type", typeDetail)
		} else if p.LocalhostProfile == nil || strings.TrimPrefix(text, seccompLocalhostPrefix) != *p.LocalhostProfile {
			ps.Forbidden(at, "localhostProfile", profileDetail)
		}
	}
}

// appArmorAgrees is seccompAgrees for AppArmor; a container without a profile has the pod's.
func (ps *problems) appArmorAgrees(annotations map[string]string, s *corev1.PodSpec, at *field.Path) {
	if len(annotations) == 0 || s.OS != nil && s.OS.Name == corev1.Windows {
		return
	}
	var whole *corev1.AppArmorProfile
	if s.SecurityContext != nil {
		whole = s.SecurityContext.AppArmorProfile
	}
	for c := range Containers(s) {
		own := whole
		if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			own = c.SecurityContext.AppArmorProfile
		}
		text, ok := annotations[appArmorAnnotation+c.Name]
		if own == nil || !ok {
			continue
		}
		here := func() *field.Path { return c.Path(at).Child("securityContext", "appArmorProfile") }
		annotated := appArmorFromText(text)
		switch {
		case annotated == nil || annotated.Type != own.Type:
			ps.Forbidden(here(), "type", "must be the type that the annotation gives")
		case own.Type == corev1.AppArmorProfileTypeLocalhost && (own.LocalhostProfile == nil || *own.LocalhostProfile != *annotated.LocalhostProfile):
			ps.Forbidden(here(), "localhostProfile", "must be the profile that the annotation gives")
		}
	}
}

// appArmorFromText reads the value of an annotation; nil if it is no profile.
func appArmorFromText(text string) *corev1.AppArmorProfile {
	switch {
	case text == appArmorUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case text == appArmorRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case strings.HasPrefix(text, appArmorLocalhostPrefix):
		name := strings.TrimPrefix(text, appArmorLocalhostPrefix)
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

// AppArmorFromAnnotations gives containers the profile that only an annotation asks for, which is where profiles
// were given before there was a field.
func AppArmorFromAnnotations(p *corev1.Pod) {
	if len(p.Annotations) == 0 || p.Spec.OS != nil && p.Spec.OS.Name == corev1.Windows {
		return
	}
	for c := range Containers(&p.Spec) {
		if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			continue
		}
		profile := appArmorFromText(p.Annotations[appArmorAnnotation+c.Name])
		var check problems
		check.appArmor(profile, nil)
		if profile == nil || len(check.List) > 0 || sameAppArmor(profile, p.Spec.SecurityContext) {
			continue
		}
		if c.SecurityContext == nil {
			c.SecurityContext = &corev1.SecurityContext{}
		}
		c.SecurityContext.AppArmorProfile = profile
	}
}

// sameAppArmor tells whether the whole pod has this profile already.
func sameAppArmor(p *corev1.AppArmorProfile, c *corev1.PodSecurityContext) bool {
	if c == nil || c.AppArmorProfile == nil || c.AppArmorProfile.Type != p.Type {
		return false
	}
	a, b := c.AppArmorProfile.LocalhostProfile, p.LocalhostProfile
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// ValidateAnnotationChanges judges changed annotations of a pod: what a node has already acted on cannot be changed.
func ValidateAnnotationChanges(next, old *metav1.ObjectMeta, at *field.Path) field.ErrorList {
	var ps problems
	fixed := func(key string) bool { return key == mirrorAnnotation || strings.HasPrefix(key, appArmorAnnotation) }
	for key, before := range old.Annotations {
		if after, ok := next.Annotations[key]; fixed(key) && (!ok || after != before) {
			ps.Forbidden(at.Key(key), "", "may not be changed or removed")
		}
	}
	for key := range next.Annotations {
		if _, ok := old.Annotations[key]; fixed(key) && !ok {
			ps.Forbidden(at.Key(key), "", "may not be added to an existing pod")
		}
	}
	return ps.List
}
